"""The last resorts: a process that will not end is ended."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

_log = logging.getLogger("udc.serve")
_WORKER: Final = "AnyIO worker thread"
_UNKNOWN_SECONDS: Final = 60.0
"""What a stop gets before anybody knows how long it may take."""


def end_process(code: int) -> NoReturn:
    """End the process now: nothing is closed, nobody is waited for; what was written is written."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class Watchdog:
    """Ends the process when its stopping takes too long: a loop that is blocked cannot give itself up.

    Attributes:
        seconds: how long stopping may take.

    Args:
        end: what ends it.
    """

    def __init__(self, end: Callable[[int], object] = end_process) -> None:
        self.seconds = _UNKNOWN_SECONDS
        self._end = end
        self._over = threading.Event()
        self._told, self._tell = socket.socketpair()
        # Its thread is there from the first, since signals start it, and a signal handler must start no thread.
        self._thread = threading.Thread(target=self._watch, name="udc-watchdog", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """From now on; a second start changes nothing. May be called by a signal handler, so it takes no lock."""
        with suppress(OSError):  # it is over
            self._tell.send(b"!", socket.MSG_DONTWAIT)

    def stop(self) -> None:
        """The end has come by itself."""
        self._over.set()
        self.start()
        self._thread.join()
        self._tell.close()

    def _watch(self) -> None:
        with self._told:
            self._told.recv(1)
        if not self._over.wait(self.seconds):
            _log.error("stopping took too long: the process is ended", extra={"seconds": self.seconds})
            self._end(1)


def stuck_threads(*, patience_seconds: float = 1.0) -> list[threading.Thread]:
    """Threads of handlers that do not return: Python would wait for them for ever.

    Idle ones were told to end when the loop did, and get the time to.
    """
    return _left([each for each in threading.enumerate() if each.name == _WORKER], patience_seconds)


def other_threads(*, patience_seconds: float = 2.0) -> list[threading.Thread]:
    """Threads that the droplet's own code has started and not ended: Python would wait for them too."""
    here = threading.current_thread()
    return _left([each for each in threading.enumerate() if not each.daemon and each is not here], patience_seconds)


def _left(threads: list[threading.Thread], patience_seconds: float) -> list[threading.Thread]:
    for each in threads:
        each.join(patience_seconds / len(threads))
    return [each for each in threads if each.is_alive()]
