"""SIGTERM and SIGINT: the first asks for the graceful end, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import anyio

from udc._serve.ending import end_process

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)
"""Ctrl+C, and what supervisors send."""
_SIGNAL_EXIT: Final = 128
"""A process that a signal ended reports 128 and the signal's number, as shells do."""
_TOLD: Final = b"udc: stopping when the work in flight is done; a second signal ends it at once\n"


class Signals:
    """Hears signals, whatever the event loop is at; use it in the main thread, around the loop's run.

    Attributes:
        heard: the first one, when there was one.
        at_first: called by the signal handler itself at the first one, also while the loop is blocked.

    Args:
        end: ends the process at the second one.
        only: the signal that counts, for a process that another one looks after; Ctrl+C in a terminal reaches
            both, and is the other one's to hear. Nothing is said then.
    """

    def __init__(self, end: Callable[[int], object] = end_process, *, only: int | None = None) -> None:
        self._end = end
        self._only = only
        self._told, self._tell = socket.socketpair()
        for each in (self._told, self._tell):
            each.setblocking(False)
        self.heard: int | None = None
        self.at_first: Callable[[], object] = lambda: None

    @contextmanager
    def installed(self) -> Generator[None]:
        """Hear them while this is open; what was installed before comes back after."""
        before = {number: signal.signal(number, self._on_signal) for number in HANDLED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._told.close()
            self._tell.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._only not in (None, number):
            return
        # Not the loop's own signal handling: a loop that a handler blocks would not hear the second one.
        if self.heard is not None:
            self._end(_SIGNAL_EXIT + number)
            return
        self.heard = number
        self._tell.send(b"!")
        self.at_first()
        if self._only is None:
            with suppress(OSError):
                os.write(2, _TOLD)  # not through `sys.stderr`, which this may have interrupted

    async def first(self) -> None:
        """Return at the first signal."""
        await anyio.wait_readable(self._told)
