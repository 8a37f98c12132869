"""Output of a process that serves on when nobody reads it any more: it comes to nothing, and no `print` fails."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress


def let_go_when_unread() -> None:
    """From now on stdout and stderr lead nowhere as soon as the readers of their pipes have gone.

    Without this every handler that prints would fail from then on (`udc run app.py | head -1`).
    """
    pipes = [number for number in (1, 2) if _is_pipe(number)]
    if pipes and sys.platform != "win32":
        threading.Thread(target=_watch, args=(pipes,), name="udc-unread", daemon=True).start()


def _is_pipe(number: int) -> bool:
    with suppress(OSError):
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    return False


def _watch(pipes: Sequence[int]) -> None:
    poll, left = select.poll(), set(pipes)
    for number in left:
        poll.register(number, 0)  # nothing but that the other end has been closed
    while left:
        for number, _ in poll.poll():
            poll.unregister(number)
            left.discard(number)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            os.close(nothing)
