"""What happens to a task: each event by itself, and any events in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from udc.errors import Conflict, ContractError, Forbidden, InvalidRequest
from udc.mesh.orchestrator import machine
from udc.mesh.orchestrator.machine import Ignored
from udc.mesh.orchestrator.records import packed, unpacked
from udc.mesh.orchestrator.task import FOLLOWS, HISTORY_STEPS, TERMINAL, Holder, Status, Task

A = Holder(droplet_id=31, attempt=0, instance_id="a", endpoint="http://a")
B = Holder(droplet_id=32, attempt=0, instance_id="b", endpoint="http://b")


def task(**changes: Any) -> Task:
    made = Task(
        task_id="t",
        trace_id="r",
        task_type="resize",
        title="Resize",
        created_by=77,
        created_at=100.0,
        updated_at=100.0,
        max_retries=2,
    )
    return machine.created(replace(made, **changes))


def offered(found: Task | None = None, holder: Holder = A, now: float = 1e9) -> Task:
    return machine.offered(found or task(), holder, now)


def assigned(found: Task | None = None, holder: Holder = A) -> Task:
    asked = offered(found, holder)
    assert asked.offer is not None
    return machine.accepted(asked, asked.offer, 102.0)


def begun(found: Task | None = None, holder: Holder = A) -> Task:
    given = assigned(found, holder)
    return machine.acknowledged(given, holder.droplet_id, given.attempt, 103.0)


def lost(found: Task, **changes: Any) -> Task:
    how = {"why": "gone", "counts": True, "not_before": 0.0, **changes}
    assert found.at_work is not None
    return machine.lost(found, found.at_work, 110.0, **how)


def states(found: Task) -> list[str]:
    return [str(step.status) for step in found.history]


def test_a_task_that_goes_well() -> None:
    done = machine.completed(begun(), 31, 1, 104.0, result="6")

    assert states(done) == ["pending", "assigned", "in_progress", "completed"]
    assert [(step.at, step.droplet_id, step.attempt) for step in done.history] == [
        (100.0, 77, 0),
        (102.0, 31, 1),
        (103.0, 31, 1),
        (104.0, 31, 1),
    ]
    assert (done.result, done.attempt, done.over, done.at_work) == ("6", 1, True, None)


def test_an_event_that_comes_before_the_answer_implies_it() -> None:
    """The droplet may be done before we have read that it took the task."""
    done = machine.completed(offered(), 31, 1, 102.0, result="6")

    assert states(done) == ["pending", "assigned", "in_progress", "completed"]
    with pytest.raises(Ignored):
        machine.accepted(done, replace(A, attempt=1), 103.0)


def test_a_lost_acknowledgement_leaves_the_history_legal() -> None:
    assert states(machine.completed(assigned(), 31, 1, 104.0, result="6"))[-2:] == ["in_progress", "completed"]
    progressing = machine.progressed(assigned(), 31, 1, 104.0, percent=40, note="on it")
    assert progressing.status is Status.IN_PROGRESS
    assert progressing.progress is not None
    assert (progressing.progress.percent, progressing.progress.note) == (40, "on it")


def test_times_in_a_history_never_go_back() -> None:
    done = machine.completed(begun(), 31, 1, 50.0, result="6")
    assert done.history[-1].at == 103.0


def test_a_refusal_costs_nothing() -> None:
    asked = offered()
    assert asked.offer is not None
    waiting = machine.refused(asked, asked.offer, why="OVERLOADED", not_before=105.0)

    assert (waiting.status, waiting.attempt, waiting.retries, waiting.offer) == (Status.PENDING, 0, 0, None)
    assert waiting.error_message == "OVERLOADED"
    with pytest.raises(Ignored):
        machine.offered(waiting, B, 104.0)
    assert machine.offered(waiting, B, 105.0).offer == replace(B, attempt=1)
    with pytest.raises(Ignored):
        machine.refused(waiting, asked.offer, why="again", not_before=0)


def test_one_is_asked_at_a_time() -> None:
    with pytest.raises(Ignored):
        machine.offered(offered(), B, 102.0)
    with pytest.raises(Ignored):
        machine.offered(assigned(), B, 102.0)


@pytest.mark.parametrize("make", [offered, assigned, begun])
def test_what_is_lost_is_given_again_until_its_retries_are_used_up(make: Callable[[], Task]) -> None:
    found = make()
    for number in (1, 2):
        found = lost(found)
        assert (found.status, found.attempt, found.retries) == (Status.PENDING, number, number)
        found = assigned(found)
    found = lost(found)
    assert (found.status, found.attempt, found.error_message) == (Status.FAILED, 3, "gone")


def test_only_the_attempt_that_runs_can_be_lost() -> None:
    given = assigned()
    with pytest.raises(Ignored):
        machine.lost(given, replace(A, attempt=2), 105.0, why="", counts=True, not_before=0)
    with pytest.raises(Ignored):
        machine.lost(lost(given), replace(A, attempt=1), 105.0, why="", counts=True, not_before=0)


def test_a_task_handed_back_counts_no_attempt() -> None:
    found = task(max_retries=0)
    for number in range(1, 5):
        found = machine.failed(begun(found), 31, number, 104.0, error="DRAINING: stopping", not_before=999.0)
        assert (found.status, found.attempt, found.retries) == (Status.PENDING, number, 0)
        assert found.not_before <= 104.0


def test_a_failure_is_tried_again_after_its_pause() -> None:
    found = machine.failed(begun(), 31, 1, 104.0, error="INTERNAL_ERROR: boom", not_before=120.0)

    assert (found.status, found.retries, found.not_before) == (Status.PENDING, 1, 120.0)
    assert found.error_message == "INTERNAL_ERROR: boom"
    last = begun(replace(found, not_before=0.0, retries=2))
    assert machine.failed(last, 31, 2, 130.0, error="X: y", not_before=0).status is Status.FAILED


@pytest.mark.parametrize("code", ["INVALID_REQUEST", "DEADLINE_EXCEEDED"])
def test_what_no_attempt_can_mend_fails_at_once(code: str) -> None:
    found = machine.failed(begun(), 31, 1, 104.0, error=f"{code}: no", not_before=120.0)
    assert (found.status, found.error_message, found.retries) == (Status.FAILED, f"{code}: no", 0)


def test_an_attempt_that_was_given_up_goes_on_when_it_is_heard_of() -> None:
    found = machine.acknowledged(lost(assigned()), 31, 1, 111.0)
    assert states(found)[-3:] == ["pending", "assigned", "in_progress"]
    assert machine.completed(lost(begun()), 31, 1, 111.0, result="6").status is Status.COMPLETED


def test_one_failure_counts_once() -> None:
    """The droplet was seen to be gone, and then says itself that it was interrupted."""
    found = lost(begun())
    with pytest.raises(Ignored):
        machine.failed(found, 31, 1, 111.0, error="INTERRUPTED: started anew", not_before=0)


def test_older_attempts_are_ignored() -> None:
    found = begun(lost(begun()), B)
    late_words: list[Callable[[], Task]] = [
        lambda: machine.completed(found, 31, 1, 112.0, result="6"),
        lambda: machine.acknowledged(found, 31, 1, 112.0),
        lambda: machine.failed(found, 31, 1, 112.0, error="X: y", not_before=0),
        lambda: machine.given_up(found, 31, 1, 112.0),
    ]
    for late in late_words:
        with pytest.raises(Ignored, match="older"):
            late()


def test_an_attempt_that_never_was_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        machine.completed(begun(), 31, 2, 104.0, result="6")
    with pytest.raises(Conflict):
        machine.completed(task(), 31, 1, 104.0, result="6")


def test_only_its_droplet_speaks_of_it() -> None:
    for found in (offered(), assigned(), begun()):
        with pytest.raises(Forbidden):
            machine.completed(found, 32, 1, 104.0, result="6")


def test_a_foreign_droplet_need_not_count() -> None:
    assert machine.completed(begun(), 31, None, 104.0, result="6").status is Status.COMPLETED


def test_the_same_terminal_message_twice_is_harmless() -> None:
    done = machine.completed(begun(), 31, 1, 104.0, result="6")
    words: list[Callable[[], Task]] = [
        lambda: machine.completed(done, 31, 1, 105.0, result="6"),
        lambda: machine.failed(done, 31, 1, 105.0, error="X: y", not_before=0),
        lambda: machine.overdue(replace(done, deadline=1.0), 105.0),
    ]
    for again in words:
        with pytest.raises(Ignored):
            again()


@pytest.mark.parametrize(("make", "untold"), [(task, None), (offered, 31), (assigned, 31), (begun, 31)])
def test_a_cancelled_task_is_told_to_who_has_it(make: Callable[[], Task], untold: int | None) -> None:
    over = machine.cancelled(make(), 77, 105.0)

    assert (over.status, over.offer) == (Status.CANCELLED, None)
    assert (over.untold.droplet_id if over.untold else None) == untold
    with pytest.raises(Conflict):
        machine.cancelled(over, 77, 106.0)
    if over.untold is not None:
        assert machine.told(over, over.untold).untold is None
        with pytest.raises(Ignored):
            machine.told(machine.told(over, over.untold), over.untold)


@pytest.mark.parametrize("make", [task, offered, assigned, begun])
def test_a_deadline_ends_it_in_every_state(make: Callable[[], Task]) -> None:
    found = replace(make(), deadline=104.0)
    with pytest.raises(Ignored):
        machine.overdue(found, 103.9)
    over = machine.overdue(found, 104.0)

    assert over.status is Status.FAILED
    assert str(over.error_message).startswith("DEADLINE_EXCEEDED: ")
    assert over.untold == found.at_work


def test_by_hand_a_task_is_begun_before_it_is_completed() -> None:
    given = assigned()
    with pytest.raises(InvalidRequest):
        machine.completed_by_hand(given, 31, None, 104.0, result="6")
    going = machine.begun_by_hand(given, 31, None, 104.0)
    assert machine.completed_by_hand(going, 31, None, 105.0, result="6").status is Status.COMPLETED


def test_a_droplet_that_cancelled_it_ends_it() -> None:
    assert machine.given_up(begun(), 31, 1, 104.0).status is Status.CANCELLED


def test_a_long_history_keeps_its_beginning_and_its_end() -> None:
    found = task()
    for number in range(1, 200):
        found = machine.failed(begun(found), 31, number, 104.0, error="DRAINING: x", not_before=0)

    assert len(found.history) == HISTORY_STEPS
    assert (found.history[0].at, found.history[-1].attempt) == (100.0, 199)


class AnyOrder(RuleBasedStateMachine):
    """Events as they may come, late ones, wrong ones and strangers' included."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.task = task(deadline=400.0)
        self.over: Task | None = None
        self.attempts: list[int] = [0]

    def step(self, what: Callable[[Task], Task]) -> None:
        self.now += 1
        before = self.task
        try:
            self.task = unpacked(packed(what(before)), what(before).result)
        except (Ignored, ContractError):
            return
        assert self.task == what(before), "the store gives back what it got"
        self.attempts.append(self.task.attempt)

    @rule(holder=st.sampled_from([A, B, replace(A, polls=True)]))
    def offer(self, holder: Holder) -> None:
        self.step(lambda found: machine.offered(found, holder, self.now))

    @rule()
    def accept(self) -> None:
        self.step(lambda found: machine.accepted(found, found.offer or A, self.now))

    @rule()
    def refuse(self) -> None:
        self.step(lambda found: machine.refused(found, found.offer or A, why="no", not_before=self.now))

    @rule(counts=st.booleans())
    def lose(self, counts: bool) -> None:
        self.step(
            lambda found: machine.lost(
                found, found.at_work or A, self.now, why="gone", counts=counts, not_before=self.now
            )
        )

    @rule(
        source=st.sampled_from([31, 32, 99]),
        attempt=st.sampled_from([None, 1, 2, 3, 4]),
        kind=st.sampled_from(["ack", "progress", "completed", "failed", "draining", "invalid", "cancelled", "hand"]),
    )
    def hear(self, source: int, attempt: int | None, kind: str) -> None:
        now = self.now
        events: dict[str, Callable[[Task], Task]] = {
            "ack": lambda found: machine.acknowledged(found, source, attempt, now),
            "progress": lambda found: machine.progressed(found, source, attempt, now, percent=1, note=""),
            "completed": lambda found: machine.completed(found, source, attempt, now, result="1"),
            "failed": lambda found: machine.failed(found, source, attempt, now, error="X: y", not_before=now),
            "draining": lambda found: machine.failed(found, source, attempt, now, error="DRAINING", not_before=now),
            "invalid": lambda found: machine.failed(
                found, source, attempt, now, error="INVALID_REQUEST: z", not_before=now
            ),
            "cancelled": lambda found: machine.given_up(found, source, attempt, now),
            "hand": lambda found: machine.completed_by_hand(found, source, attempt, now, result="2"),
        }
        self.step(events[kind])

    @rule()
    def cancel(self) -> None:
        self.step(lambda found: machine.cancelled(found, 77, self.now))

    @rule(late=st.booleans())
    def overdue(self, late: bool) -> None:
        self.step(lambda found: machine.overdue(found, 500.0 if late else self.now))

    @rule()
    def tell(self) -> None:
        self.step(lambda found: machine.told(found, found.untold or A))

    @invariant()
    def its_end_is_its_end(self) -> None:
        if self.over is not None:
            assert replace(self.task, untold=None) == replace(self.over, untold=None)
        elif self.task.over:
            self.over = self.task

    @invariant()
    def its_history_is_legal(self) -> None:
        history = self.task.history
        for before, after in pairwise(history):
            assert after.status in FOLLOWS[before.status]
            assert after.at >= before.at
            assert after.attempt >= before.attempt
        assert history[-1].status is self.task.status
        assert sum(step.status in TERMINAL for step in history) == self.task.over

    @invariant()
    def attempts_only_grow(self) -> None:
        assert self.attempts == sorted(self.attempts)
        assert self.task.retries <= self.task.max_retries

    @invariant()
    def somebody_has_it_only_while_it_goes_on(self) -> None:
        if self.task.status in (Status.ASSIGNED, Status.IN_PROGRESS):
            assert self.task.holder is not None
            assert self.task.holder.attempt == self.task.attempt
            assert self.task.offer is None
        if self.task.offer is not None:
            assert self.task.offer.attempt == self.task.attempt + 1


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, derandomize=True)
