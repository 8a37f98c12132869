"""What outlives the Registry's process: registrations, credentials, revocations."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from udc._sqlite import MEMORY, Database
from udc._types import DropletId
from udc.lifecycle import Phase, Status
from udc.mesh.registry.instances import Registered

_MIGRATIONS: Final = (
    """
    CREATE TABLE instances (
        droplet_id NOT NULL, instance_id TEXT NOT NULL, serial INTEGER NOT NULL, record TEXT NOT NULL,
        record_hash TEXT NOT NULL, status TEXT NOT NULL, phase TEXT, anonymous INTEGER NOT NULL,
        beats INTEGER NOT NULL, retired_by TEXT, PRIMARY KEY (droplet_id, instance_id)
    ) WITHOUT ROWID;
    CREATE TABLE enrolled (
        droplet_id NOT NULL PRIMARY KEY, secret_hash BLOB NOT NULL, permissions TEXT NOT NULL,
        scopes TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE revoked (
        serial INTEGER PRIMARY KEY AUTOINCREMENT, droplet_id, jti TEXT, before REAL, at REAL NOT NULL
    );
    """,
)
RETIRED_KEPT: Final = 16
"""How many retired instances of a droplet are remembered: a crash loop must fill neither disk nor memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What one droplet may do, and the hash of the secret that proves it.

    Attributes:
        secret_hash: see `credentials.digest`.
    """

    droplet_id: DropletId
    secret_hash: bytes = field(repr=False)
    permissions: frozenset[str]
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Tokens that are refused: one by its `jti`, or a droplet's that were issued before a moment.

    Attributes:
        before, at: seconds since the epoch; `at` is when it was revoked.
    """

    droplet_id: DropletId | None = None
    jti: str | None = None
    before: float | None = None
    at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything a store holds.

    Attributes:
        retired: who took the place of which instance.
        revoked_count: of all there ever were: the revision of the list.
    """

    registered: Sequence[Registered] = ()
    retired: dict[tuple[DropletId, str], str] = field(default_factory=dict)
    enrolled: Sequence[Enrolment] = ()
    revoked: Sequence[Revocation] = ()
    revoked_count: int = 0


class Store(Protocol):
    """Keeps what a Registry must not forget. What a call has returned from survives kill -9 and a power cut."""

    async def load(self, *, revoked_since: float) -> Kept:
        """All there is, but revocations older than `revoked_since`, which are dropped for good."""
        ...

    async def put(self, registered: Registered, *, retires: Iterable[str] = (), drops: Iterable[str] = ()) -> None:
        """Take a registration in, in the place of an older one of the same ids; other instances retire or go."""
        ...

    async def remove(self, gone: Iterable[Registered]) -> None:
        """Forget these, but not what has been registered in their place since (a higher `serial`)."""
        ...

    async def enrol(self, enrolment: Enrolment) -> None:
        """Take it in, in the place of an older one."""
        ...

    async def withdraw(self, droplet_id: DropletId) -> bool:
        """Forget an enrolment; whether there was one."""
        ...

    async def revoke(self, revocation: Revocation) -> int:
        """Take it in; the new revision of the list."""
        ...


class SqliteStore:
    """A store in one SQLite file. Made by `open`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path | None, *, threads: bool = True) -> AsyncGenerator[SqliteStore]:
        """Open the file; `None` = in memory.

        Args:
            path: the file; its directory must exist.
            threads: false in virtual time.

        Raises:
            ConfigError: no database, or one of a newer version.
        """
        async with Database.open(path or MEMORY, _MIGRATIONS, threads=threads) as database:
            yield cls(database)

    async def load(self, *, revoked_since: float) -> Kept:
        """See `Store.load`."""

        def work(db: sqlite3.Connection) -> Kept:
            db.execute("DELETE FROM revoked WHERE MAX(at, COALESCE(before, 0)) < ?", (revoked_since,))
            rows = db.execute(f"SELECT {_COLUMNS}, retired_by FROM instances ORDER BY serial").fetchall()  # noqa: S608
            retired = {(row[0], row[1]): row[-1] for row in rows if row[-1] is not None}
            enrolled = db.execute("SELECT droplet_id, secret_hash, permissions, scopes FROM enrolled").fetchall()
            revoked = db.execute("SELECT droplet_id, jti, before, at FROM revoked ORDER BY serial").fetchall()
            return Kept(
                [_registered(row) for row in rows if row[-1] is None],
                retired,
                [_enrolment(row) for row in enrolled],
                [Revocation(droplet_id=row[0], jti=row[1], before=row[2], at=row[3]) for row in revoked],
                _revoked_count(db),
            )

        return await self._database.write(work)

    async def put(self, registered: Registered, *, retires: Iterable[str] = (), drops: Iterable[str] = ()) -> None:
        """See `Store.put`."""
        values = _values(registered)
        retired, dropped = list(retires), list(drops)
        droplet_id = registered.droplet_id

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                f"INSERT OR REPLACE INTO instances ({_COLUMNS}, retired_by) "  # noqa: S608
                "VALUES (?,?,?,?,?,?,?,?,?,NULL)",
                values,
            )
            for instance_id in retired:
                db.execute(
                    "UPDATE instances SET retired_by = ? WHERE droplet_id = ? AND instance_id = ?",
                    (registered.instance_id, droplet_id, instance_id),
                )
            for instance_id in dropped:
                db.execute("DELETE FROM instances WHERE droplet_id = ? AND instance_id = ?", (droplet_id, instance_id))
            if retired:
                db.execute(_FORGET_RETIRED, (droplet_id, droplet_id, RETIRED_KEPT))

        await self._database.write(work)

    async def remove(self, gone: Iterable[Registered]) -> None:
        """See `Store.remove`."""
        keys = [(each.droplet_id, each.instance_id, each.serial) for each in gone]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "DELETE FROM instances WHERE droplet_id = ? AND instance_id = ? AND serial <= ? AND retired_by IS NULL",
                keys,
            )

        if keys:
            await self._database.write(work)

    async def enrol(self, enrolment: Enrolment) -> None:
        """See `Store.enrol`."""
        values = (
            enrolment.droplet_id,
            enrolment.secret_hash,
            " ".join(sorted(enrolment.permissions)),
            " ".join(sorted(enrolment.scopes)),
        )
        await self._database.write(lambda db: db.execute("INSERT OR REPLACE INTO enrolled VALUES (?,?,?,?)", values))

    async def withdraw(self, droplet_id: DropletId) -> bool:
        """See `Store.withdraw`."""

        def work(db: sqlite3.Connection) -> bool:
            return db.execute("DELETE FROM enrolled WHERE droplet_id = ?", (droplet_id,)).rowcount > 0

        return await self._database.write(work)

    async def revoke(self, revocation: Revocation) -> int:
        """See `Store.revoke`."""
        values = (revocation.droplet_id, revocation.jti, revocation.before, revocation.at)

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO revoked (droplet_id, jti, before, at) VALUES (?,?,?,?)", values)
            return _revoked_count(db)

        return await self._database.write(work)


_COLUMNS: Final = "droplet_id, instance_id, serial, record, record_hash, status, phase, anonymous, beats"
_FORGET_RETIRED: Final = (
    "DELETE FROM instances WHERE droplet_id = ? AND retired_by IS NOT NULL AND instance_id NOT IN (SELECT instance_id "
    "FROM instances WHERE droplet_id = ? AND retired_by IS NOT NULL ORDER BY serial DESC LIMIT ?)"
)


def _values(registered: Registered) -> tuple[Any, ...]:  # Any: what SQLite takes
    return (
        registered.droplet_id,
        registered.instance_id,
        registered.serial,
        json.dumps(dict(registered.record)),
        registered.record_hash,
        str(registered.status),
        registered.phase and str(registered.phase),
        registered.anonymous,
        registered.beats,
    )


def _registered(row: Sequence[Any]) -> Registered:  # Any: what SQLite gives
    droplet_id, instance_id, serial, record, record_hash, status, phase, anonymous, beats, _ = row
    return Registered(
        droplet_id=droplet_id,
        instance_id=instance_id,
        serial=serial,
        record=json.loads(record),
        record_hash=record_hash,
        status=Status(status),
        phase=Phase(phase) if phase else None,
        anonymous=bool(anonymous),
        beats=bool(beats),
    )


def _enrolment(row: Sequence[Any]) -> Enrolment:  # Any: likewise
    droplet_id, secret_hash, permissions, scopes = row
    return Enrolment(
        droplet_id=droplet_id,
        secret_hash=secret_hash,
        permissions=frozenset(permissions.split()),
        scopes=frozenset(scopes.split()),
    )


def _revoked_count(db: sqlite3.Connection) -> int:
    """The highest serial ever given, whatever has been dropped since."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'revoked'").fetchone()
    return int(row[0]) if row else 0
