"""The last resorts: a process that will not end is ended."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

_log = logging.getLogger("udc.serve")
_WORKER: Final = "AnyIO worker thread"


def end_process(code: int) -> NoReturn:
    """End the process now: nothing is closed, nobody is waited for; what was written is written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class Watchdog:
    """Ends the process when its stopping takes too long: a loop that is blocked cannot give itself up.

    Args:
        end: what ends it.
    """

    def __init__(self, end: Callable[[int], object] = end_process) -> None:
        self._end = end
        self._timer: threading.Timer | None = None

    def start(self, seconds: float) -> None:
        """From now on; a second start changes nothing."""
        if self._timer is None:
            self._timer = threading.Timer(seconds, self._bite, (seconds,))
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """The end has come by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _bite(self, seconds: float) -> None:
        _log.error("stopping took too long: the process is ended", extra={"seconds": seconds})
        self._end(1)


def stuck_threads(*, patience_seconds: float = 1.0) -> list[threading.Thread]:
    """Threads of handlers that do not return: Python would wait for them for ever.

    Idle ones were told to end when the loop did, and get the time to.
    """
    workers = [each for each in threading.enumerate() if each.name == _WORKER]
    for each in workers:
        each.join(patience_seconds / len(workers))
    return [each for each in workers if each.is_alive()]
