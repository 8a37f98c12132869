"""Keeps the de-duplication ledger on disk, so that a restart repeats nothing (contract section 3). A service."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import TaskStatus

from udc import errors
from udc._database import OpenDatabase, open_database
from udc._ids import Ambient
from udc.dispatch.dedup import Ledger, Remembered
from udc.dispatch.run import Outcome
from udc.errors import ContractError, DeliveryError, InvalidRequest, TokenError, UdcError
from udc.instrument import Instrument
from udc.services._disk import DiskLoop, Works
from udc.wire import json_text

if TYPE_CHECKING:
    import sqlite3

    from udc._sqlite import Database

FILE: Final = "receipts.db"
_WHAT: Final = "receipts"
_BEHIND_SECONDS: Final = 0.5
"""From an answer to its writing, so that many are written at once; with the writing it stays below a second."""
_LAST_WRITE_SECONDS: Final = 5.0
_LOADED: Final = 100_000
_MIGRATIONS: Final = (
    """
    CREATE TABLE receipts (
        source TEXT NOT NULL,
        message_id TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        answer BLOB NOT NULL,
        data BLOB NOT NULL,
        done_at REAL NOT NULL,
        PRIMARY KEY (source, message_id)
    ) WITHOUT ROWID;
    CREATE INDEX receipts_by_age ON receipts (done_at);
    """,
)
_PUT: Final = "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?, ?)"
_FORGET: Final = "DELETE FROM receipts WHERE done_at < ?"
_GET: Final = "SELECT * FROM receipts ORDER BY done_at DESC LIMIT ?"


class ReceiptKeeper:
    """Writes behind what the ledger remembers, and fills it at the start.

    A disk that is full or broken stops nothing: the ledger goes on in memory, and all of it is written when the disk
    works again. A file that is no database is put aside.

    Args:
        wall: seconds since the epoch; ages are told by it from one life to the next.
        threads: false runs everything in line, for virtual time.
    """

    name = "receipts"

    def __init__(
        self,
        ledger: Ledger,
        *,
        ambient: Ambient,
        instrument: Instrument,
        threads: bool = True,
        open_database: OpenDatabase = open_database,
    ) -> None:
        self._ledger = ledger
        self._wall = ambient.wall
        self._instrument = instrument
        self._threads = threads
        self._open_database = open_database
        self._loop = DiskLoop(_WHAT, FILE, self._keep, instrument=instrument)
        self._woken = anyio.Event()
        self._all_at_first = False
        self._all = False

    def open(self, directory: Path) -> None:
        """Keep them in this directory from now on, those that are remembered already as well."""
        self._all_at_first = bool(len(self._ledger))
        self._ledger.report(lambda: self._woken.set())
        self._loop.open(directory)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Load, say so, and write behind until cancelled, and then once more."""
        await self._loop.run(task_status=task_status)

    async def _keep(self, path: Path, works: Works) -> None:
        async with self._open_database(path, _MIGRATIONS, threads=self._threads) as database:
            wall = self._wall()
            self._ledger.restore(await database.read(lambda connection: _read(connection, wall)))
            self._all = self._loop.failing or self._all_at_first
            works()
            self._woken.set()  # what came meanwhile, and what has grown old on the disk
            try:
                while True:
                    await self._woken.wait()
                    await anyio.sleep(_BEHIND_SECONDS)
                    await self._write(database)
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(_LAST_WRITE_SECONDS, shield=True):
                    await self._loop.at_last(lambda: self._write(database))
                raise

    async def _write(self, database: Database) -> None:
        self._woken = anyio.Event()
        news = self._ledger.news()
        entries = self._ledger.remembered() if self._all else news
        wall, oldest = self._wall(), self._ledger.oldest_seconds
        self._all = True  # until it is written: a write that is cancelled may not have happened
        await database.write(lambda connection: _write(connection, entries, wall=wall, oldest=wall - oldest))
        self._all = False
        self._loop.recovered()


def _write(connection: sqlite3.Connection, entries: Iterable[Remembered], *, wall: float, oldest: float) -> None:
    for entry in entries:
        try:
            row = _row(entry, wall)
        except TypeError:  # an error whose details are no JSON: it is remembered in memory only
            continue
        connection.execute(_PUT, row)
    # A moment of grace: ages were told a little before the wall clock was read.
    connection.execute(_FORGET, (oldest - 1.0,))


def _row(entry: Remembered, wall: float) -> tuple[Any, ...]:  # Any: columns
    source, message_id = entry.key
    answer = entry.answer
    if isinstance(answer, Outcome):
        text, data = json_text.write({"result": answer.result, "handled": answer.handled}), answer.data
    else:
        text, data = json_text.write({"error": _kind(answer), "args": answer.args, "state": _state(answer)}), b""
    return json_text.write(source), message_id, entry.fingerprint, text, data, wall - entry.age_seconds


def _kind(error: UdcError) -> str:
    """The name of the class, or of the nearest one above it that is ours."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in errors.__all__)


def _state(error: UdcError) -> dict[str, Any]:  # Any: JSON values
    own = {} if not isinstance(error, ContractError) else {"code": error.code, "http_status": error.http_status}
    return {**vars(error), **own}


def _read(connection: sqlite3.Connection, wall: float) -> list[Remembered]:
    found: list[Remembered] = []
    for source, message_id, fingerprint, answer, data, done_at in connection.execute(_GET, (_LOADED,)):
        try:
            told = json_text.parse_object(answer)
            key = (json_text.parse(source), message_id)
            found.append(Remembered(key, fingerprint, _answer(told, data), max(0.0, wall - done_at)))
        except (InvalidRequest, KeyError, TypeError, AttributeError):
            continue  # written by another version: what it says is not known any more
    return found


def _answer(told: dict[str, Any], data: bytes) -> Outcome | UdcError:  # Any: JSON values
    if "error" not in told:
        return Outcome(result=told["result"], handled=told["handled"], data=data)
    kind = getattr(errors, told["error"]) if told["error"] in errors.__all__ else ContractError
    if not issubclass(kind, ContractError | DeliveryError | TokenError):
        raise TypeError(told["error"])
    error: UdcError = kind.__new__(kind)
    error.args = tuple(told["args"])
    vars(error).update(told["state"])
    return error
