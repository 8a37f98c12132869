"""Tasks on disk: what a restart goes on with, and that a disk that fails stops nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.tasks.test_desk import assignment
from udc._ids import seeded
from udc.errors import Conflict, PeerUnreachable
from udc.instrument import Event, Instrument, StorageFailed, StorageRecovered, TaskMoved
from udc.services import task_keeper
from udc.services.task_keeper import TaskKeeper
from udc.tasks import done
from udc.tasks.attempts import Assignment
from udc.tasks.desk import TaskDesk
from udc.tasks.reports import Report

pytestmark = virtual_time

Progress = Callable[[float, str], Awaitable[None]]


class Life:
    """One life of a desk over a directory. Its tasks end when they are let; its Orchestrator may be away."""

    def __init__(self, directory: Path | None = None, *, seed: int = 1) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.told: list[Report] = []
        self.ran: list[tuple[str, int]] = []
        self.go_on = anyio.Event()
        self.away = False
        instrument = Instrument([self.events.append])
        self.keeper = TaskKeeper(instrument=instrument, threads=False)
        self.tasks: Any = None
        self.desk = TaskDesk(
            self,
            tell=self.tell,
            spawn=lambda work, *, name: self.tasks.start_soon(work, name=name),
            instrument=instrument,
            ambient=seeded(seed, anyio.current_time),
            limit=lambda: 100,
            book=self.keeper,
        )
        self.keeper.serve(restore=self.desk.restore, everything=self.desk.remembered)

    def knows(self, name: str) -> None:
        """All names are known."""

    async def run(self, assignment: Assignment, progress: Progress) -> bytes:
        self.ran.append((assignment.task_id, assignment.attempt))
        await self.go_on.wait()
        return b"1"

    async def tell(self, report: Report) -> None:
        if self.away:
            raise PeerUnreachable("nobody there", peer=10)
        self.told.append(report)

    @asynccontextmanager
    async def __call__(self, *, killed: bool = True) -> AsyncIterator[Life]:
        if self.directory is not None:
            self.keeper.open(self.directory)
        async with anyio.create_task_group() as self.tasks:
            await self.tasks.start(lambda *, task_status: self.keeper.run(task_status=task_status))
            yield self
            if killed:
                self.keeper._write = nothing  # type: ignore[method-assign, assignment]  # a dead process writes no more
            self.tasks.cancel_scope.cancel()

    @property
    def terminals(self) -> list[tuple[str, str, int]]:
        found = [each.payload for each in self.told if each.payload["type"] in ("task_completed", "task_failed")]
        return [(each["type"], each["task_id"], each["attempt"]) for each in found]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


async def nothing(*_: object) -> None:
    """Stands where a dead process does nothing."""


def rows(directory: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / "tasks.db")) as connection:
        return connection.execute("SELECT task_id, attempt, told FROM attempts ORDER BY task_id, attempt").fetchall()


async def test_it_is_on_the_disk_before_it_is_accepted(tmp_path: Path) -> None:
    async with Life(tmp_path)() as life:
        await life.desk.accept(assignment())
        assert rows(tmp_path) == [("t", 1, 0)]
    async with Life(tmp_path)() as second:
        await anyio.sleep(1)
        assert second.terminals == [("task_failed", "t", 1)]
        assert second.told[0].payload["error"].startswith("INTERRUPTED: ")
        assert [event.state for event in second.of(TaskMoved)] == ["interrupted"]
        assert await second.desk.accept(assignment()) is False
        assert second.ran == []
        await anyio.sleep(1)
    assert rows(tmp_path) == [("t", 1, 1)]


async def test_its_end_is_on_the_disk_before_it_is_sent(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.away = True
    first.go_on.set()
    async with first():
        await first.desk.accept(assignment())
        await anyio.sleep(100)
    second = Life(tmp_path, seed=2)
    second.away = True
    async with second():
        await anyio.sleep(100)
    async with Life(tmp_path, seed=3)() as third:
        await anyio.sleep(1)
        assert third.terminals == [("task_completed", "t", 1)]
        assert third.told[0].trace_id == "tr"
    async with Life(tmp_path, seed=4)() as fourth:
        await anyio.sleep(1)
        assert fourth.told == []
        with pytest.raises(Conflict):
            await fourth.desk.accept(assignment(attempt=0))
        assert await fourth.desk.accept(assignment()) is False
        assert await fourth.desk.accept(assignment(attempt=2)) is True


async def test_the_same_message_however_often_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: TaskKeeper, *_: Any) -> None:
        """The process is killed between the answer and the note that there was one."""

    first = Life(tmp_path)
    first.go_on.set()
    async with first():
        with monkeypatch.context() as patch:
            patch.setattr(TaskKeeper, "note", lost)
            await first.desk.accept(assignment())
            await anyio.sleep(1)
    async with Life(tmp_path, seed=2)() as second:
        await anyio.sleep(1)
    assert [each.payload["type"] for each in first.told] == ["task_acknowledged", "task_completed"]
    assert second.told == first.told[1:]


async def test_a_joined_run_is_kept_as_the_later_attempt_alone(tmp_path: Path) -> None:
    async with Life(tmp_path)() as life:
        await life.desk.accept(assignment())
        await life.desk.accept(assignment(attempt=3))
        assert rows(tmp_path) == [("t", 3, 0)]
        life.go_on.set()
        await anyio.sleep(1)
        assert rows(tmp_path) == [("t", 3, 1)]


async def test_an_attempt_that_was_superseded_is_told_all_the_same_and_then_dropped(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.away = True
    first.go_on.set()
    async with first():
        await first.desk.accept(assignment())
        await anyio.sleep(1)
        await first.desk.accept(assignment(attempt=2))
        await anyio.sleep(1)
    assert rows(tmp_path) == [("t", 1, 0), ("t", 2, 0)]
    async with Life(tmp_path, seed=2)() as second:
        await anyio.sleep(1)
        assert sorted(second.terminals) == [("task_completed", "t", 1), ("task_completed", "t", 2)]
    assert rows(tmp_path) == [("t", 2, 1)]


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done, "REMEMBERED", 3)
    first = Life(tmp_path)
    first.go_on.set()
    async with first():
        for name in "abcde":
            await first.desk.accept(assignment(name))
            await anyio.sleep(1)
        assert [row[0] for row in rows(tmp_path)] == ["c", "d", "e"]
    monkeypatch.setattr(done, "REMEMBERED", 2)
    async with Life(tmp_path, seed=2)() as second:
        await anyio.sleep(1)
        assert [row[0] for row in rows(tmp_path)] == ["d", "e"]
        assert second.told == []


async def test_a_large_result_is_let_go_of_when_it_has_been_heard(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.go_on.set()
    async with life():
        await life.desk.accept(assignment())
        await anyio.sleep(1)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        assert connection.execute("SELECT terminal FROM attempts").fetchall() == [(None,)]


async def test_a_stop_writes_down_what_it_hands_back(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.away = True
    async with first(killed=False):
        await first.desk.accept(assignment())
        first.desk.hand_back()
        began = anyio.current_time()
        await first.desk.drained()
        assert anyio.current_time() == began
    async with Life(tmp_path, seed=2)() as second:
        await anyio.sleep(1)
        assert second.told[0].payload["error"].startswith("DRAINING: ")


async def test_a_directory_that_comes_late_gets_all_there_is(tmp_path: Path) -> None:
    async with Life(tmp_path)() as earlier:
        await earlier.desk.accept(assignment("old"))
        await earlier.desk.accept(assignment("again"))
    late = Life(seed=2)
    async with late():
        await late.desk.accept(assignment("again"))
        await late.desk.accept(assignment("new"))
        late.keeper.open(tmp_path)
        await anyio.sleep(1)
        assert late.terminals == [("task_failed", "old", 1)]
        assert rows(tmp_path) == [("again", 1, 0), ("new", 1, 0), ("old", 1, 1)]
        late.go_on.set()
        await anyio.sleep(1)
        assert {row[2] for row in rows(tmp_path)} == {1}


async def test_a_full_disk_stops_nothing_and_all_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = task_keeper._write, True

    def write(*args: Any, **more: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        real(*args, **more)

    monkeypatch.setattr(task_keeper, "_write", write)
    async with Life(tmp_path)() as life:
        assert life.keeper.durable
        await life.desk.accept(assignment())
        assert await life.desk.accept(assignment("b")) is True
        await life.desk.accept(assignment("b", attempt=2))
        (failed,) = life.of(StorageFailed)
        assert (failed.what, failed.error, life.keeper.durable) == ("tasks", "database or disk is full", False)
        full = False
        await anyio.sleep(40)
        assert len(life.of(StorageRecovered)) == 1
        assert life.keeper.durable
        assert rows(tmp_path) == [("b", 2, 0), ("t", 1, 0)]
        assert len(life.ran) == 2


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_corrupt_file_is_put_aside_and_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tasks.db").write_bytes(content)
    async with Life(tmp_path)() as life:
        await anyio.sleep(1)
        (failed,) = life.of(StorageFailed)
        assert failed.moved_to == str(tmp_path / "tasks.db.unreadable")
        assert life.keeper.durable
        await life.desk.accept(assignment())
    assert rows(tmp_path) == [("t", 1, 0)]


async def test_a_terminal_message_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.away = True
    first.go_on.set()
    async with first():
        await first.desk.accept(assignment())
        await anyio.sleep(1)
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        connection.execute("UPDATE attempts SET terminal = 'nonsense'")
        connection.commit()
    async with Life(tmp_path, seed=2)() as second:
        await anyio.sleep(1)
        assert second.terminals == [("task_failed", "t", 1)]


async def test_many_waiting_messages_do_not_all_go_at_once(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.away = True
    first.go_on.set()
    async with first():
        for number in range(60):
            await first.desk.accept(assignment(f"t-{number}"))
        await anyio.sleep(1)
    second = Life(tmp_path, seed=2)
    at_once: list[int] = []
    on_their_way = 0

    async def slowly(report: Report) -> None:
        nonlocal on_their_way
        on_their_way += 1
        at_once.append(on_their_way)
        await anyio.sleep(1)
        on_their_way -= 1
        second.told.append(report)

    second.desk._send = slowly
    async with second():
        await anyio.sleep(10)
    assert (len(second.told), max(at_once)) == (60, 16)
