"""Follows tasks as they change: one to its terminal state, or all of them for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import typer

from udc.cli.faults import SAID_NO, say
from udc.cli.output import put, put_data, put_json
from udc.cli.place import Place
from udc.cli.task_tables import line_of, named
from udc.cli.tasking import SHORT, ask, find
from udc.clients.orchestrator import OrchestratorClient
from udc.clients.orchestrator_events import Missed
from udc.clients.orchestrator_records import TaskRecord, TaskState

Follow = Callable[[TaskRecord], object]
"""Told of each change."""

_INTERRUPTED: Final = 130


def watch(place: Place, wanted: str | None, *, seconds: float, as_json: bool) -> int:
    """Print changes as they happen: of one task to its end, or of all; returns the exit code."""
    if wanted is None:
        ask(place, lambda client: for_ever(client, _put_told if as_json else _put_named), seconds=seconds)
        return SAID_NO  # an Orchestrator that ends the stream of everything has gone

    async def follow(client: OrchestratorClient) -> TaskRecord:
        return await to_the_end(client, await find(client, wanted), _put_told if as_json else _put_line)

    return code_of(ask(place, follow, seconds=seconds))


def awaited(place: Place, task: TaskRecord, *, seconds: float) -> TaskRecord:
    """Wait for the end of a task, and say on stderr how it goes.

    Raises:
        typer.Exit: Ctrl+C; the task goes on.
    """
    try:
        return ask(place, lambda client: to_the_end(client, task.task_id, _say_line), seconds=seconds)
    except KeyboardInterrupt:
        say(f"task {task.task_id} goes on; follow it with: udc tasks watch {task.task_id[:SHORT]}")
        raise typer.Exit(_INTERRUPTED) from None


async def to_the_end(client: OrchestratorClient, task_id: str, follow: Follow) -> TaskRecord:
    """Follow one task; returns it in its terminal state, with its history.

    Each change is told once, and none after a later one, though the stream may repeat them when it begins or goes on
    after a break. On cancellation the task goes on.

    Raises:
        PeerError, DeliveryError: the Orchestrator says no, or was away for too long.
    """
    last: TaskRecord | None = None
    async with client.events(task_id=task_id) as events:
        async for event in events:
            if isinstance(event, Missed):
                continue  # the stream of one task begins with its present state
            if last is None or _is_news(event.task, last):
                last = event.task
                follow(last)
    return await client.get(task_id)


def _is_news(task: TaskRecord, last: TaskRecord) -> bool:
    older = task.updated_at is not None and last.updated_at is not None and task.updated_at < last.updated_at
    return not older and line_of(task) != line_of(last)


async def for_ever(client: OrchestratorClient, follow: Follow) -> None:
    """Follow all tasks; says when changes were missed.

    Raises:
        PeerError, DeliveryError: as `to_the_end`.
    """
    async with client.events() as events:
        async for event in events:
            if isinstance(event, Missed):
                say("changes were missed: the connection was away for longer than the Orchestrator remembers")
            else:
                follow(event.task)


def code_of(task: TaskRecord) -> int:
    """The exit code that a task's end stands for: 0 only when its work was done."""
    return 0 if task.status == TaskState.COMPLETED else SAID_NO


def put_end(task: TaskRecord, *, as_json: bool) -> None:
    """What came of it: the result on stdout, anything else on stderr."""
    if as_json:
        put_json(dict(task.told))
    elif task.status == TaskState.COMPLETED:
        put_data(task.result)
    else:
        say(f"task {task.task_id[:SHORT]}: {line_of(task)}")


def _put_line(task: TaskRecord) -> None:
    put(line_of(task))


def _put_named(task: TaskRecord) -> None:
    put(named(task))


def _put_told(task: TaskRecord) -> None:
    put_json(dict(task.told))


def _say_line(task: TaskRecord) -> None:
    if not task.terminal:
        say(f"task {task.task_id[:SHORT]}: {line_of(task)}")
