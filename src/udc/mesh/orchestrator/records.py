"""A task as JSON: the record that callers are shown, and the row that the store keeps."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

from udc._ids import iso_utc
from udc.mesh.orchestrator.task import Holder, Progress, Status, Step, Task

Record: TypeAlias = dict[str, Any]  # Any: JSON values

_LAST: Final = 253402300799.0
"""The last second of the year 9999."""


def iso(seconds: float) -> str:
    """Seconds since the epoch as the contract writes time."""
    # As a float the calendar's last microseconds round up to a day that it does not have.
    return iso_utc(datetime.fromtimestamp(min(seconds, _LAST), UTC))


def shown(task: Task, payload: Any, *, history: bool = True) -> Record:  # Any: JSON values
    """The record of a task (contract section 7)."""
    holder = task.assigned
    progress = task.progress
    record: Record = {
        "task_id": task.task_id,
        "trace_id": task.trace_id,
        "task_type": task.task_type,
        "title": task.title,
        "description": task.description,
        "required_capability": task.required_capability,
        "priority": task.priority,
        "payload": payload,
        "deadline": None if task.deadline is None else iso(task.deadline),
        "max_retries": task.max_retries,
        "retries": task.retries,
        "status": task.status,
        "assigned_droplet_id": holder.droplet_id if holder is not None else None,
        "assigned_instance_id": holder.instance_id if holder is not None else None,
        "attempt": task.attempt,
        "created_by": task.created_by,
        "created_at": iso(task.created_at),
        "updated_at": iso(task.updated_at),
        "result": None if task.result is None else from_json(task.result),
        "error_message": task.error_message,
        "progress": None
        if progress is None
        else {"percent": progress.percent, "note": progress.note, "at": iso(progress.at)},
    }
    if history:
        record["state_history"] = [_step(step) for step in task.history]
    return record


def _step(step: Step) -> Record:
    return {
        "status": step.status,
        "at": iso(step.at),
        "droplet_id": step.droplet_id,
        "attempt": step.attempt,
        "note": step.note,
    }


def _as_step(status: str, **fields: Any) -> Step:  # Any: JSON values
    return Step(status=Status(status), **fields)


def packed(task: Task) -> str:
    """The task as the store keeps it, without its result."""
    return to_json(asdict(replace(task, result=None))).decode()


def unpacked(text: str, result: str | None) -> Task:
    """What `packed` made."""
    fields = from_json(text)
    for name in ("holder", "offer", "untold"):
        if fields[name] is not None:
            fields[name] = Holder(**fields[name])
    if fields["progress"] is not None:
        fields["progress"] = Progress(**fields["progress"])
    fields["status"] = Status(fields["status"])
    fields["history"] = tuple(_as_step(**step) for step in fields["history"])
    fields["result"] = result
    return Task(**fields)
