"""Tasks that this droplet fetches itself, and what it says of them, for Orchestrators of the v2 style."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from udc._frozen import dataclass
from udc._ids import Ambient
from udc._types import DropletId
from udc.clients.orchestrator_polled import PolledOrchestrator, outcome
from udc.clients.orchestrator_records import TaskRecord
from udc.errors import Conflict, NoHandler, Overloaded, PeerError, UnknownPeer
from udc.identity.claims import Principal
from udc.tasks.attempts import Assignment, Key
from udc.tasks.desk import TaskDesk
from udc.tasks.reports import Report, Tell
from udc.wire.trace import is_uuid

_STAYS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})
"""Answers to "in progress" that mean: it is already, or over."""


class PatchTeller:
    """Tells what becomes of tasks by PATCH. Progress is not told: this style has no word for it.

    Args:
        find: the Orchestrator, if there is one.
    """

    def __init__(self, find: Callable[[], PolledOrchestrator | None]) -> None:
        self._find = find
        self._begun: set[Key] = set()

    async def __call__(self, report: Report) -> None:
        """Send one report.

        Raises:
            DeliveryError, TokenError: it could not be told.
        """
        said = outcome(report.payload)
        if said is None:
            return
        orchestrator = self._find()
        if orchestrator is None:
            raise UnknownPeer("there is no Orchestrator to tell", peer="orchestrator")
        task_id, key = report.payload["task_id"], (report.payload["task_id"], report.payload["attempt"])
        status, facts = said
        # Straight from assigned to its end is refused. In an earlier life it may have been begun: nobody knows.
        if key not in self._begun:
            await self._begin(orchestrator, task_id, lasting=status != "in_progress")
            self._begun.add(key)
        if status != "in_progress":
            await orchestrator.update(task_id, status, **facts)
            self._begun.discard(key)

    async def _begin(self, orchestrator: PolledOrchestrator, task_id: str, *, lasting: bool) -> None:
        try:
            await orchestrator.update(task_id, "in_progress")
        except PeerError as error:
            if not lasting or error.status not in _STAYS:
                raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Gives fetched tasks to the desk.

    Attributes:
        tell: says what becomes of one that cannot be taken.
        orchestrator: from whom they are.
    """

    desk: TaskDesk
    tell: Tell
    orchestrator: DropletId
    ambient: Ambient

    async def take(self, task: TaskRecord) -> None:
        """Take the task, unless it is here already, or there is no room for it now.

        Raises:
            DeliveryError, TokenError: it cannot be taken, and that could not be told.
        """
        attempt = task.attempt or self.desk.next_attempt(task.task_id)
        if attempt is None:
            return
        trace_id = task.trace_id if task.trace_id is not None and is_uuid(task.trace_id) else self.ambient.new_id()
        error = None if not self._is_late(task) else "DEADLINE_EXCEEDED: the task's deadline has passed; nothing ran"
        try:
            if error is None:
                await self.desk.accept(self._assignment(task, attempt, trace_id))
        except (Conflict, Overloaded):
            return  # known here, or there will be room at a later look
        except NoHandler as refusal:
            error = f"{refusal.code}: {refusal.message}"
        if error is not None:
            payload = {"type": "task_failed", "task_id": task.task_id, "attempt": attempt, "error": error}
            await self.tell(Report(trace_id=trace_id, payload=payload))

    def _is_late(self, task: TaskRecord) -> bool:
        return task.deadline is not None and task.deadline <= self.ambient.now()

    def _assignment(self, task: TaskRecord, attempt: int, trace_id: str) -> Assignment:
        giver = Principal(
            subject=f"droplet-{self.orchestrator}",
            droplet_id=self.orchestrator,
            issuer="",
            permissions=frozenset({"write"}),
        )
        return Assignment(
            task_id=task.task_id,
            name=task.task_type,
            data={} if task.payload is None else task.payload,
            trace_id=trace_id,
            attempt=attempt,
            deadline=task.deadline,
            principal=giver,
        )
