"""The story that `udc demo` tells, step by step."""

from __future__ import annotations

from typing import Final

from udc.cli.demo import baking, opening, talking, trouble
from udc.cli.demo.steps import Step

STEPS: Final = (
    Step(
        name="mesh", shows="a mesh begins with a Registry and an Orchestrator, in one process", play=opening.start_mesh
    ),
    Step(
        name="droplets",
        shows="three droplets, each a process of its own, find it by themselves",
        play=opening.start_droplets,
        seconds=20,
    ),
    Step(name="query", shows="a question goes through all three, in one trace", play=talking.ask),
    Step(name="event", shows="an event tells what happened", play=talking.tell),
    Step(name="broadcast", shows="a broadcast tells everybody", play=talking.tell_everybody),
    Step(name="chat", shows="a droplet can be talked to", play=talking.chat),
    Step(name="task", shows="a task is given to whoever can do it, and tells how far it is", play=baking.bake),
    Step(
        name="kill",
        shows="a droplet dies by kill -9 over its work, and another one does it",
        play=trouble.replace_killed,
        seconds=25,
    ),
    Step(
        name="restart",
        shows="the mesh itself dies by kill -9, and calls and work go on",
        play=trouble.restart_mesh,
        seconds=20,
    ),
)
"""In their order; each builds on those before."""
