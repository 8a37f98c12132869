"""Runs a `udc` command as a child that ends with its parent: `python -m udc.cli.demo.child FOLDER run …`.

However the parent ends, `kill -9` included, the pipe that is this process's stdin closes. Then the command stops as
at SIGTERM, and the last of the children takes the parent's folder away.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from typing import Final, NoReturn

from udc.cli.__main__ import main as udc

_PATIENCE_SECONDS: Final = 10.0
_TERMINATED: Final = 128 + signal.SIGTERM


class Orphan:
    """Notices when the parent has gone."""

    def __init__(self) -> None:
        self.gone: threading.Event = threading.Event()
        self._for_ever = threading.Event()

    def watch(self) -> None:
        """Return never: wait for the end of stdin, and then for the end of the process."""
        while os.read(sys.stdin.fileno(), 1024):
            pass
        self.gone.set()
        os.kill(os.getpid(), signal.SIGTERM)
        self._for_ever.wait(_PATIENCE_SECONDS)
        os._exit(_TERMINATED)


def main() -> None:
    """Run the command of `sys.argv` to its end."""
    folder, *arguments = sys.argv[1:]
    # Until the command hears signals itself, one still has to come through here.
    signal.signal(signal.SIGTERM, _leave)
    orphan = Orphan()
    threading.Thread(target=orphan.watch, daemon=True).start()
    sys.argv = ["udc", *arguments]
    try:
        udc()
    finally:
        if orphan.gone.is_set():
            shutil.rmtree(folder, ignore_errors=True)


def _leave(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()
