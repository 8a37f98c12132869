"""How the tour begins: the mesh, and three droplets that find it and each other."""

from __future__ import annotations

from typing import Final

import anyio

from udc.cli.demo.processes import MESH
from udc.cli.demo.steps import Stage, Told, expect, took
from udc.errors import PeerError

BAKERY: Final = {"Counter": "counter.py", "Pantry": "pantry.py", "Oven": "oven.py"}
"""Name → file, for the demo's droplets."""

CORE: Final = ("registry", "orchestrator", "dashboard")
"""What the first line of `udc mesh --json` may name."""

QUESTION: Final = ("Counter", "offer", {"item": "pretzel"})
"""One that is answered only when all three of them are there."""

_OWN_PORT: Final = ("--port", "0")


async def start_mesh(stage: Stage) -> Told:
    """Start the core droplets, and wait until the Registry lists them all."""
    began = anyio.current_time()
    stage.wait_for("udc mesh to serve")
    child = stage.children[MESH] = await stage.processes.start(MESH, "mesh", "--port-base", "0")
    seconds = anyio.current_time() - began
    stage.mesh.found()
    core = {name.capitalize(): str(child.facts[name]) for name in CORE if child.facts[name] is not None}
    await stage.until(f"the Registry to list {', '.join(core)}", lambda: _lists(stage, set(core)))
    await stage.mesh.look()
    stage.say(f"process {child.pid} serves after {took(seconds)}:")
    for name, url in core.items():
        stage.say(f"  {name} at {url}")
    return Told(gist=f"{' and '.join(core)} in one process", facts={"pid": child.pid, **child.facts})


async def _lists(stage: Stage, names: set[str]) -> bool:
    return names <= {str(row["name"]) for row in await stage.mesh.rows()}


async def start_droplets(stage: Stage) -> Told:
    """Start the bakery, and wait until the Registry lists it and each says that it is well."""
    began = anyio.current_time()
    seconds: dict[str, float] = {}

    async def start(name: str) -> None:
        await start_droplet(stage, name)
        seconds[name] = await _ready(stage, name, began)

    async with anyio.create_task_group() as tasks:
        for name in BAKERY:
            tasks.start_soon(start, name)
    await stage.mesh.look()
    await stage.until("Counter to hear of the others", lambda: answers(stage))
    for name in BAKERY:
        health = await stage.mesh.client.request(name, "GET", "/health")
        expect(health["status"] == "active", f"{name} says that it is {health['status']}, not active")
        facts = stage.children[name].facts
        stage.say(f"{name} is droplet {facts['droplet_id']} at {facts['url']}, found after {took(seconds[name])}")
    return Told(
        gist=f"{len(BAKERY)} registered and ready",
        facts={name: {"pid": stage.children[name].pid, "url": stage.children[name].facts["url"]} for name in BAKERY},
    )


async def start_droplet(stage: Stage, name: str) -> None:
    """Start one of the bakery's droplets; returns when it serves, registered or not."""
    stage.wait_for(f"{name} to serve")
    file = stage.droplets / BAKERY[name]
    stage.children[name] = await stage.processes.start(name, "run", str(file), *_OWN_PORT)


async def _ready(stage: Stage, name: str, began: float) -> float:
    """Wait until the Registry lists this very process as ready; returns the seconds since it began."""
    instance_id = stage.children[name].facts["instance_id"]

    async def look() -> bool:
        return await state_of(stage, name, instance_id) == "ready"

    await stage.until(f"the Registry to list {name} as ready", look)
    return anyio.current_time() - began


async def answers(stage: Stage) -> bool:
    """Whether Counter finds the others, and they answer it."""
    try:
        await stage.mesh.client.call(*QUESTION)
    except PeerError:
        return False
    return True


async def state_of(stage: Stage, name: str, instance_id: str) -> str | None:
    """What the Registry says of an instance; `None` = it does not list it."""
    for row in await stage.mesh.rows():
        if row["name"] == name:
            states = {each["instance_id"]: str(each["state"]) for each in row.get("instances", ())}
            return states.get(instance_id)
    return None
