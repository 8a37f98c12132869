"""What the Orchestrator tells of tasks, as values (contract section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from udc._frozen import dataclass
from udc._types import DropletId, JsonObject
from udc.errors import InvalidReply, InvalidRequest
from udc.wire import json_text
from udc.wire.ids import canonical_id
from udc.wire.words import moment


class TaskState(StrEnum):
    """How far a task is (contract section 5)."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})
"""The states in which a task stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to be given to whoever can do it.

    Attributes:
        task_type: what is to be done: the name of a `@task`, which a droplet that takes it lists as a capability.
        title: for people; by default the type.
        required_capability: whom it needs, where that is not its type.
        priority: 1 comes first, 10 last.
        max_retries: how often it is given out again after an attempt failed, 0 to 10.
        task_id: a UUID; given twice, it is created once.
    """

    task_type: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: JSON values
    title: str | None = None
    description: str | None = None
    required_capability: str | None = None
    priority: int | None = None
    deadline: datetime | None = None
    max_retries: int | None = None
    task_id: str | None = None

    def body(self) -> dict[str, Any]:  # Any: JSON values
        """As `POST /tasks` takes it; what is not given is left out."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far an attempt said that it was."""

    percent: float
    note: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One entry of a task's history."""

    status: str
    at: datetime | None = None
    droplet_id: DropletId | None = None
    attempt: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task as the Orchestrator has it.

    Attributes:
        status: a `TaskState`, or the word of an Orchestrator that knows further ones.
        attempt: 0 before the first assignment.
        created_by: the droplet that created it.
        state_history: empty where it was not asked for.
        told: the whole record as it came.
    """

    task_id: str
    status: str
    task_type: str = ""
    title: str = ""
    description: str | None = None
    trace_id: str | None = None
    required_capability: str | None = None
    priority: int | None = None
    payload: Any = None  # Any: JSON values
    deadline: datetime | None = None
    max_retries: int | None = None
    assigned_droplet_id: DropletId | None = None
    assigned_instance_id: str | None = None
    attempt: int = 0
    created_by: DropletId | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    result: Any = None  # Any: a JSON value
    error_message: str | None = None
    progress: TaskProgress | None = None
    state_history: tuple[StateChange, ...] = ()
    told: JsonObject = field(default_factory=dict[str, Any], repr=False)

    @property
    def terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some of the tasks; `total` counts all that match."""

    tasks: tuple[TaskRecord, ...]
    total: int
    limit: int | None = None
    offset: int = 0


def task_record(told: JsonObject, *, peer: DropletId) -> TaskRecord:
    """Read a record; what makes no sense in it counts as not told.

    Raises:
        InvalidReply: it has no `task_id` or no `status`, so it is no task.
    """
    task_id, status = told.get("task_id", told.get("id")), told.get("status")
    if not isinstance(task_id, str | int) or isinstance(task_id, bool) or not isinstance(status, str):
        raise InvalidReply(f"{peer} answered with a task that has no task_id or no status", peer=peer)
    # Where the payload, always an object, comes as a text, so does the result; else a text there is the result.
    folded = isinstance(told.get("payload"), str)
    return TaskRecord(
        task_id=str(task_id),
        status=status,
        task_type=_text(told.get("task_type")) or "",
        title=_text(told.get("title")) or "",
        description=_text(told.get("description")),
        trace_id=_text(told.get("trace_id")),
        required_capability=_text(told.get("required_capability")),
        priority=_count(told.get("priority")),
        payload=json_text.unfold(told.get("payload")),
        deadline=_time(told.get("deadline")),
        max_retries=_count(told.get("max_retries")),
        assigned_droplet_id=_id(told.get("assigned_droplet_id")),
        assigned_instance_id=_text(told.get("assigned_instance_id")),
        attempt=_count(told.get("attempt")) or 0,
        created_by=_id(told.get("created_by")),
        created_at=_time(told.get("created_at")),
        updated_at=_time(told.get("updated_at")),
        result=json_text.unfold(told.get("result")) if folded else told.get("result"),
        error_message=_text(told.get("error_message")),
        progress=_progress(told.get("progress")),
        state_history=_history(told.get("state_history")),
        told=told,
    )


def task_page(told: JsonObject, *, peer: DropletId) -> TaskPage:
    """Read `GET /tasks`.

    Raises:
        InvalidReply: it holds no list of tasks.
    """
    listed = json_text.unfold(told.get("tasks"))
    if not isinstance(listed, list):
        raise InvalidReply(f"{peer} answered with no list of tasks", peer=peer)
    tasks = tuple(task_record(json_text.as_mapping(each), peer=peer) for each in listed)
    return TaskPage(
        tasks=tasks,
        total=_count(told.get("total")) or len(tasks),
        limit=_count(told.get("limit")),
        offset=_count(told.get("offset")) or 0,
    )


def _progress(value: object) -> TaskProgress | None:
    told = json_text.as_mapping(value)
    percent = told.get("percent")
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        return None
    return TaskProgress(percent=float(percent), note=_text(told.get("note")) or "", at=_time(told.get("at")))


def _history(value: object) -> tuple[StateChange, ...]:
    listed = json_text.unfold(value)
    entries = map(json_text.as_mapping, listed if isinstance(listed, list) else [])
    return tuple(
        StateChange(
            status=status,
            at=_time(entry.get("at")),
            droplet_id=_id(entry.get("droplet_id")),
            attempt=_count(entry.get("attempt")),
            note=_text(entry.get("note")) or "",
        )
        for entry in entries
        if isinstance(status := entry.get("status"), str)
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if type(value) is int else None  # `type`: a boolean is an int to isinstance


def _time(value: object) -> datetime | None:
    try:
        return moment(value)
    except InvalidRequest:
        return None


def _id(value: object) -> DropletId | None:
    if value is None:
        return None
    try:
        return canonical_id(value, field="droplet_id")
    except InvalidRequest:
        return None
