"""The SQLite helper: one writer, group commit, readers beside it, migrations."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from udc._sqlite import MEMORY, Database
from udc.errors import ConfigError

SCHEMA = ("CREATE TABLE t (a INTEGER PRIMARY KEY)",)


@pytest.fixture(params=["file", "memory", "inline", "file-inline"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    where = MEMORY if request.param in ("memory", "inline") else tmp_path / "x.db"
    return {"path": where, "threads": "inline" not in request.param}


def insert(value: int) -> Any:
    return lambda db: db.execute("INSERT INTO t VALUES (?)", (value,)).lastrowid


def everything(db: sqlite3.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT a FROM t ORDER BY a")]


def opened(place: dict[str, Any]) -> Any:
    return Database.open(place["path"], SCHEMA, threads=place["threads"])


async def test_a_read_sees_every_answered_write(place: dict[str, Any]) -> None:
    async with opened(place) as db:
        for value in range(5):
            assert await db.write(insert(value)) == value
            assert await db.read(everything) == list(range(value + 1))


async def test_many_writers_share_a_commit(place: dict[str, Any]) -> None:
    commits: list[str] = []
    async with opened(place) as db:
        await db.write(lambda connection: connection.set_trace_callback(commits.append))
        async with anyio.create_task_group() as tasks:
            for value in range(300):
                tasks.start_soon(db.write, insert(value))
        assert await db.read(everything) == list(range(300))
    assert sum(each == "COMMIT" for each in commits) < 30


async def test_an_error_undoes_its_own_writes_and_no_others(place: dict[str, Any]) -> None:
    errors: list[str] = []

    async def bad(db: Database, value: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO t VALUES (?)", (1000 + value,))
            raise LookupError(str(value))

        with pytest.raises(LookupError) as caught:
            await db.write(work)
        errors.append(str(caught.value))

    async with opened(place) as db:
        async with anyio.create_task_group() as tasks:
            for value in range(10):
                tasks.start_soon(bad, db, value)
                tasks.start_soon(db.write, insert(value))
        with pytest.raises(sqlite3.IntegrityError):
            await db.write(insert(3))
        assert await db.read(everything) == list(range(10))
    assert sorted(errors) == [str(value) for value in range(10)]


async def test_an_error_of_a_read_is_its_own(place: dict[str, Any]) -> None:
    def work(connection: sqlite3.Connection) -> None:
        raise LookupError("x")

    async with opened(place) as db:
        for _ in range(10):
            with pytest.raises(LookupError):
                await db.read(work)
        assert await db.write(insert(1)) == 1


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "x.db", SCHEMA) as db:
        with pytest.raises(sqlite3.OperationalError):
            await db.read(insert(1))


@pytest.mark.parametrize("threads", [True, False])
async def test_a_cancelled_write_has_happened_or_not_and_disturbs_nobody(tmp_path: Path, threads: bool) -> None:
    async with Database.open(tmp_path / "x.db", SCHEMA, threads=threads) as db:
        for number in range(20):
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as doomed:
                        doomed.start_soon(db.write, insert(number * 10))
                        doomed.start_soon(db.write, insert(number * 10 + 1))
                        tasks.start_soon(db.write, insert(number * 10 + 2))
                        await anyio.lowlevel.checkpoint()
                        if number % 2:
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
        present = await db.read(everything)
    assert {number * 10 + 2 for number in range(20)} <= set(present)


async def test_a_write_that_was_cancelled_in_the_queue_never_runs(tmp_path: Path) -> None:
    ran: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(5)

    async with Database.open(tmp_path / "x.db", SCHEMA) as db:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(db.write, slow)
            await anyio.to_thread.run_sync(begun.wait)
            with anyio.move_on_after(0):
                await db.write(lambda _: ran.append("x"))
            go_on.set()
        await db.write(insert(1))
    assert ran == []


async def test_a_failed_commit_is_told_to_all_who_shared_it(tmp_path: Path) -> None:
    parent = "CREATE TABLE parent (a PRIMARY KEY);"
    child = "CREATE TABLE t (a REFERENCES parent (a) DEFERRABLE INITIALLY DEFERRED);"
    failed: list[int] = []
    async with Database.open(tmp_path / "x.db", (parent, child)) as db:

        async def orphan(value: int) -> None:
            with pytest.raises(sqlite3.IntegrityError):
                await db.write(insert(value))
            failed.append(value)

        async with anyio.create_task_group() as tasks:
            for value in range(5):
                tasks.start_soon(orphan, value)
        await db.write(lambda connection: connection.execute("INSERT INTO parent VALUES (1)"))
        await db.write(insert(1))
        assert await db.read(everything) == [1]
    assert sorted(failed) == list(range(5))


async def test_what_was_answered_is_there_after_reopening(tmp_path: Path) -> None:
    async with Database.open(tmp_path / "x.db", SCHEMA) as db:
        await db.write(insert(7))
        modes = await db.write(
            lambda c: (c.execute("PRAGMA journal_mode").fetchone()[0], c.execute("PRAGMA synchronous").fetchone()[0])
        )
    async with Database.open(tmp_path / "x.db", SCHEMA) as db:
        assert await db.read(everything) == [7]
    assert modes == ("wal", 2)  # FULL: an fsync for every commit
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}  # noqa: ASYNC240


async def test_migrations_run_once_each_and_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    more = (*SCHEMA, "CREATE TABLE u (b TEXT DEFAULT ';'); CREATE INDEX i ON u (b);\n", "INSERT INTO t VALUES (1)")
    async with Database.open(path, SCHEMA):
        pass
    for _ in range(2):
        async with Database.open(path, more) as db:
            assert await db.read(everything) == [1]
    with pytest.raises(ConfigError, match=r"newer version of udc \(schema 3, this one knows 1\)"):
        async with Database.open(path, SCHEMA):
            pass


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(sqlite3.OperationalError):
        async with Database.open(path, (*SCHEMA, "CREATE TABLE u (b); CREATE TABLE t (c)")):
            pass
    async with Database.open(path, (*SCHEMA, "CREATE TABLE u (b)")) as db:
        assert await db.read(everything) == []


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(ConfigError, match="is no SQLite database"):
        async with Database.open(path, SCHEMA):
            pass
