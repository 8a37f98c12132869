"""Hears when the server around a droplet is told to end, before that server begins to wait.

Servers close their port at the signal, wait for open connections, and only then end the lifespan. A droplet that
hears of it no sooner is still listed in the Registry, and streams keep the server waiting for ever. So the signal is
passed on to the droplet as well, and uvicorn, which has no limit to its waiting unless it is given one, gets one.
"""

from __future__ import annotations

import math
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any, Final

import anyio

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LINGER_SECONDS: Final = 2
"""What answers that are finished at the very end of the grace get to go out."""


@asynccontextmanager
async def heeded(stop: Callable[[], None], *, grace_seconds: float) -> AsyncGenerator[None]:
    """Call `stop` at the first signal that the server handles; the server handles it too.

    Does nothing where the server has no handler of Python's, or is not run by the main thread.

    Args:
        stop: asks the droplet for its end; called in the task's own event loop.
        grace_seconds: how long the droplet may take for that.
    """
    handlers = _handlers()
    if not handlers:
        yield
        return
    for handler in handlers.values():
        _limit(handler, grace_seconds)
    told, tell = socket.socketpair()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_hear, told, stop)
            try:
                with _Chained(handlers, tell):
                    yield
            finally:
                tasks.cancel_scope.cancel()
    finally:
        told.close()
        tell.close()


class _Chained:
    """Stands before the server's handlers while it is open."""

    def __init__(self, handlers: dict[int, Any], tell: socket.socket) -> None:  # Any: as `signal.getsignal` has it
        self._handlers = handlers
        self._tell = tell
        self._installed = self._on_signal  # each look at a method makes a new one
        tell.setblocking(False)

    def __enter__(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._installed)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is self._installed:  # else somebody has taken it over since
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # told often enough already
            self._tell.send(b"!")
        self._handlers[number](number, frame)


def _handlers() -> dict[int, Any]:  # Any: as `signal.getsignal` has it
    """The handlers that the server has installed."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    defaults = (None, signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
    return {number: handler for number, handler in found.items() if handler not in defaults}


def _limit(handler: Any, grace_seconds: float) -> None:  # Any: likewise
    """Give a uvicorn that would wait for ever an end to it."""
    uvicorn = sys.modules.get("uvicorn")
    if uvicorn is None or not isinstance(getattr(handler, "__self__", None), uvicorn.Server):
        return
    config = handler.__self__.config
    if config.timeout_graceful_shutdown is None:
        config.timeout_graceful_shutdown = math.ceil(grace_seconds) + _LINGER_SECONDS


async def _hear(told: socket.socket, stop: Callable[[], None]) -> None:
    await anyio.wait_readable(told)
    stop()
