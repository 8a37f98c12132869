"""The task desk and its reporter, in virtual time: each attempt runs once, and has one terminal message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc._ids import seeded
from udc.errors import (
    BusinessError,
    Conflict,
    Forbidden,
    NoHandler,
    NotFound,
    Overloaded,
    PeerError,
    PeerUnreachable,
    TokenError,
)
from udc.identity.claims import Principal
from udc.instrument import Event, Instrument, TaskMoved
from udc.tasks import done
from udc.tasks.attempts import Assignment
from udc.tasks.desk import TaskDesk
from udc.tasks.reports import Payload, Report, Reporter

pytestmark = virtual_time

Progress = Callable[[float, str], Awaitable[None]]


def principal(droplet_id: int = 10, *permissions: str) -> Principal:
    return Principal(
        subject=f"droplet-{droplet_id}", droplet_id=droplet_id, issuer="i", permissions=frozenset(permissions)
    )


def assignment(task_id: str = "t", attempt: int = 1, name: str = "work") -> Assignment:
    return Assignment(
        task_id=task_id, name=name, data={}, trace_id="tr", attempt=attempt, deadline=None, principal=principal()
    )


class World:
    """A desk with a worker that waits until it is told how to end."""

    def __init__(self, *, limit: int = 10) -> None:
        self.told: list[Payload] = []
        self.events: list[Event] = []
        self.ran: list[int] = []
        self.go_on = anyio.Event()
        self.error: Exception | None = None
        self.on_cancel: Exception | None = None
        self.unreachable = 0
        self.tasks: Any = None
        self.desk = TaskDesk(
            self,
            tell=self.tell,
            spawn=lambda work, *, name: self.tasks.start_soon(work, name=name),
            instrument=Instrument([self.events.append]),
            ambient=seeded(5, lambda: 0.0),
            limit=lambda: limit,
        )

    def knows(self, name: str) -> None:
        if name != "work":
            raise NoHandler(f"no handler for task {name!r}")

    async def run(self, assignment: Assignment, progress: Progress) -> bytes:
        self.ran.append(assignment.attempt)
        await progress(50, "half")
        try:
            await self.go_on.wait()
        except BaseException:
            if self.on_cancel is not None:
                raise self.on_cancel from None
            raise
        if self.error is not None:
            raise self.error
        return b'{"n":1}'

    async def tell(self, report: Report) -> object:
        await anyio.sleep(0.01)
        if self.unreachable:
            self.unreachable -= 1
            raise PeerUnreachable("nobody there", peer=10)
        self.told.append(report.payload)
        return None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[TaskDesk]:
        async with anyio.create_task_group() as self.tasks:
            yield self.desk
            await self.desk.drained()

    @property
    def kinds(self) -> list[str]:
        return [each["type"] for each in self.told if each["type"] != "task_progress"]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.events if isinstance(event, TaskMoved)]


async def test_a_task_is_acknowledged_worked_on_and_completed() -> None:
    world = World()
    async with world.open() as desk:
        assert await desk.accept(assignment())
        await anyio.sleep(1)
        assert (desk.running, world.kinds) == (1, ["task_acknowledged"])
        world.go_on.set()
    assert world.told[-1] == {"type": "task_completed", "task_id": "t", "attempt": 1, "result": {"n": 1}}
    assert world.states == ["accepted", "completed"]
    assert desk.running == 0


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (BusinessError("NO_ROOM", "full"), "task_failed", "NO_ROOM: full"),
        (ValueError("SELECT secret"), "task_failed", "INTERNAL_ERROR: Something failed inside this droplet."),
        (BusinessError("CANCELLED", "by trace"), "task_cancelled", None),
    ],
)
async def test_a_task_that_fails_says_so_without_the_text(error: Exception, kind: str, text: str | None) -> None:
    """Traps 40 and 45."""
    world = World()
    world.error = error
    world.go_on.set()
    async with world.open() as desk:
        await desk.accept(assignment())
    assert (world.told[-1]["type"], world.told[-1].get("error")) == (kind, text)


async def test_the_same_attempt_again_is_one_run() -> None:
    world = World()
    async with world.open() as desk:
        assert [await desk.accept(assignment()) for _ in range(3)] == [True, False, False]
        await anyio.sleep(1)
        world.go_on.set()
        await anyio.sleep(1)
        assert await desk.accept(assignment()) is False
    assert (world.ran, world.kinds.count("task_completed")) == ([1], 1)


async def test_a_later_attempt_joins_the_run_and_its_messages_carry_it() -> None:
    world = World()
    async with world.open() as desk:
        await desk.accept(assignment())
        await anyio.sleep(1)
        assert await desk.accept(assignment(attempt=3)) is False
        await anyio.sleep(1)
        with pytest.raises(Conflict):
            await desk.accept(assignment(attempt=2))
        world.go_on.set()
    assert world.ran == [1]
    assert [(each["type"], each["attempt"]) for each in world.told if each["type"] != "task_progress"] == [
        ("task_acknowledged", 1),
        ("task_acknowledged", 3),
        ("task_completed", 3),
    ]


async def test_a_later_attempt_at_a_task_that_is_done_runs_anew() -> None:
    world = World()
    world.go_on.set()
    async with world.open() as desk:
        await desk.accept(assignment())
        await anyio.sleep(1)
        assert await desk.accept(assignment(attempt=2))
        await anyio.sleep(1)
        with pytest.raises(Conflict):
            await desk.accept(assignment(attempt=1))
    assert world.ran == [1, 2]


async def test_an_attempt_without_a_number_comes_after_the_last_one_that_is_told() -> None:
    world = World()
    async with world.open() as desk:
        assert desk.next_attempt("t") == 1
        await desk.accept(assignment(attempt=4))
        assert desk.next_attempt("t") is None  # it runs
        world.unreachable = 10**6
        world.go_on.set()
        await anyio.sleep(10)
        assert desk.running == 0
        assert desk.next_attempt("t") is None  # its end is not told
        world.unreachable = 0
        await anyio.sleep(31)
        assert desk.next_attempt("t") == 5


async def test_what_cannot_be_taken() -> None:
    world = World(limit=1)
    async with world.open() as desk:
        with pytest.raises(NoHandler):
            await desk.accept(assignment(name="play"))
        await desk.accept(assignment())
        with pytest.raises(Overloaded):
            await desk.accept(assignment("other"))
        assert await desk.accept(assignment()) is False  # what runs already needs no room
        world.go_on.set()


async def test_cancelling() -> None:
    world = World()
    async with world.open() as desk:
        await desk.accept(assignment())
        await anyio.sleep(1)
        with pytest.raises(NotFound):
            desk.cancel("other", by=principal(), orchestrator=10)
        with pytest.raises(Forbidden):
            desk.cancel("t", by=principal(77, "write"), orchestrator=10)
        desk.cancel("t", by=principal(77, "admin"), orchestrator=10)
        await anyio.sleep(1)
        desk.cancel("t", by=principal(), orchestrator=10)  # done: harmless
    assert world.kinds == ["task_acknowledged", "task_cancelled"]
    assert world.states == ["accepted", "cancelled"]


async def test_a_handler_that_makes_an_error_of_its_cancelling_was_cancelled() -> None:
    world = World()
    world.on_cancel = ValueError("interrupted")
    async with world.open() as desk:
        await desk.accept(assignment())
        await anyio.sleep(1)
        desk.cancel("t", by=principal(), orchestrator=10)
    assert world.kinds[-1] == "task_cancelled"


async def test_what_still_runs_at_the_end_is_handed_back() -> None:
    world = World()
    async with world.open() as desk:
        await desk.accept(assignment())
        await anyio.sleep(1)
        desk.hand_back()
        desk.cancel("t", by=principal(), orchestrator=10)  # too late to be the reason
        await desk.last_words()
    assert world.told[-1]["type"] == "task_failed"
    assert world.told[-1]["error"].startswith("DRAINING: ")


async def test_last_words_end_after_five_seconds() -> None:
    """Trap 18: a stop does not wait for an Orchestrator that is gone."""
    world = World()
    world.unreachable = 10**6
    async with anyio.create_task_group() as world.tasks:
        await world.desk.accept(assignment())
        await anyio.sleep(1)
        begun = anyio.current_time()
        world.desk.hand_back()
        await world.desk.last_words()
        assert anyio.current_time() - begun == pytest.approx(5)
        world.tasks.cancel_scope.cancel()
    assert world.states == ["accepted", "failed"]


async def test_work_cut_off_with_the_droplet_is_noted() -> None:
    world = World()
    async with anyio.create_task_group() as world.tasks:
        await world.desk.accept(assignment())
        await anyio.sleep(1)
        world.tasks.cancel_scope.cancel()
    assert (world.desk.running, world.states) == (0, ["accepted", "failed"])


async def test_the_terminal_message_is_tried_until_it_is_heard() -> None:
    world = World()
    world.go_on.set()
    world.unreachable = 6
    async with world.open() as desk:
        await desk.accept(assignment())
    assert world.kinds == ["task_completed"]


async def test_done_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done, "REMEMBERED", 2)
    world = World()
    world.go_on.set()
    async with world.open() as desk:
        for name in "abc":
            await desk.accept(assignment(name))
            await anyio.sleep(1)
        assert await desk.accept(assignment("a"))
        assert not await desk.accept(assignment("c"))


class Told:
    """A reporter and what it said."""

    def __init__(self, *, errors: tuple[Exception, ...] = ()) -> None:
        self.said: list[Payload] = []
        self.errors = list(errors)
        self.reporter = Reporter(self.tell, task_id="t", attempt=1, trace_id="tr", ambient=seeded(5, lambda: 0.0))
        self.reporter.acknowledged()

    async def tell(self, report: Report) -> object:
        await anyio.sleep(1)
        if self.errors:
            raise self.errors.pop(0)
        self.said.append(report.payload)
        return None


async def test_only_the_newest_progress_is_sent_and_nothing_after_the_end() -> None:
    told = Told()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(told.reporter.run)
        for percent in (1, 2):
            await told.reporter.progress(percent, "while the acknowledgement is on its way")
        await anyio.sleep(2.5)
        for percent in (10, 20, 30):
            await told.reporter.progress(percent, "")
        await anyio.sleep(5)
        await told.reporter.progress(90, "never sent")
        told.reporter.end({"type": "task_completed", "result": 1}, message_id="m")
        told.reporter.end({"type": "task_failed"}, message_id="n")
    kinds = [(each["type"], each.get("percent")) for each in told.said]
    progress = [("task_progress", 2), ("task_progress", 30)]
    assert kinds == [("task_acknowledged", None), *progress, ("task_completed", None)]


async def test_what_was_not_heard_is_said_again_until_something_newer_is_there() -> None:
    told = Told(errors=(TokenError("no token"), *(PeerUnreachable("x", peer=10) for _ in range(2))))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(told.reporter.run)
        await told.reporter.progress(50, "old")
        await told.reporter.progress(60, "new")
        await anyio.sleep(60)
        assert [each["type"] for each in told.said] == ["task_acknowledged", "task_progress"]
        assert told.said[1]["note"] == "new"
        told.errors = [PeerUnreachable("x", peer=10)] * 3
        await told.reporter.progress(70, "lost")
        await anyio.sleep(0.5)
        told.reporter.end({"type": "task_completed"}, message_id="m")
    assert [each["type"] for each in told.said[2:]] == ["task_completed"]


async def test_the_end_does_not_wait_for_the_pause_of_something_older() -> None:
    told = Told(errors=(PeerUnreachable("x", peer=10),) * 1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(told.reporter.run)
        await anyio.sleep(200)  # by now the pauses are long
        told.errors.clear()
        told.reporter.end({"type": "task_completed"}, message_id="m")
        ended = anyio.current_time()
    assert anyio.current_time() - ended <= 2
    assert [each["type"] for each in told.said] == ["task_completed"]


async def test_a_result_that_is_too_large_becomes_a_failure() -> None:
    reports: list[Report] = []

    async def tell(report: Report) -> None:
        reports.append(report)
        if report.payload["type"] == "task_completed":
            raise PeerError("too large", peer=10, status=413, code="PAYLOAD_TOO_LARGE")

    reporter = Reporter(tell, task_id="t", attempt=2, trace_id="tr", ambient=seeded(5, lambda: 0.0))
    reporter.end({"type": "task_completed", "task_id": "t", "attempt": 2, "result": "x" * 99}, message_id="m")
    await reporter.run()
    assert [report.message_id for report in reports] == ["m", "m.413"]
    last = reports[1].payload
    assert (last["type"], last["task_id"], last["attempt"]) == ("task_failed", "t", 2)
    assert last["error"].startswith("PAYLOAD_TOO_LARGE: ")


async def test_somebody_else_at_the_orchestrators_address_is_no_orchestrator() -> None:
    stranger = PeerError("this is droplet 5", peer=10, status=404, code="NOT_FOUND", details={"target": 10})
    told = Told(errors=(stranger, stranger))
    told.reporter.end({"type": "task_completed"}, message_id="m")
    await told.reporter.run()
    assert [each["type"] for each in told.said] == ["task_completed"]


async def test_terminal_waits_grow_and_stay_bounded() -> None:
    told = Told(errors=tuple(PeerUnreachable("x", peer=10) for _ in range(30)))
    told.reporter.end({"type": "task_completed"}, message_id="m")
    await told.reporter.run()
    assert len(told.said) == 1
    assert anyio.current_time() < 30 * 31


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422])
async def test_a_terminal_message_that_is_refused_for_good_is_not_said_again(status: int) -> None:
    told: list[Payload] = []

    async def refuse(report: Report) -> None:
        told.append(report.payload)
        raise PeerError("no such task", peer="orchestrator", status=status, code="NOT_FOUND")

    reporter = Reporter(refuse, task_id="t", attempt=1, trace_id="tr", ambient=seeded(5, lambda: 0.0))
    reporter.end({"type": "task_completed", "result": 1}, message_id="m")
    with anyio.fail_after(1):
        await reporter.run()
    assert [payload["type"] for payload in told] == ["task_completed"]
