"""What people are shown of tasks."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from udc._ids import iso_utc
from udc.cli.faults import say
from udc.cli.output import printable, put, put_facts, put_table
from udc.cli.tasking import SHORT
from udc.clients.orchestrator_records import StateChange, TaskPage, TaskRecord, TaskState

_COLUMNS: Final = ("ID", "TYPE", "STATUS", "PROGRESS", "DROPLET", "ATTEMPT", "PRIORITY", "AGE", "TITLE")


def show_page(page: TaskPage, now: datetime) -> None:
    """One line for each task."""
    if not page.tasks:
        put("no tasks")
        return
    put_table(_COLUMNS, [_row(task, now) for task in page.tasks])
    if page.total > len(page.tasks):
        say(f"{len(page.tasks)} of {page.total} tasks; --limit shows more")


def _row(task: TaskRecord, now: datetime) -> tuple[object, ...]:
    title = task.title if task.title != task.task_type else None
    age = "" if task.created_at is None else span((now - task.created_at).total_seconds())
    progress = _percent(task)
    return (
        *(task.task_id[:SHORT], task.task_type, task.status, progress, task.assigned_droplet_id),
        *(task.attempt, task.priority, age, title),
    )


def show_task(task: TaskRecord) -> None:
    """All that is known of a task, and its history."""
    put_facts(
        {
            "task_id": task.task_id,
            "type": task.task_type,
            "title": task.title,
            "description": task.description,
            "status": task.status,
            "progress": _progress(task),
            "result": task.result,
            "error": task.error_message,
            "capability": task.required_capability,
            "droplet": task.assigned_droplet_id,
            "attempt": task.attempt,
            "max_retries": task.max_retries,
            "priority": task.priority,
            "deadline": _time(task.deadline),
            "payload": task.payload,
            "created_by": task.created_by,
            "created_at": _time(task.created_at),
            "trace_id": task.trace_id,
        }
    )
    if task.state_history:
        put("")
        put_table(("AT", "STATUS", "DROPLET", "ATTEMPT", "NOTE"), [_change(each) for each in task.state_history])


def _change(change: StateChange) -> tuple[object, ...]:
    return _time(change.at), change.status, change.droplet_id, change.attempt, change.note


def named(task: TaskRecord) -> str:
    """Which task, and where it is."""
    return printable(f"{task.task_id[:SHORT]}  {task.task_type}  ") + line_of(task)


def created(task: TaskRecord) -> str:
    """That it has been taken, and how to go on."""
    return f"task {printable(task.task_id)} is {task.status}; follow it with: udc tasks watch {task.task_id[:SHORT]}"


def line_of(task: TaskRecord) -> str:
    """Where a task is, in a line: `in_progress  40 %  2 of 5 are out`."""
    parts = [task.status]
    if task.status == TaskState.IN_PROGRESS and task.progress is not None:
        parts += [_percent(task), task.progress.note]
    elif task.status in (TaskState.ASSIGNED, TaskState.IN_PROGRESS):
        parts += [f"droplet {task.assigned_droplet_id}", f"attempt {task.attempt}"]
    elif task.status == TaskState.COMPLETED:
        parts += [json.dumps(task.result, ensure_ascii=False, default=str)]
    elif task.error_message:
        parts += [task.error_message]
    return printable("  ".join(filter(None, parts)))


def _percent(task: TaskRecord) -> str:
    return "" if task.progress is None else f"{task.progress.percent:.0f} %"


def _progress(task: TaskRecord) -> Any:  # Any: a cell
    return None if task.progress is None else f"{_percent(task)} {task.progress.note}".strip()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso_utc(moment)


def span(seconds: float) -> str:
    """A time that has passed, roughly: `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
