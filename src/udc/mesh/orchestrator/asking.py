"""The endpoints about tasks: create, look, change, cancel (contract section 7)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import Conflict, Forbidden, InvalidRequest, NotFound, Overloaded
from udc.identity.claims import Principal
from udc.mesh.orchestrator import bodies, machine
from udc.mesh.orchestrator.bodies import NewTask, TaskChange
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.giving import Terms
from udc.mesh.orchestrator.machine import Ignored
from udc.mesh.orchestrator.polling import Pollers, wrapped
from udc.mesh.orchestrator.records import shown
from udc.mesh.orchestrator.reports import caller_of
from udc.mesh.orchestrator.store import Kept
from udc.mesh.orchestrator.task import Task
from udc.mesh.orchestrator.workers import Workers
from udc.models import read
from udc.surface._base import HttpRequest, HttpResponse
from udc.wire.canonical import canonical_json
from udc.wire.trace import is_uuid

_RETRY_SECONDS: Final = 5.0

Answer: TypeAlias = dict[str, Any]  # Any: JSON values


class Asking:
    """The handlers of these endpoints."""

    def __init__(self, book: Book, workers: Workers, pollers: Pollers, *, terms: Terms, ambient: Ambient) -> None:
        self._book, self._workers, self._pollers = book, workers, pollers
        self._terms, self._ambient = terms, ambient

    async def create(self, request: HttpRequest) -> HttpResponse:
        """`POST /tasks`: answered when the task is on the disk.

        Raises:
            InvalidRequest: names the field at fault.
            Conflict: another task has that id.
            Overloaded: as many tasks as may be are open.
        """
        sent = bodies.fields_of(request)
        asked = read(NewTask, sent)
        if asked.trace_id is not None and not is_uuid(asked.trace_id):
            raise InvalidRequest.field("trace_id", "must be a UUID")
        by = caller_of(request.caller, None)
        if self._book.open_tasks >= self._terms.open_tasks and not await self._is_known(asked.task_id):
            raise Overloaded(
                f"{self._book.open_tasks} tasks wait or are at work, and no more are taken",
                retry_after_seconds=_RETRY_SECONDS,
            )
        task = self._made(asked, by)
        request.trace_id = task.trace_id
        payload = to_json(asked.payload, inf_nan_mode="null").decode()
        same = sha256(canonical_json([by, asked.model_dump(mode="json", exclude={"task_id"})])).digest()
        task, new = await self._book.add(task, payload, same)
        return HttpResponse(status=201 if new else 200, body=to_json(shown(task, asked.payload)))

    async def _is_known(self, task_id: str | None) -> bool:
        try:
            return task_id is not None and bool(await self._book.store.get(task_id.lower()))
        except NotFound:
            return False

    async def list(self, request: HttpRequest) -> Answer:
        """`GET /tasks`."""
        wanted, limit, offset = bodies.page_of(request)
        me = request.caller.droplet_id
        if me is not None and wanted.assigned_droplet_id == me:
            self._pollers.heard(me)
        found, total = await self._book.store.list(wanted, limit=limit, offset=offset)
        tasks = [shown(each.task, from_json(each.payload), history=False) for each in found]
        answer: Answer = {"tasks": tasks, "total": total, "limit": limit, "offset": offset}
        if me is None or wanted.assigned_droplet_id != me or not self._pollers.alive(me):
            return answer
        # One that polls asks for its own: besides, as that style writes tasks, with JSON in texts.
        texts = [
            {**task, "payload": each.payload, "result": each.task.result}
            for task, each in zip(tasks, found, strict=True)
        ]
        return wrapped(answer, {**answer, "tasks": texts})

    async def one(self, request: HttpRequest) -> Answer:
        """`GET /tasks/{id}`."""
        return _record(await self._book.store.get(_id(request)))

    async def change(self, request: HttpRequest) -> Answer:
        """`PATCH /tasks/{id}`: what a droplet that polls says of its task."""
        task_id = _id(request)
        asked = read(TaskChange, bodies.fields_of(request))
        self._pollers.heard(caller_of(request.caller, None))
        now = self._ambient.wall()
        not_before = now + self._terms.pause(0, self._ambient.chance())

        def what(task: Task) -> Task:
            source = _speaker(task, request.caller)
            _check_holder(task, source)
            if task.over and task.status == asked.status and (asked.attempt or task.attempt) == task.attempt:
                return task  # said again
            try:
                return _patched(task, asked, source, now, not_before)
            except Ignored as reason:
                if task.status == asked.status:
                    return task
                raise Conflict(f"nothing is changed: {reason}", details={"status": task.status}) from None

        await self._book.change(task_id, what)
        return _record(await self._book.store.get(task_id))

    async def cancel(self, request: HttpRequest) -> Answer:
        """`DELETE /tasks/{id}`."""
        task_id = _id(request)
        caller = request.caller
        by = caller_of(caller, None)
        now = self._ambient.wall()

        def what(task: Task) -> Task:
            if task.created_by != by and not caller.may("admin") and not caller.anonymous:
                raise Forbidden(
                    f"task {task.task_id} was created by {task.created_by!r}",
                    details={"created_by": task.created_by},
                    hint="its creator or an admin cancels it",
                )
            return machine.cancelled(task, by, now)

        await self._book.change(task_id, what)
        return _record(await self._book.store.get(task_id))

    async def queue(self, request: HttpRequest) -> Answer:
        """`GET /queue`: how much there is to do, and who does it."""
        counts = await self._book.store.counts()
        answer: Answer = {str(status): count for status, count in counts.items()}
        return answer | {"workers": self._workers.listed()}

    def _made(self, asked: NewTask, by: DropletId) -> Task:
        now = self._ambient.wall()
        return machine.created(
            Task(
                task_id=(asked.task_id or self._ambient.new_id()).lower(),
                trace_id=asked.trace_id or self._ambient.new_id(),
                task_type=asked.task_type,
                title=asked.title or asked.task_type,
                description=asked.description,
                required_capability=asked.required_capability,
                priority=asked.priority,
                deadline=None if asked.deadline is None else asked.deadline.timestamp(),
                max_retries=asked.max_retries,
                created_by=by,
                created_at=now,
                updated_at=now,
            )
        )


def _patched(task: Task, asked: TaskChange, source: DropletId, now: float, not_before: float) -> Task:
    if asked.status == "in_progress":
        return machine.begun_by_hand(task, source, asked.attempt, now)
    if asked.status == "completed":
        result = to_json(asked.result, inf_nan_mode="null").decode()
        return machine.completed_by_hand(task, source, asked.attempt, now, result=result)
    error = asked.error_message or "the droplet gave no reason"
    return machine.failed(task, source, asked.attempt, now, error=error, not_before=not_before)


def _speaker(task: Task, caller: Principal) -> DropletId:
    """Who says how a task goes: nobody but its droplet, where nobody needs to prove who they are."""
    if caller.anonymous and task.holder is not None:
        return task.holder.droplet_id
    return caller_of(caller, None)


def _check_holder(task: Task, source: DropletId) -> None:
    """Only the assigned droplet changes a task (contract section 7).

    Raises:
        Forbidden: it is somebody else's, or nobody's.
    """
    if task.holder is None or task.holder.droplet_id != source:
        raise Forbidden(
            f"task {task.task_id} is not assigned to {source!r}",
            details={"status": task.status},
            hint="only the droplet that a task is assigned to changes it; DELETE cancels it",
        )


def _id(request: HttpRequest) -> str:
    return request.params["id"].lower()


def _record(kept: Kept) -> Answer:
    return shown(kept.task, from_json(kept.payload))
