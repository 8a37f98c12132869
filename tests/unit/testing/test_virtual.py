"""Virtual time itself: an hour costs no more than what happens in it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from udc.testing import virtual_time


def test_the_clock_leaps_without_turning_in_vain() -> None:
    """A mesh leaps thousands of times a second: dozens of idle turns of the loop before each made it slow."""
    turns = 0

    async def main() -> float:
        loop: Any = asyncio.get_running_loop()
        turn = loop._run_once

        def counted() -> None:
            nonlocal turns
            turns += 1
            turn()

        loop._run_once = counted
        began = anyio.current_time()
        for _ in range(1000):
            await anyio.sleep(3.6)
        return anyio.current_time() - began

    backend, options = virtual_time()
    passed = anyio.run(main, backend=backend, backend_options=options)

    assert round(passed) == 3600
    assert turns <= 5000
