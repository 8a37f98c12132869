"""Keeps tasks on disk, so that a restart loses no terminal message and begins nothing twice. A service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import TaskStatus

from udc._database import OpenDatabase, open_database
from udc.errors import InvalidRequest
from udc.instrument import Instrument
from udc.services._disk import DiskLoop, Works
from udc.tasks.attempts import Attempt, Key
from udc.wire import json_text

if TYPE_CHECKING:
    import sqlite3

    from udc._sqlite import Database

FILE: Final = "tasks.db"
_WHAT: Final = "tasks"
_LAST_WRITE_SECONDS: Final = 5.0
_MIGRATIONS: Final = (
    """
    CREATE TABLE attempts (
        task_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        name TEXT NOT NULL,
        trace_id TEXT NOT NULL,
        accepted_at REAL NOT NULL,
        terminal BLOB,
        message_id TEXT,
        told INTEGER NOT NULL,
        PRIMARY KEY (task_id, attempt)
    ) WITHOUT ROWID;
    CREATE INDEX attempts_by_age ON attempts (told, accepted_at);
    """,
)
_PUT: Final = "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DROP: Final = "DELETE FROM attempts WHERE task_id = ? AND attempt = ?"
_GET: Final = "SELECT * FROM attempts ORDER BY accepted_at, attempt"

_Row = tuple[str, int, str, str, float, bytes | None, str | None, int]


class TaskKeeper:
    """Writes down what the task desk must not forget (implements `Book`).

    What waits is written together, so that many tasks share an fsync. A disk that is full or broken stops nothing:
    all goes on in memory, and is written when the disk works again. A file that is no database is put aside.

    Args:
        threads: false runs everything in line, for virtual time.
    """

    name = "tasks"

    def __init__(
        self, *, instrument: Instrument, threads: bool = True, open_database: OpenDatabase = open_database
    ) -> None:
        self._instrument = instrument
        self._threads = threads
        self._open_database = open_database
        self._loop = DiskLoop(_WHAT, FILE, self._keep, instrument=instrument)
        self._restore: Callable[[Iterable[Attempt]], None] = lambda _: None
        self._everything: Callable[[], Iterable[Attempt]] = tuple
        self._writes = False
        self._fresh = True
        self._anew = False
        self._dirty: dict[Key, Attempt | None] = {}
        self._woken = anyio.Event()
        self._written = anyio.Event()

    def serve(
        self, *, restore: Callable[[Iterable[Attempt]], None], everything: Callable[[], Iterable[Attempt]]
    ) -> None:
        """Whom it keeps for.

        Args:
            restore: takes what an earlier life left, once.
            everything: all that is to be remembered now.
        """
        self._restore, self._everything = restore, everything

    def open(self, directory: Path) -> None:
        """Keep them in this directory from now on."""
        self._loop.open(directory)

    @property
    def durable(self) -> bool:
        """Whether what is kept survives the process."""
        return self._writes and not self._loop.failing

    async def keep(self, attempt: Attempt, *, instead_of: Key | None = None) -> None:
        """See `Book.keep`."""
        if not self._writes:
            return
        if instead_of is not None:
            self._dirty[instead_of] = None
        self._dirty[attempt.key] = attempt
        written = self._written
        self._woken.set()
        await written.wait()

    def note(self, attempt: Attempt) -> None:
        """See `Book.note`."""
        if self._writes:
            self._dirty[attempt.key] = attempt
            self._woken.set()

    def drop(self, attempt: Attempt) -> None:
        """See `Book.drop`."""
        if self._writes:
            self._dirty[attempt.key] = None
            self._woken.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Load, hand over what was left, say so, and write until cancelled, and then once more."""
        await self._loop.run(task_status=task_status)

    async def _keep(self, path: Path, works: Works) -> None:
        async with self._open_database(path, _MIGRATIONS, threads=self._threads) as database:
            left = await database.read(_read) if self._fresh else []
            try:
                self._begin(left)
                works()
                while True:
                    await self._woken.wait()
                    await self._write(database)
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(_LAST_WRITE_SECONDS, shield=True):
                    await self._loop.at_last(lambda: self._write(database))
                raise
            finally:
                self._writes = False
                self._release()

    def _begin(self, left: list[Attempt]) -> None:
        """From here on everything is written, and at once what came before."""
        self._writes = True
        self._anew = not self._fresh  # a file that failed may hold what has been dropped since
        self._dirty = {each.key: each for each in self._everything()}
        if self._fresh:
            self._fresh = False
            self._restore(left)
        if self._dirty or self._anew or self._loop.failing:
            self._woken.set()

    async def _write(self, database: Database) -> None:
        self._woken = anyio.Event()
        rows = {key: None if attempt is None else _row(attempt) for key, attempt in self._dirty.items()}
        anew, self._anew, self._dirty = self._anew, False, {}
        written, self._written = self._written, anyio.Event()
        try:
            await database.write(lambda connection: _write(connection, rows, anew=anew))
            self._loop.recovered()
        finally:
            # Also after a failure: then it goes on in memory, and all is written anew when the disk works again.
            written.set()

    def _release(self) -> None:
        self._written.set()
        self._written = anyio.Event()


def _write(connection: sqlite3.Connection, rows: Mapping[Key, _Row | None], *, anew: bool) -> None:
    if anew:
        connection.execute("DELETE FROM attempts")
    for key, row in rows.items():
        connection.execute(*((_DROP, key) if row is None else (_PUT, row)))


def _row(attempt: Attempt) -> _Row:
    terminal = None if attempt.terminal is None else json_text.write(attempt.terminal)
    return (
        attempt.task_id,
        attempt.attempt,
        attempt.name,
        attempt.trace_id,
        attempt.accepted_at,
        terminal,
        attempt.message_id,
        int(attempt.told),
    )


def _read(connection: sqlite3.Connection) -> list[Attempt]:
    found: list[Attempt] = []
    for task_id, number, name, trace_id, accepted_at, terminal, message_id, told in connection.execute(_GET):
        found.append(
            Attempt(
                task_id=task_id,
                attempt=number,
                name=name,
                trace_id=trace_id,
                accepted_at=accepted_at,
                terminal=_payload(terminal),
                message_id=message_id,
                told=bool(told),
            )
        )
    return found


def _payload(terminal: Any) -> dict[str, Any] | None:  # Any: a column, JSON values
    try:
        return None if terminal is None else json_text.parse_object(terminal)
    except InvalidRequest:
        return None  # written by another version: it counts as not ended
