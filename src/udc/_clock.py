"""The event loop's monotonic clock, looked up once instead of at every reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio


def loop_clock() -> Callable[[], float]:
    """The clock of the loop that runs now: monotonic seconds, virtual where the loop's time is.

    `anyio.current_time` finds out at each call which library runs, which costs more than handling a
    message's envelope. Must be called inside the loop; the clock is for that loop only.
    """
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # not asyncio: anyio knows
        return anyio.current_time
