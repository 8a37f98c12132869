"""What keeps state on a disk that may fail: open it, go on in memory when that fails, and try again later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc.errors import ConfigError
from udc.instrument import Instrument, StorageFailed, StorageRecovered

RETRY_SECONDS: Final = 30.0

Works = Callable[[], None]
"""Called when the service works; may be called again."""


class DiskLoop:
    """Runs `keep` with the file's path for ever; what that raises of SQLite or the disk is told, and tried again.

    Args:
        what: how events call the state.
        file: its name in the droplet's own directory.
        keep: opens the file, works with it until it fails or is cancelled.

    Attributes:
        failing: the disk has failed, and `recovered` has not been called since.
    """

    def __init__(
        self, what: str, file: str, keep: Callable[[Path, Works], Awaitable[None]], *, instrument: Instrument
    ) -> None:
        self._what = what
        self._file = file
        self._keep = keep
        self._instrument = instrument
        self._path: Path | None = None
        self._opened = anyio.Event()
        self.failing: bool = False

    def open(self, directory: Path) -> None:
        """Keep the state in this directory from now on."""
        self._path = directory / self._file
        self._opened.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Until cancelled. `started()` is told once: when there is no disk yet, it works, or has failed."""
        left = [task_status]

        def works() -> None:
            while left:
                left.pop().started()

        if self._path is None:
            works()
            await self._opened.wait()
        import sqlite3  # here, because most droplets have no disk of their own

        path = self._path
        while path is not None:
            try:
                await self._keep(path, works)
            except (sqlite3.Error, OSError, ConfigError) as error:
                self._failed(path, error, broken=not isinstance(error, sqlite3.OperationalError | OSError))
            works()
            if self.failing:  # the first failure may be gone with the file
                await anyio.sleep(RETRY_SECONDS)
            self.failing = True

    def recovered(self) -> None:
        """It has been written."""
        if self.failing:
            self.failing = False
            self._instrument.emit(StorageRecovered(what=self._what))

    async def at_last(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write once more before the end; what the database raises is told."""
        import sqlite3

        try:
            await write()
        except sqlite3.Error as error:
            self._instrument.emit(StorageFailed(what=self._what, error=str(error)))

    def _failed(self, path: Path, error: Exception, *, broken: bool) -> None:
        moved_to = _put_aside(path) if broken else None
        if broken or not self.failing:
            self._instrument.emit(StorageFailed(what=self._what, error=str(error), moved_to=moved_to))


def _put_aside(path: Path) -> str | None:
    """Where the file is now; `None` when it could not be moved. Its journals are of no use without it."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        path.replace(aside)
        for journal in ("-wal", "-shm"):
            path.with_name(path.name + journal).unlink(missing_ok=True)
    except OSError:
        return None
    return str(aside)
