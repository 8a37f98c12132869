"""The story that `udc demo` tells, step by step."""

from __future__ import annotations

from typing import Final

from udc.cli.demo import opening, talking, trouble
from udc.cli.demo.steps import Step

STEPS: Final = (
    Step(name="mesh", shows="a mesh is one process with a Registry in it", play=opening.start_mesh),
    Step(
        name="droplets",
        shows="three droplets, each a process of its own, find it by themselves",
        play=opening.start_droplets,
        seconds=15,
    ),
    Step(name="query", shows="a question goes through all three, in one trace", play=talking.ask),
    Step(name="event", shows="an event tells what happened", play=talking.tell),
    Step(name="broadcast", shows="a broadcast tells everybody", play=talking.tell_everybody),
    Step(name="chat", shows="a droplet can be talked to", play=talking.chat),
    Step(name="kill", shows="a droplet dies by kill -9 and is replaced", play=trouble.replace_killed, seconds=15),
    Step(name="restart", shows="the mesh itself dies, and nobody minds", play=trouble.restart_mesh, seconds=15),
)
"""In their order; each builds on those before."""
