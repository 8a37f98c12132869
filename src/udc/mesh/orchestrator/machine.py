"""What happens to a task, as pure functions: a task and an event in, the task after it out (contract section 5).

Every function returns a new task, or raises: `Ignored` when the event changes nothing and its sender did nothing
wrong, a contract error when it may not happen. A step that an event implies is written into the history too, so
that it is always a legal one: who completes a task has begun it, even if that message was lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from udc._types import DropletId
from udc.errors import Conflict, Forbidden, InvalidRequest
from udc.mesh.orchestrator.task import FOLLOWS, HISTORY_STEPS, Holder, Progress, Status, Step, Task

DRAINING: Final = "DRAINING"
"""The code with which a droplet that stops hands a task back: that counts as no attempt."""

_FINAL_CODES: Final = frozenset({"INVALID_REQUEST", "DEADLINE_EXCEEDED"})
"""Failures that another attempt cannot mend."""

_TEXT: Final = 2000


class Ignored(Exception):
    """The event is old news: it changes nothing, and saying it again is harmless."""


def created(task: Task) -> Task:
    """The task with the first entry of its history."""
    return replace(task, history=(Step(status=Status.PENDING, at=task.created_at, droplet_id=task.created_by),))


def offered(task: Task, holder: Holder, now: float) -> Task:
    """Somebody is about to be asked to take the next attempt.

    Raises:
        Ignored: it is not waiting any more, or not yet again.
    """
    if task.status is not Status.PENDING or task.offer is not None or now < task.not_before:
        raise Ignored("it is not waiting")
    return replace(task, offer=replace(holder, attempt=task.attempt + 1))


def refused(task: Task, offer: Holder, *, why: str, not_before: float) -> Task:
    """Who was asked has certainly not taken it: the attempt has not happened.

    Raises:
        Ignored: the offer stands no more.
    """
    if task.offer != offer:
        raise Ignored("the offer stands no more")
    return replace(task, offer=None, not_before=not_before, error_message=_short(why))


def accepted(task: Task, offer: Holder, now: float) -> Task:
    """Who was asked has taken it.

    Raises:
        Ignored: the offer stands no more, or that was known.
    """
    if task.offer != offer:
        raise Ignored("the offer stands no more")
    return _moved(
        replace(task, offer=None, holder=offer, attempt=offer.attempt, error_message=None), Status.ASSIGNED, now
    )


def lost(task: Task, holder: Holder, now: float, *, why: str, counts: bool, not_before: float) -> Task:
    """An attempt is given up: not acknowledged in time, or its droplet is gone.

    Raises:
        Ignored: that attempt is not the one that runs.
    """
    if task.offer == holder:  # it may have been taken
        task = accepted(task, holder, now)
    if task.status not in (Status.ASSIGNED, Status.IN_PROGRESS) or task.holder != holder:
        raise Ignored("that attempt does not run")
    return _again(task, now, why=why, counts=counts, not_before=not_before)


def acknowledged(task: Task, source: DropletId, attempt: int | None, now: float) -> Task:
    """Its droplet has begun.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`; that it began is known.
    """
    task = _heard(task, source, attempt, now)
    if task.status is Status.IN_PROGRESS:
        raise Ignored("it is in progress already")
    return _moved(task, Status.IN_PROGRESS, now)


def progressed(task: Task, source: DropletId, attempt: int | None, now: float, *, percent: float, note: str) -> Task:
    """Its droplet says how far it is.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`.
    """
    task = _begun(_heard(task, source, attempt, now), now)
    return replace(task, progress=Progress(percent=percent, note=_short(note), at=now), updated_at=now)


def completed(task: Task, source: DropletId, attempt: int | None, now: float, *, result: str) -> Task:
    """Its droplet has done it; `result` is JSON text.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`.
    """
    task = _begun(_heard(task, source, attempt, now), now)
    return _moved(replace(task, result=result, error_message=None), Status.COMPLETED, now)


def failed(task: Task, source: DropletId, attempt: int | None, now: float, *, error: str, not_before: float) -> Task:
    """Its droplet could not do it (`error` is `CODE: text`), or hands it back.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`; that the attempt has come to nothing is known.
    """
    if task.status is Status.PENDING and task.offer is None and task.holder is not None:
        _heard(task, source, attempt, now)
        raise Ignored("the attempt was given up already")
    task = _heard(task, source, attempt, now)
    code = error.partition(":")[0].strip()
    if code == DRAINING:
        return _again(task, now, why=error, counts=False, not_before=now)
    if code in _FINAL_CODES:
        return _moved(replace(task, error_message=_short(error)), Status.FAILED, now, note=error)
    return _again(task, now, why=error, counts=True, not_before=not_before)


def given_up(task: Task, source: DropletId, attempt: int | None, now: float) -> Task:
    """Its droplet says that it was cancelled there.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`.
    """
    return _moved(_heard(task, source, attempt, now), Status.CANCELLED, now, note="cancelled at its droplet")


def cancelled(task: Task, by: DropletId, now: float) -> Task:
    """Nobody wants it any more; who has it must be told.

    Raises:
        Conflict: it is over.
    """
    if task.over:
        raise Conflict(
            f"the task is {task.status} already", details={"status": task.status}, hint="nothing is left to cancel"
        )
    over = replace(task, offer=None, untold=task.at_work)
    return _moved(over, Status.CANCELLED, now, note=f"cancelled by {by}")


def overdue(task: Task, now: float) -> Task:
    """Its deadline has passed; who has it must be told.

    Raises:
        Ignored: it has not, or the task is over.
    """
    if task.over or task.deadline is None or now < task.deadline:
        raise Ignored("its deadline has not passed")
    error = f"DEADLINE_EXCEEDED: the task's deadline passed while it was {task.status}"
    over = replace(task, offer=None, untold=task.at_work, error_message=error)
    return _moved(over, Status.FAILED, now, note=error)


def told(task: Task, holder: Holder) -> Task:
    """Who had it knows that it is over.

    Raises:
        Ignored: it was known.
    """
    if task.untold != holder:
        raise Ignored("nobody had to be told")
    return replace(task, untold=None)


def begun_by_hand(task: Task, source: DropletId, attempt: int | None, now: float) -> Task:
    """`PATCH in_progress`: what a droplet that polls acknowledges with.

    Raises:
        Ignored, Forbidden, Conflict: see `_heard`.
    """
    return acknowledged(task, source, attempt, now)


def completed_by_hand(task: Task, source: DropletId, attempt: int | None, now: float, *, result: str) -> Task:
    """`PATCH completed`.

    Raises:
        InvalidRequest: it has not been begun.
        Ignored, Forbidden, Conflict: see `_heard`.
    """
    if task.status is Status.ASSIGNED and task.holder is not None and task.holder.droplet_id == source:
        raise InvalidRequest.field(
            "status", "a task that is assigned cannot be completed", hint="PATCH it to in_progress first"
        )
    return completed(task, source, attempt, now, result=result)


def _heard(task: Task, source: DropletId, attempt: int | None, now: float) -> Task:
    """The task as it must be, given that this droplet speaks of this attempt.

    An offer that its droplet speaks of was taken; so is an attempt that was given up and that nobody else has got
    since: it runs, so it goes on.

    Raises:
        Ignored: the task is over, or the attempt is older than one given out since.
        Forbidden: somebody else has the attempt.
        Conflict: no such attempt was ever given out.
    """
    if task.over:
        raise Ignored(f"the task is {task.status}")
    current = task.offer or task.holder
    if current is None:
        raise Conflict("this task has not been given to anybody", details={"status": task.status})
    if attempt is None:  # foreign droplets do not count
        attempt = current.attempt
    if attempt < current.attempt:
        raise Ignored(f"attempt {attempt} is older than {current.attempt}")
    if attempt > current.attempt:
        raise Conflict(
            f"attempt {attempt} was never given out", details={"task_id": task.task_id, "attempt": current.attempt}
        )
    if source != current.droplet_id:
        raise Forbidden(
            f"attempt {attempt} of this task belongs to another droplet",
            details={"field": "source", "source": source},
            hint="only the droplet that a task is assigned to speaks of it",
        )
    if task.offer is not None:
        return accepted(task, task.offer, now)
    if task.status is Status.PENDING:
        return _moved(task, Status.ASSIGNED, now, note="heard of again")
    return task


def _begun(task: Task, now: float) -> Task:
    return task if task.status is Status.IN_PROGRESS else _moved(task, Status.IN_PROGRESS, now)


def _again(task: Task, now: float, *, why: str, counts: bool, not_before: float) -> Task:
    """Pending again, or failed for good when its attempts are used up."""
    if counts and task.retries >= task.max_retries:
        return _moved(replace(task, error_message=_short(why)), Status.FAILED, now, note=why)
    waiting = replace(
        task,
        retries=task.retries + counts,
        not_before=not_before,
        error_message=_short(why),
        progress=None,
    )
    return _moved(waiting, Status.PENDING, now, note=why)


def _moved(task: Task, status: Status, now: float, *, note: str = "") -> Task:
    if status not in FOLLOWS[task.status]:
        raise Conflict(f"a task that is {task.status} cannot become {status}", details={"status": task.status})
    holder = task.holder if task.holder is not None and task.attempt else None
    now = max(now, task.updated_at)  # events are dated before they are put in order
    step = Step(
        status=status,
        at=now,
        droplet_id=holder.droplet_id if holder is not None else None,
        attempt=task.attempt,
        note=_short(note),
    )
    history = (*task.history, step)
    if len(history) > HISTORY_STEPS:
        history = (history[0], *history[2:])
    return replace(task, status=status, updated_at=now, history=history)


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
