"""What droplets say of their tasks, as events (contract section 5), and of peers that they cannot reach (section 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.mesh.orchestrator import machine
from udc.mesh.orchestrator.bodies import TaskWord
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.giving import Terms
from udc.mesh.orchestrator.machine import Ignored
from udc.mesh.orchestrator.polling import Pollers
from udc.mesh.orchestrator.reports import Reports
from udc.mesh.orchestrator.task import Task
from udc.messages import Message
from udc.models import read
from udc.wire.ids import canonical_id

_log = logging.getLogger("udc.orchestrator")

Answer: TypeAlias = dict[str, Any]  # Any: JSON values
What: TypeAlias = Callable[[Task, DropletId, TaskWord, float], Task]


class Hearing:
    """Takes these events."""

    def __init__(self, book: Book, pollers: Pollers, reports: Reports, *, terms: Terms, ambient: Ambient) -> None:
        self._reports = reports
        self._book, self._pollers, self._terms, self._ambient = book, pollers, terms, ambient
        self._kinds: Final[dict[str, What]] = {
            "task_acknowledged": _acknowledged,
            "task_progress": _progressed,
            "task_completed": _completed,
            "task_failed": self._failed,
            "task_cancelled": _given_up,
        }

    async def task(self, message: Message) -> Answer:
        """Take one; answered when it is on the disk. What is known already is harmless.

        Raises:
            InvalidRequest: names the field at fault.
            NotFound: there is no such task.
            Forbidden, Conflict: the sender does not have that attempt.
        """
        word = read(TaskWord, to_json(message.payload))
        source = message.source if message.source is not None else "nobody"
        if self._pollers.alive(source):  # one that has been silent may have been set up anew, and does not poll
            self._pollers.heard(source)
        what, now = self._kinds[str(message.action)], self._ambient.wall()
        try:
            task = await self._book.change(word.task_id.lower(), lambda found: what(found, source, word, now))
        except Ignored as reason:
            return {"task_id": word.task_id, "ignored": True, "reason": str(reason)}
        return {"task_id": word.task_id, "status": task.status}

    def unreachable(self, message: Message) -> Answer:
        """Note that a droplet could not reach another one: for people. What to do of it the Registry's leases say.

        Raises:
            InvalidRequest: it names nobody.
        """
        target = canonical_id(message.payload.get("target_id"), field="payload.target_id")
        _log.warning("droplet unreachable", extra={"target": target, "reported_by": message.source})
        self._reports.note_unreachable(target, message.source)
        return {"noted": True}

    def _failed(self, task: Task, source: DropletId, word: TaskWord, now: float) -> Task:
        not_before = now + self._terms.pause(task.retries, self._ambient.chance())
        error = word.error or "the droplet gave no reason"
        return machine.failed(task, source, word.attempt, now, error=error, not_before=not_before)


def _acknowledged(task: Task, source: DropletId, word: TaskWord, now: float) -> Task:
    return machine.acknowledged(task, source, word.attempt, now)


def _progressed(task: Task, source: DropletId, word: TaskWord, now: float) -> Task:
    return machine.progressed(task, source, word.attempt, now, percent=word.percent, note=word.note)


def _completed(task: Task, source: DropletId, word: TaskWord, now: float) -> Task:
    result = to_json(word.result, inf_nan_mode="null").decode()
    return machine.completed(task, source, word.attempt, now, result=result)


def _given_up(task: Task, source: DropletId, word: TaskWord, now: float) -> Task:
    return machine.given_up(task, source, word.attempt, now)
