"""What `udc run` and `udc mesh` do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from udc import _serve
from udc._wiring.compose import Hosted
from udc._wiring.hosting import part_of
from udc._wiring.program import announce, explicit_settings
from udc.cli.faults import say
from udc.cli.output import put_json
from udc.cli.target import load_droplet
from udc.datadir import DataDirectory


def run(target: str, *, host: str | None, port: int | None, data: Path | None, with_mesh: bool, as_json: bool) -> int:
    """Run a droplet to its end; returns the exit code."""
    machine = sys.stdout
    if as_json:
        # What the droplet's own code prints must not come between.
        sys.stdout = sys.stderr
    droplet = load_droplet(target)
    explicit = explicit_settings(host=host, port=port, data=data)

    def on_serving(hosted: Hosted) -> None:
        if as_json:
            sys.stdout = machine
            put_json(_facts(hosted))
            sys.stdout = sys.stderr
        else:
            announce(hosted)
        _hint(hosted, data)

    return _serve.run(lambda: [part_of(droplet, explicit=explicit, on_serving=on_serving)])


def _facts(hosted: Hosted) -> dict[str, Any]:  # Any: JSON values
    facts = hosted.parts.facts
    return {"url": facts.endpoint, "droplet_id": facts.id, "instance_id": facts.instance_id}


def _hint(hosted: Hosted, data: Path | None) -> None:
    """How to start a mesh, when there is none to join."""
    config = hosted.config
    if config.registry.url is None and DataDirectory(config.data).read_mesh() is None:
        option = f" --data {data}" if data is not None else ""
        say(f"no mesh in sight, it serves alone; start one with 'udc mesh{option}' and it joins")
