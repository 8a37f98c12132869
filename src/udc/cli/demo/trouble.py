"""What a mesh is for: one droplet is killed, and then the core of the mesh; the others carry on."""

from __future__ import annotations

from functools import partial

import anyio

from udc._types import JsonObject
from udc.cli.demo.opening import BAKERY, QUESTION, answers, start_droplet, start_mesh, state_of
from udc.cli.demo.processes import MESH
from udc.cli.demo.steps import Stage, Told, expect, took
from udc.errors import PeerError


async def replace_killed(stage: Stage) -> Told:
    """Kill -9 one droplet, see its absence told at once, start another, and find it at work."""
    dead = stage.children["Oven"]
    await dead.kill()
    killed = anyio.current_time()
    stage.say(f"Oven, process {dead.pid}, was killed with -9")
    code = await _refused(stage)
    stage.say(f"Counter said so in {took(anyio.current_time() - killed)}: {code}; no call hangs")
    await start_droplet(stage, "Oven")
    new = stage.children["Oven"]
    await stage.until("a call to reach the new Oven", lambda: answers(stage))
    back = anyio.current_time() - killed
    stage.say(f"a new Oven, process {new.pid}, and the first call went through {took(back)} after the kill")

    async def gone() -> bool:
        return await state_of(stage, "Oven", dead.facts["instance_id"]) in (None, "suspect")

    await stage.until("the Registry to notice the death", gone)
    noticed = anyio.current_time() - killed
    stage.say(f"the Registry took the dead one out of rotation {took(noticed)} after the kill: its lease had ended")
    await stage.mesh.look()
    return Told(
        gist=f"calls went through again after {took(back)}",
        facts={
            "killed": dead.pid,
            "new": new.pid,
            "refused_with": code,
            "back_seconds": back,
            "noticed_seconds": noticed,
        },
    )


async def _refused(stage: Stage) -> str:
    try:
        reply = await stage.mesh.client.call(*QUESTION)
    except PeerError as error:
        expect(error.code == "DEPENDENCY_UNAVAILABLE", f"Counter answered {error.code}, not DEPENDENCY_UNAVAILABLE")
        return error.code
    expect(False, f"Oven is dead, and yet Counter answered {reply.data}")
    return ""


async def restart_mesh(stage: Stage) -> Told:
    """Kill -9 the core droplets, call across the bakery without them, start them, and see everybody come back."""
    registered = {name: await _registrations(stage, name) for name in BAKERY}
    dead = stage.children[MESH]
    await dead.kill()
    killed = anyio.current_time()
    stage.say(f"the Registry's process {dead.pid} was killed with -9")
    reply = await stage.mesh.client.call(*QUESTION)
    stage.say(f"without it Counter, Pantry and Oven answer in {took(anyio.current_time() - killed)} all the same")
    await start_mesh(stage)
    started = anyio.current_time()
    for name in BAKERY:
        await stage.until(f"{name} to come back", partial(_is_back, stage, name, registered[name]))
    back = anyio.current_time() - started
    stage.say(f"all {len(BAKERY)} droplets were back {took(back)} after that, and none of them was restarted")
    await stage.mesh.look()
    return Told(
        gist=f"calls went on; all back after {took(back)}",
        facts={"killed": dead.pid, "trace_id": reply.trace_id, "back_seconds": back},
    )


async def _registrations(stage: Stage, name: str) -> int:
    """How often a droplet has been registered, as it says itself."""
    page = await stage.mesh.http("GET", name, "/events?limit=1000&event_type=registration_accepted")
    rows: list[JsonObject] = page["events"]
    return len(rows)


async def _is_back(stage: Stage, name: str, before: int) -> bool:
    """Whether it has registered anew, and the Registry lists that very process as ready."""
    instance_id = stage.children[name].facts["instance_id"]
    return await _registrations(stage, name) > before and await state_of(stage, name, instance_id) == "ready"
