"""The commands of `udc tasks`, and what they take."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from udc.cli import options
from udc.cli.faults import told
from udc.cli.output import put, put_json

tasks: typer.Typer = typer.Typer(
    name="tasks",
    help="Give tasks to the mesh, and see how they go.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

TaskId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="A task's id, or as much of its beginning as no other task has.")
]
Status: TypeAlias = Literal["pending", "assigned", "in_progress", "completed", "failed", "cancelled"]


@tasks.command("ls")
def list_tasks(
    status: Annotated[Status | None, typer.Option("--status", help="Only those in this state.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only those of this type.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """List tasks."""
    from udc._ids import system
    from udc.cli import task_tables, tasking
    from udc.cli.place import find_mesh

    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        found = tasking.ask(
            place, lambda client: tasking.page(client, status=status, task_type=task_type, limit=limit), seconds=timeout
        )
    put_json([dict(each.told) for each in found.tasks]) if json else task_tables.show_page(found, system().now())


@tasks.command()
def show(
    task_id: TaskId,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Show all that is known of a task, with its history."""
    from udc.cli import task_tables, tasking
    from udc.cli.place import find_mesh

    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        found = tasking.ask(place, lambda client: tasking.one(client, task_id), seconds=timeout)
    put_json(dict(found.told)) if json else task_tables.show_task(found)


@tasks.command()
def create(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="What shall be done: the name of a @task.")],
    pairs: options.Pairs = None,
    body: options.Body = None,
    capability: Annotated[
        str | None, typer.Option("--capability", help="Whom it needs, where that is not the type.")
    ] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=1, max=10, help="1 first, 10 last; else 5.")] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="WHEN", help="90s, 10m, 2h, 1d, or an ISO time.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="For people; else the type.")] = None,
    max_retries: Annotated[
        int | None, typer.Option("--max-retries", min=0, max=10, help="How often to give it out again; else 3.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has ended: prints its result. Ctrl+C leaves it running.")
    ] = False,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Give a task to whoever can do it."""
    from udc._ids import system
    from udc.cli import task_tables, tasking, watching
    from udc.cli.place import find_mesh
    from udc.cli.values import data_of
    from udc.clients.orchestrator_records import NewTask

    with told():
        task = NewTask(
            task_type=task_type,
            payload=tasking.payload_of(data_of(pairs or (), body)),
            title=title,
            required_capability=capability,
            priority=priority,
            deadline=None if deadline is None else tasking.moment_of(deadline, system().now()),
            max_retries=max_retries,
        )
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        made = tasking.ask(place, lambda client: tasking.create(client, task), seconds=timeout)
        if wait:
            done = watching.awaited(place, made, seconds=timeout)
            watching.put_end(done, as_json=json)
            raise typer.Exit(watching.code_of(done))
    put_json(dict(made.told)) if json else put(task_tables.created(made))


@tasks.command()
def cancel(
    task_id: TaskId,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Cancel a task."""
    from udc.cli import task_tables, tasking
    from udc.cli.place import find_mesh

    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        found = tasking.ask(place, lambda client: tasking.cancel(client, task_id), seconds=timeout)
    put_json(dict(found.told)) if json else put(task_tables.named(found))


@tasks.command()
def watch(
    task_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="A task's id or its beginning; else all tasks, until Ctrl+C.")
    ] = None,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Follow a task to its end, live.

    The exit code is 0 only when it was completed.
    """
    from udc.cli import watching
    from udc.cli.place import find_mesh

    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        raise typer.Exit(watching.watch(place, task_id, seconds=timeout, as_json=json))
