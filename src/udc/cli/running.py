"""What `udc run` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM
from typing import Any

from udc import _serve
from udc._serve.kept import Lodger
from udc._wiring.hosted import Hosted
from udc._wiring.hosting import part_of
from udc._wiring.program import announce, explicit_settings, hint, tell
from udc._wiring.surroundings import Surroundings
from udc.cli.output import as_line
from udc.cli.target import load_droplet
from udc.cli.unread import let_go_when_unread


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
        let_go_when_unread()
        around = Surroundings.of_process()
        if not with_mesh:
            bind = _serve.bind if lodger is None else lodger.bind
            return [part_of(droplet, explicit=explicit, surroundings=around, bind=bind, on_serving=on_serving)]
        from udc.cli.meshing import beside

        mesh = beside(stack, data=data)
        own = {**explicit, "registry.url": None, "data": mesh.data.root}
        return [*mesh.parts, part_of(droplet, explicit=own, surroundings=around, on_serving=on_serving)]

    return _serve.run(parts, signals=None if lodger is None else _serve.Signals(only=SIGTERM), owns_process=True)


def _facts(hosted: Hosted) -> dict[str, Any]:  # Any: JSON values
    facts = hosted.parts.facts
    return {"url": facts.endpoint, "droplet_id": facts.id, "instance_id": facts.instance_id}
