"""The commands of `udc`, and what they take."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from udc import __version__
from udc.cli import options
from udc.cli.faults import Commands, Usage, say, told
from udc.cli.output import put, put_json
from udc.cli.tasks import tasks

app: typer.Typer = typer.Typer(
    name="udc",
    cls=Commands,
    help="Run droplets and a mesh on this machine, look at them, and speak to them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        put(f"udc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run droplets and a mesh on this machine, look at them, and speak to them."""


@app.command()
def run(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="module:Class, file.py or file.py:Class.")],
    host: Annotated[str | None, typer.Option("--host", help="What to listen on; else server.host, 127.0.0.1.")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="0 = any free one; else server.port, else 8000 and the id."),
    ] = None,
    data: options.Data = None,
    with_mesh: Annotated[bool, typer.Option("--with-mesh", help="Run the core droplets in this process too.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="First line on stdout: {url, droplet_id, instance_id}, when it serves.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="For development: start it anew when a source file below here changes.")
    ] = False,
) -> None:
    """Run a droplet.

    At Ctrl+C or SIGTERM it takes no new work, finishes what it has, leaves the mesh and ends; a second one ends it at
    once.
    """
    if reload:
        from udc.cli import reloading

        with told():
            raise typer.Exit(reloading.run(target, host=host, port=port, data=data, with_mesh=with_mesh, as_json=json))
    from udc.cli import running

    with told():
        raise typer.Exit(running.run(target, host=host, port=port, data=data, with_mesh=with_mesh, as_json=json))


@app.command()
def mesh(
    data: options.Data = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            "--port-base",
            metavar="N",
            min=0,
            max=65533,
            help="Registry, Orchestrator and Dashboard listen on N, N+1 and N+2 (8000); 0 = any free ones.",
        ),
    ] = None,
    registry_port: Annotated[
        int | None, typer.Option("--registry-port", metavar="N", min=0, max=65535, help="Only this one's port.")
    ] = None,
    orchestrator_port: Annotated[
        int | None, typer.Option("--orchestrator-port", metavar="N", min=0, max=65535, help="Only this one's port.")
    ] = None,
    dashboard_port: Annotated[
        int | None, typer.Option("--dashboard-port", metavar="N", min=0, max=65535, help="Only this one's port.")
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="First line on stdout: {registry, orchestrator, dashboard, data}, when ready."),
    ] = False,
) -> None:
    """Run a mesh for development: the core droplets, on loopback.

    They run in one process until Ctrl+C or SIGTERM. Droplets with the same data directory join unasked.
    """
    from udc.cli import meshing

    with told():
        ports = meshing.mesh_ports(port_base, registry_port, orchestrator_port, dashboard_port)
        raise typer.Exit(meshing.mesh(data=data, ports=ports, as_json=json))


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the tour; exit code 0 only when all of it really happened.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="JSON for machines: an object for each step, and one for the whole.")
    ] = False,
) -> None:
    """Take a tour of a mesh at work, in real processes.

    They run on free ports and in a temporary folder, and nothing is left of them. Without --once the mesh goes on
    after the tour until Ctrl+C.
    """
    from udc.cli.demo import running

    with told():
        raise typer.Exit(running.demo(once=once, as_json=json))


@app.command()
def token(
    droplet_id: Annotated[int, typer.Option("--droplet-id", metavar="N", min=1, help="Whom the token names.")],
    permissions: Annotated[
        str | None, typer.Option("--permissions", help="Of read, write and admin, with commas; else all there are.")
    ] = None,
    scope: Annotated[str | None, typer.Option("--scope", help="Scopes, with spaces between.")] = None,
    audience: Annotated[str | None, typer.Option("--audience", help="Whom it is for; else the whole mesh.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The token and nothing else.")] = False,
    registry: options.Registry = None,
    data: options.Data = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Get a token from the Registry, with the mesh's secret."""
    from udc.cli import listing
    from udc.cli.connection import speak
    from udc.cli.place import find_mesh

    with told():
        wanted = None if permissions is None else _permissions(permissions)
        asked = {"droplet_id": droplet_id, "permissions": wanted, "scope": scope, "audience": audience}
        given = {name: value for name, value in asked.items() if value is not None}
        place = find_mesh(registry=registry, data=data, operator=None)
        found = speak(place, lambda operator: listing.token(operator, given), seconds=timeout)
    if raw:
        put(found["token"])
    elif json:
        put_json(found)
    else:
        listing.show_token(found)


@app.command("ls")
def list_droplets(
    capability: Annotated[list[str] | None, typer.Option("--capability", help="Only those that can do this.")] = None,
    status: Annotated[list[str] | None, typer.Option("--status", help="active, inactive or error.")] = None,
    name: Annotated[list[str] | None, typer.Option("--name", help="Only those of this name.")] = None,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """List the droplets of the mesh."""
    from udc.cli import listing
    from udc.cli.connection import speak
    from udc.cli.place import find_mesh

    filters = [("capability", each) for each in capability or ()]
    filters += [("status", each) for each in status or ()]
    filters += [("name", each) for each in name or ()]
    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        found = speak(place, lambda operator: listing.rows(operator, filters), seconds=timeout)
    put_json(found) if json else listing.show_rows(found, place, filters)


@app.command()
def inspect(
    droplet: options.Droplet,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Show what a droplet tells of itself.

    That is: health, capabilities, state, dependencies, version. With --json all that it answered.
    """
    from udc.cli import inspecting
    from udc.cli.connection import speak
    from udc.cli.place import find_mesh

    with told():
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        found = speak(place, lambda operator: inspecting.inspect(operator, droplet), seconds=timeout)
    put_json(found) if json else inspecting.show_inspected(found)


@app.command()
def call(
    droplet: options.Droplet,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What it shall do.")],
    pairs: options.Pairs = None,
    kind: Annotated[Literal["query", "command"], typer.Option("--type", help="What kind of message.")] = "query",
    body: options.Body = None,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Call a droplet and print what its handler returns."""
    from udc.cli import messaging
    from udc.cli.connection import speak
    from udc.cli.place import find_mesh
    from udc.cli.values import data_of
    from udc.messages import MessageType

    with told():
        values = data_of(pairs or (), body)
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        order = messaging.order(droplet, MessageType(kind), action=action, data=values)
        keys = values if body is None else ()
        reply, _ = speak(place, lambda operator: messaging.deliver(operator, order, keys=keys), seconds=timeout)
    put_json(messaging.facts_of(reply)) if json else messaging.show_data(reply)


@app.command()
def send(
    droplet: options.Droplet,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What happened, or what it shall do.")],
    pairs: options.Pairs = None,
    kind: Annotated[
        Literal["event", "status", "command", "query"], typer.Option("--type", help="What kind of message.")
    ] = "event",
    body: options.Body = None,
    priority: Annotated[Literal["high", "normal", "low"], typer.Option("--priority", help="How urgent.")] = "normal",
    retries: Annotated[int, typer.Option("--retries", min=0, max=10, help="How often to try again.")] = 3,
    registry: options.Registry = None,
    data: options.Data = None,
    speak_as: options.As = None,
    timeout: options.Seconds = 10.0,
    json: options.Json = False,
) -> None:
    """Send a droplet a message and print its receipt."""
    from udc.cli import messaging
    from udc.cli.connection import speak
    from udc.cli.place import find_mesh
    from udc.cli.values import data_of
    from udc.messages import MessageType, Priority

    with told():
        values = data_of(pairs or (), body)
        place = find_mesh(registry=registry, data=data, operator=speak_as)
        order = messaging.order(
            droplet,
            MessageType(kind),
            action=action,
            data=values,
            retries=retries,
            priority=Priority(priority),
        )
        keys = values if body is None else ()
        reply, hint = speak(place, lambda operator: messaging.deliver(operator, order, keys=keys), seconds=timeout)
        if hint is not None:
            say(hint)
    put_json(messaging.facts_of(reply)) if json else messaging.show_sent(reply)


app.add_typer(tasks)


def _permissions(text: str) -> list[str]:
    wanted = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [each for each in wanted if each not in ("read", "write", "admin")]
    if unknown or not wanted:
        raise Usage(f"--permissions: {text!r}; wanted some of read, write and admin, with commas between")
    return wanted
