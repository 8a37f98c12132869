"""What `udc mesh` does, and the mesh of `udc run --with-mesh`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from udc import _serve
from udc._wiring.program import tell
from udc.cli.faults import say
from udc.cli.output import as_line
from udc.datadir import MeshFile
from udc.mesh.process import Mesh, Ports


def mesh_ports(base: int | None, registry: int | None, orchestrator: int | None, dashboard: int | None) -> Ports:
    """The ports that the options ask for."""
    single = {"registry": registry, "orchestrator": orchestrator, "dashboard": dashboard}
    ports = Ports() if base is None else Ports.from_base(base)
    return replace(ports, **{name: port for name, port in single.items() if port is not None})


def beside(stack: ExitStack, *, data: Path | None) -> Mesh:
    """The core droplets, to be served beside another one; the stack closes them."""
    return stack.enter_context(closing(Mesh(data=data, ports=None, on_ready=_mention_mesh)))


def mesh(*, data: Path | None, ports: Ports, as_json: bool) -> int:
    """Run the core droplets to their end; returns the exit code."""

    def parts(stack: ExitStack) -> Sequence[_serve.Part]:
        made = Mesh(data=data, ports=ports, on_ready=_put_mesh if as_json else _announce_mesh)
        return stack.enter_context(closing(made)).parts

    return _serve.run(parts, owns_process=True)


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
