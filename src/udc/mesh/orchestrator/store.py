"""What outlives the Orchestrator's process: tasks, their payloads and results, what changed, who polls."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from udc._sqlite import MEMORY, Database
from udc._types import DropletId
from udc.errors import Conflict, NotFound
from udc.mesh.orchestrator.records import packed, unpacked
from udc.mesh.orchestrator.task import TERMINAL, Status, Task

_MIGRATIONS: Final = (
    """
    CREATE TABLE tasks (
        task_id TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, task_type TEXT NOT NULL, droplet_id,
        priority INTEGER NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, live INTEGER NOT NULL,
        asked BLOB NOT NULL, task TEXT NOT NULL, payload TEXT NOT NULL, result TEXT
    ) WITHOUT ROWID;
    CREATE INDEX live ON tasks (live) WHERE live = 1;
    CREATE INDEX by_age ON tasks (created_at, task_id);
    CREATE INDEX by_status ON tasks (status, created_at);
    CREATE INDEX by_droplet ON tasks (droplet_id, status);
    CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, task TEXT NOT NULL
    );
    CREATE TABLE pollers (
        droplet_id NOT NULL PRIMARY KEY, record TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)

PAGE_CHARACTERS: Final = 8 * 1024 * 1024
"""How much of payloads and results a list holds: after that it ends, but not before its first task."""

CHANGES_KEPT: Final = 10_000
"""How many changes can be told again to a watcher that comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks are wanted; `None` = any."""

    status: Status | None = None
    task_type: str | None = None
    assigned_droplet_id: DropletId | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A task with its payload as JSON text."""

    task: Task
    payload: str


@dataclass(frozen=True, slots=True)
class Change:
    """A task as it was after one change; its payload as JSON text."""

    seq: int
    task: Task
    payload: str


class Store(Protocol):
    """Keeps what an Orchestrator must not forget. What a call has returned from survives kill -9 and a power cut."""

    async def add(self, task: Task, payload: str, asked: bytes) -> tuple[Task, bool]:
        """Take a task in; the task and whether it is new.

        Args:
            task: as it begins.
            payload: as JSON text.
            asked: what the same request has in common with itself.

        Raises:
            Conflict: another task has that id.
        """
        ...

    async def change(self, task_id: str, what: Callable[[Task], Task]) -> Task:
        """The task after a change; changes of one task come one after the other.

        Raises:
            NotFound: there is no such task.
            Exception: what `what` raised; then nothing has changed.
        """
        ...

    async def get(self, task_id: str) -> Kept:
        """One task.

        Raises:
            NotFound: there is no such task.
        """
        ...

    async def live(self) -> Sequence[Task]:
        """All that have not ended, or of whose end somebody must still be told."""
        ...

    async def list(self, wanted: Filter, *, limit: int, offset: int) -> tuple[Sequence[Kept], int]:
        """Some of those that are wanted, newest first, and how many there are; fewer where they are large."""
        ...

    async def counts(self) -> Mapping[Status, int]:
        """How many tasks are in each state."""
        ...

    async def changes(self, after: int, *, limit: int) -> Sequence[Change]:
        """What has changed since, oldest first."""
        ...

    async def bounds(self) -> tuple[int, int]:
        """The oldest change that is kept and the newest one there was; 0 = none."""
        ...

    async def forget(self, *, ended_before: float) -> int:
        """Drop the tasks that ended before; how many."""
        ...

    async def put_poller(self, droplet_id: DropletId, record: str) -> None:
        """Take in who polls."""
        ...

    async def pollers(self) -> Sequence[tuple[DropletId, str]]:
        """Everybody who polls."""
        ...


class SqliteStore:
    """A store in one SQLite file. Made by `open`."""

    def __init__(self, database: Database, *, changes_kept: int = CHANGES_KEPT) -> None:
        self._database = database
        self._changes_kept = changes_kept

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path | None, *, threads: bool = True, changes_kept: int = CHANGES_KEPT
    ) -> AsyncGenerator[SqliteStore]:
        """Open the file; `None` = in memory.

        Args:
            path: the file; its directory must exist.
            threads: false in virtual time.
            changes_kept: how many changes can be told again.

        Raises:
            ConfigError: no database, or one of a newer version.
        """
        async with Database.open(path or MEMORY, _MIGRATIONS, threads=threads) as database:
            yield cls(database, changes_kept=changes_kept)

    async def add(self, task: Task, payload: str, asked: bytes) -> tuple[Task, bool]:
        """See `Store.add`."""

        def work(db: sqlite3.Connection) -> tuple[Task, bool]:
            row = db.execute("SELECT task, result, asked FROM tasks WHERE task_id = ?", (task.task_id,)).fetchone()
            if row is not None and row[2] != asked:
                raise Conflict(
                    f"there is another task {task.task_id}",
                    details={"field": "task_id"},
                    hint="take a new task_id, or leave it out",
                )
            if row is not None:
                return unpacked(row[0], row[1]), False
            db.execute(
                "INSERT INTO tasks (task_id, status, task_type, droplet_id, priority, created_at, updated_at, live, "
                "asked, task, payload, result) VALUES (?,?,?,NULL,?,?,?,1,?,?,?,NULL)",
                (
                    task.task_id,
                    task.status,
                    task.task_type,
                    task.priority,
                    task.created_at,
                    task.updated_at,
                    asked,
                    packed(task),
                    payload,
                ),
            )
            self._note(db, task)
            return task, True

        return await self._database.write(work)

    async def change(self, task_id: str, what: Callable[[Task], Task]) -> Task:
        """See `Store.change`."""

        def work(db: sqlite3.Connection) -> Task:
            row = db.execute("SELECT task, result FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
            if row is None:
                raise unknown(task_id)
            before = unpacked(*row)
            task = what(before)
            if task == before:
                return task
            task = replace(task, version=before.version + 1)
            holder = task.assigned
            db.execute(
                "UPDATE tasks SET status = ?, droplet_id = ?, updated_at = ?, live = ?, task = ?, result = ? "
                "WHERE task_id = ?",
                (
                    task.status,
                    holder.droplet_id if holder is not None else None,
                    task.updated_at,
                    not task.over or task.untold is not None,
                    packed(task),
                    task.result,
                    task_id,
                ),
            )
            if _as_told(task) != _as_told(before):
                self._note(db, task)
            return task

        return await self._database.write(work)

    async def get(self, task_id: str) -> Kept:
        """See `Store.get`."""

        def work(db: sqlite3.Connection) -> Kept:
            row = db.execute("SELECT task, result, payload FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
            if row is None:
                raise unknown(task_id)
            return Kept(unpacked(row[0], row[1]), row[2])

        return await self._database.read(work)

    async def live(self) -> Sequence[Task]:
        """See `Store.live`."""

        def work(db: sqlite3.Connection) -> list[Task]:
            return [unpacked(*row) for row in db.execute("SELECT task, result FROM tasks WHERE live = 1")]

        return await self._database.read(work)

    async def list(self, wanted: Filter, *, limit: int, offset: int) -> tuple[Sequence[Kept], int]:
        """See `Store.list`."""
        named = {
            "status": wanted.status,
            "task_type": wanted.task_type,
            "droplet_id": wanted.assigned_droplet_id,
        }
        given = {name: value for name, value in named.items() if value is not None}
        # Column names of ours, never a caller's text.
        where = " AND ".join(["1", *(f"{name} = ?" for name in given)])
        values = tuple(given.values())

        def work(db: sqlite3.Connection) -> tuple[list[Kept], int]:
            (total,) = db.execute(f"SELECT count(*) FROM tasks WHERE {where}", values).fetchone()  # noqa: S608
            rows = db.execute(
                f"SELECT task, result, payload FROM tasks WHERE {where} "  # noqa: S608
                "ORDER BY created_at DESC, task_id LIMIT ? OFFSET ?",
                (*values, limit, offset),
            )
            found: list[Kept] = []
            size = 0
            for row in rows:
                size += len(row[2]) + len(row[1] or "")
                if found and size > PAGE_CHARACTERS:
                    break
                found.append(Kept(unpacked(row[0], row[1]), row[2]))
            return found, total

        return await self._database.read(work)

    async def counts(self) -> Mapping[Status, int]:
        """See `Store.counts`."""

        def work(db: sqlite3.Connection) -> dict[Status, int]:
            found = dict(db.execute("SELECT status, count(*) FROM tasks GROUP BY status").fetchall())
            return {status: found.get(status, 0) for status in Status}

        return await self._database.read(work)

    async def changes(self, after: int, *, limit: int) -> Sequence[Change]:
        """See `Store.changes`."""

        def work(db: sqlite3.Connection) -> list[Change]:
            rows = db.execute(
                "SELECT seq, changes.task, tasks.payload, tasks.result FROM changes JOIN tasks USING (task_id) "
                "WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            )
            return [Change(row[0], _as_it_was(row[1], row[3]), row[2]) for row in rows]

        return await self._database.read(work)

    async def bounds(self) -> tuple[int, int]:
        """See `Store.bounds`."""

        def work(db: sqlite3.Connection) -> tuple[int, int]:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
            (oldest,) = db.execute("SELECT min(seq) FROM changes").fetchone()
            return oldest or 0, row[0] if row else 0

        return await self._database.read(work)

    async def forget(self, *, ended_before: float) -> int:
        """See `Store.forget`."""
        ended = (*TERMINAL, ended_before)

        def work(db: sqlite3.Connection) -> int:
            which = "status IN (?,?,?) AND live = 0 AND updated_at < ?"
            db.execute(
                f"DELETE FROM changes WHERE task_id IN (SELECT task_id FROM tasks WHERE {which})",  # noqa: S608
                ended,
            )
            return db.execute(f"DELETE FROM tasks WHERE {which}", ended).rowcount  # noqa: S608

        return await self._database.write(work)

    async def put_poller(self, droplet_id: DropletId, record: str) -> None:
        """See `Store.put_poller`."""
        await self._database.write(
            lambda db: db.execute("INSERT OR REPLACE INTO pollers VALUES (?,?)", (droplet_id, record))
        )

    async def pollers(self) -> Sequence[tuple[DropletId, str]]:
        """See `Store.pollers`."""
        return await self._database.read(lambda db: db.execute("SELECT droplet_id, record FROM pollers").fetchall())

    def _note(self, db: sqlite3.Connection, task: Task) -> None:
        text = packed(replace(task, history=()))  # nobody is told it with a change
        cursor = db.execute("INSERT INTO changes (task_id, task) VALUES (?,?)", (task.task_id, text))
        db.execute("DELETE FROM changes WHERE seq <= ?", ((cursor.lastrowid or 0) - self._changes_kept,))


def _as_told(task: Task) -> tuple[object, ...]:
    """What watchers are told of."""
    return task.status, task.attempt, task.progress, task.error_message


def unknown(task_id: str) -> NotFound:
    """The refusal for an id that no task has."""
    return NotFound(f"there is no task {task_id[:64]!r}", hint="GET /tasks lists them")


def _as_it_was(text: str, result: Any) -> Task:  # Any: what SQLite gives
    task = unpacked(text, None)
    return unpacked(text, result) if task.status is Status.COMPLETED else task
