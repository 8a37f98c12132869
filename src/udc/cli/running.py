"""What `udc run` and `udc mesh` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

from udc import _serve
from udc._serve.kept import Lodger
from udc._wiring.hosted import Hosted
from udc._wiring.hosting import part_of
from udc._wiring.program import announce, explicit_settings, hint, tell
from udc._wiring.surroundings import Surroundings
from udc.cli.faults import say
from udc.cli.output import as_line
from udc.cli.target import load_droplet
from udc.datadir import MeshFile
from udc.mesh.process import Mesh, Ports


def run(
    target: str,
    *,
    host: str | None,
    port: int | None,
    data: Path | None,
    with_mesh: bool,
    as_json: bool,
    lodger: Lodger | None = None,
) -> int:
    """Run a droplet to its end; returns the exit code.

    Args:
        lodger: this process is one of `udc run --reload`, and has its socket of that one.
    """
    machine = sys.stdout
    if as_json:
        # What the droplet's own code prints must not come between.
        sys.stdout = sys.stderr
    droplet = load_droplet(target)
    explicit = explicit_settings(host=host, port=port, data=data)

    def on_serving(hosted: Hosted) -> None:
        if as_json:
            tell(as_line(_facts(hosted)), to=machine)
            hint(hosted)
        else:
            announce(hosted)

    def parts(stack: ExitStack) -> Sequence[_serve.Part]:
        around = Surroundings.of_process()
        if not with_mesh:
            bind = _serve.bind if lodger is None else lodger.bind
            return [part_of(droplet, explicit=explicit, surroundings=around, bind=bind, on_serving=on_serving)]
        mesh = stack.enter_context(closing(Mesh(data=data, ports=None, on_ready=_mention_mesh)))
        own = {**explicit, "registry.url": None, "data": mesh.data.root}
        return [*mesh.parts, part_of(droplet, explicit=own, surroundings=around, on_serving=on_serving)]

    return _serve.run(parts, signals=None if lodger is None else _serve.Signals(only=SIGTERM), owns_process=True)


def mesh_ports(base: int | None, registry: int | None, orchestrator: int | None, dashboard: int | None) -> Ports:
    """The ports that the options ask for."""
    single = {"registry": registry, "orchestrator": orchestrator, "dashboard": dashboard}
    ports = Ports() if base is None else Ports.from_base(base)
    return replace(ports, **{name: port for name, port in single.items() if port is not None})


def mesh(*, data: Path | None, ports: Ports, as_json: bool) -> int:
    """Run the core droplets to their end; returns the exit code."""

    def parts(stack: ExitStack) -> Sequence[_serve.Part]:
        made = Mesh(data=data, ports=ports, on_ready=_put_mesh if as_json else _announce_mesh)
        return stack.enter_context(closing(made)).parts

    return _serve.run(parts, owns_process=True)


def _facts(hosted: Hosted) -> dict[str, Any]:  # Any: JSON values
    facts = hosted.parts.facts
    return {"url": facts.endpoint, "droplet_id": facts.id, "instance_id": facts.instance_id}


def _put_mesh(mesh: MeshFile, data: Path) -> None:
    tell(as_line({**_urls(mesh), "data": str(data)}), to=sys.stdout)


def _announce_mesh(mesh: MeshFile, data: Path) -> None:
    for name, url in _urls(mesh).items():
        if url is not None:
            tell(f"{name.capitalize()} serves at {url}", to=sys.stdout)
    tell(f"the data directory is {data} - stop the mesh with Ctrl+C", to=sys.stdout)


def _mention_mesh(mesh: MeshFile, data: Path) -> None:
    say(f"the mesh runs in this process: Registry {mesh.registry}, data directory {data}")


def _urls(mesh: MeshFile) -> dict[str, str | None]:
    return {"registry": mesh.registry, "orchestrator": mesh.orchestrator, "dashboard": mesh.dashboard}
