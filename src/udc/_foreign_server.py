"""Hears when the server around a droplet is told to end, before that server begins to wait.

Servers close their port at the signal, wait for open connections, and only then end the lifespan. A droplet that
hears of it no sooner is still listed in the Registry, and streams keep the server waiting for ever. So the signal is
passed on to the droplet as well, and uvicorn, which has no limit to its waiting unless it is given one, gets one.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeAlias

Soon: TypeAlias = Callable[[Callable[[], object]], object]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LINGER_SECONDS: Final = 2
"""What answers that are finished at the very end of the grace get to go out."""


@contextmanager
def heeded(stop: Callable[[], object], *, grace_seconds: float) -> Generator[None]:
    """While this is open, call `stop` at signals that the server handles; the server handles them too.

    Does nothing where the server has no handler of Python's, or is not run by the main thread.

    Args:
        stop: asks the droplet for its end; called in the event loop that runs now, at every signal.
        grace_seconds: how long the droplet may take for that.
    """
    handlers = _handlers()
    for handler in handlers.values():
        _limit(handler, grace_seconds)
    soon = _soon()

    def on_signal(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            soon(stop)
        handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is on_signal:  # else somebody has taken it over since
                signal.signal(number, handler)


def _handlers() -> dict[int, Any]:  # Any: as `signal.getsignal` has it
    """The handlers that the server has installed."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    defaults = (None, signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
    return {number: handler for number, handler in found.items() if handler not in defaults}


def _soon() -> Soon:
    """What a signal handler can have called in the event loop, which may be asleep."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        trio: Any = sys.modules["trio"]  # Any: not imported by name, for only who runs on it has it
        return trio.lowlevel.current_trio_token().run_sync_soon  # type: ignore[no-any-return]  # likewise


def _limit(handler: Any, grace_seconds: float) -> None:  # Any: likewise
    """Give a uvicorn that would wait for ever an end to it."""
    uvicorn = sys.modules.get("uvicorn")
    if uvicorn is None or not isinstance(getattr(handler, "__self__", None), uvicorn.Server):
        return
    config = handler.__self__.config
    if config.timeout_graceful_shutdown is None:
        config.timeout_graceful_shutdown = math.ceil(grace_seconds) + _LINGER_SECONDS
