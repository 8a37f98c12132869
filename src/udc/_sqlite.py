"""SQLite for a droplet's own state: one writer with group commit, readers beside it, migrations (stdlib only)."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from udc._types import UNSET, Unset
from udc.errors import ConfigError

T = TypeVar("T")

MEMORY: Final = ":memory:"
"""The path of a database that lives as long as it is open."""

_READERS: Final = 4
_BATCH: Final = 1000
_BUSY_SECONDS: Final = 10.0


class Database:
    """One open SQLite database, for any number of tasks of one event loop.

    Writes are serial; those that wait for each other share one commit, and each is answered after it. The commit
    is on the disk by then (`synchronous=FULL`: with `NORMAL` a power cut takes back what was answered; the price,
    one fsync, is shared by the batch). Reads run beside writes (WAL) and see every answered write.

    Made by `open`.
    """

    synchronous: ClassVar[str] = "FULL"
    """SQLite's pragma. Less may be enough for a subclass that nobody pulls the plug on: a test's."""

    def __init__(self, writer: sqlite3.Connection, connect: Callable[[], sqlite3.Connection] | None, *, threads: bool):
        self._writer = writer
        self._connect = connect
        self._threads = threads
        self._queue: deque[_Write[Any]] = deque()  # Any: each write has its own result
        self._flushing: anyio.Event | None = None
        self._write_thread = anyio.CapacityLimiter(1)
        # A limiter of our own: sync handlers that hold all of the default one's threads must not stop the database.
        self._read_threads = anyio.CapacityLimiter(_READERS)
        self._idle_readers: list[sqlite3.Connection] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path | str, migrations: Sequence[str], *, threads: bool = True
    ) -> AsyncGenerator[Database]:
        """Open the file, made with mode 0600 when it is new, and bring it to the newest schema.

        Args:
            path: the file, or `:memory:`; its directory must exist.
            migrations: SQL scripts, applied once each and in order; never change one that was released, add one.
            threads: false runs everything inline, for virtual time, whose clock leaps while a thread works.

        Raises:
            ConfigError: the file is no database, or was written by a newer version.
        """

        def opened() -> sqlite3.Connection:
            connection = _connect(path, synchronous=cls.synchronous)
            try:
                _migrate(connection, migrations, path)
            except BaseException:
                connection.close()
                raise
            return connection

        writer = await anyio.to_thread.run_sync(opened) if threads else opened()
        # Each connection to `:memory:` is a database of its own: there the writer reads, too.
        connect = None if str(path) == MEMORY else lambda: _connect(path, synchronous=cls.synchronous, read_only=True)
        database = cls(writer, connect, threads=threads)
        try:
            yield database
        finally:
            with anyio.CancelScope(shield=True):
                await database._close()

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """What `fn` returns, once its changes are on the disk.

        `fn` runs in a transaction, which it shares with others: it neither commits nor rolls back, touches nothing
        of the event loop, and may be run once only. When it raises, its own changes are undone, and no other's.
        On cancel the write has happened or has not, as a whole.

        Raises:
            Exception: what `fn` raised; `sqlite3.Error` when the commit failed.
        """
        write = _Write(fn)
        self._queue.append(write)
        try:
            while write.pending:
                if self._flushing is not None:
                    await self._flushing.wait()
                else:
                    await self._flush()
        except BaseException:
            write.abandoned = True
            raise
        return write.result()

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """What `fn` returns, from one consistent view of the data. `fn` changes nothing.

        Raises:
            Exception: what `fn` raised.
        """
        if self._connect is None:
            return await self.write(fn)
        if not self._threads:
            await anyio.lowlevel.checkpoint()
            return self._read(fn)
        return await anyio.to_thread.run_sync(self._read, fn, limiter=self._read_threads)

    def _read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            if self._connect is None:
                raise
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            try:
                return fn(connection)
            finally:
                connection.execute("ROLLBACK")
        finally:
            self._idle_readers.append(connection)

    async def _flush(self) -> None:
        """Commit what waits. Whoever finds nobody at it does it for all, so there is no task to own."""
        ended = self._flushing = anyio.Event()
        try:
            if self._threads:
                # Not abandoned on cancel: it ends before the cancelled caller goes on.
                await anyio.to_thread.run_sync(self._commit, limiter=self._write_thread)
            else:
                await anyio.lowlevel.checkpoint()
                self._commit()
        finally:
            self._flushing = None
            ended.set()

    def _commit(self) -> None:
        """In the writer's thread: run what waits, each in a savepoint of its own, and commit it together."""
        batch: list[_Write[Any]] = []  # Any: as above
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            # Popped one by one, since the event loop appends meanwhile.
            while len(batch) < _BATCH and self._queue:
                write = self._queue.popleft()
                if not write.abandoned:
                    batch.append(write)
                    write.run(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            # Not even begun: without a word to somebody the waiting ones would try for ever.
            for write in batch or [self._queue.popleft()]:
                write.failed(error)
            if not isinstance(error, sqlite3.Error):
                raise
        for write in batch:
            write.pending = False

    async def _close(self) -> None:
        if self._threads:
            await anyio.to_thread.run_sync(self._close_now, limiter=self._write_thread)
        else:
            self._close_now()

    def _close_now(self) -> None:
        while self._idle_readers:
            self._idle_readers.pop().close()
        self._writer.close()


class _Write(Generic[T]):
    """One caller's change, and what became of it."""

    __slots__ = ("_error", "_fn", "_value", "abandoned", "pending")

    def __init__(self, fn: Callable[[sqlite3.Connection], T]) -> None:
        self._fn = fn
        self._value: T | Unset = UNSET
        self._error: BaseException | None = None
        self.pending = True
        self.abandoned = False

    def run(self, connection: sqlite3.Connection) -> None:
        connection.execute("SAVEPOINT one")
        try:
            self._value = self._fn(connection)
        except Exception as error:  # noqa: BLE001 - raised again in its caller's task
            self._error = error
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

    def failed(self, error: BaseException) -> None:
        """The commit failed, so whatever `fn` did has not happened."""
        self._error = self._error or error
        self.pending = False

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set by `run`, since it did not raise


def _connect(path: Path | str, *, synchronous: str, read_only: bool = False) -> sqlite3.Connection:
    if str(path) != MEMORY:
        # SQLite gives its journal files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # Used by one thread at a time, but not always by the same one.
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise ConfigError([f"{path} is no SQLite database: move it away, or name another data directory"]) from error
    return connection


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str], path: Path | str) -> None:
    connection.execute("BEGIN IMMEDIATE")  # before the look: another process may be at it
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            known = len(migrations)
            text = f"{path} was written by a newer version of udc (schema {version}, this one knows {known})"
            raise ConfigError([f"{text}: upgrade udc-mesh, or name another data directory"])
        for script in migrations[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> list[str]:
    """The script's statements, one by one: `executescript` would commit before the first."""
    found: list[str] = []
    current = ""
    for part in script.split(";"):
        current += part + ";"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return [statement for statement in found if statement.strip(" \n\t;")]
