"""What a mesh is for: one droplet is killed, and then the core of the mesh; the others carry on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from udc._types import JsonObject
from udc.cli.demo.baking import Order, facts_of
from udc.cli.demo.opening import BAKERY, QUESTION, answers, start_droplet, start_mesh, state_of
from udc.cli.demo.processes import MESH, Child
from udc.cli.demo.steps import Stage, Told, expect, took
from udc.clients.orchestrator_records import TaskState
from udc.errors import PeerError

_PRETZELS: Final = 5
_BRIOCHES: Final = 3


async def replace_killed(stage: Stage) -> Told:
    """Kill -9 a droplet over its work, see its absence told at once; another one does the work, once."""
    order = await Order.placed(stage, "pretzel", _PRETZELS)
    dead = stage.children["Oven"]
    async with order.following():
        await order.begun.wait()
        loss = await _lose(stage, dead)
    done = anyio.current_time() - loss.at
    await order.check(attempts=2)
    await stage.mesh.look()
    baked = await stage.mesh.client.query("Oven", "baked", returns=int)
    expect(baked == _PRETZELS, f"the new Oven says that it baked {baked}, not {_PRETZELS}")
    new = stage.children["Oven"]
    expect(order.task.assigned_instance_id == new.facts["instance_id"], "the task was not done by the new Oven")
    return Told(
        gist=f"calls again after {took(loss.back_seconds)}, its task done by another after {took(done)}",
        facts={
            "killed": dead.pid,
            "new": new.pid,
            "refused_with": loss.code,
            "back_seconds": loss.back_seconds,
            "done_seconds": done,
            **facts_of(order),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How a death was felt.

    Attributes:
        at: when the droplet died, by the event loop's clock.
        code: how a call that needed it was refused.
        back_seconds: from then until a call went through again.
    """

    at: float
    code: str
    back_seconds: float


async def _lose(stage: Stage, dead: Child) -> Loss:
    """Kill it, call what needs it, and start another."""
    await dead.kill()
    at = anyio.current_time()
    stage.say(f"{dead.name}, process {dead.pid}, was killed with -9 over its work")
    code = await _refused(stage)
    stage.say(f"Counter said so in {took(anyio.current_time() - at)}: {code}; no call hangs")
    await start_droplet(stage, dead.name)
    await stage.until(f"a call to reach the new {dead.name}", lambda: answers(stage))
    back = anyio.current_time() - at
    pid = stage.children[dead.name].pid
    stage.say(f"a new {dead.name}, process {pid}: the first call went through {took(back)} after the kill")
    stage.wait_for(f"the Orchestrator to give the task to the new {dead.name}, and for its end")
    return Loss(at=at, code=code, back_seconds=back)


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
    order = await Order.placed(stage, "brioche", _BRIOCHES)
    registered = {name: await _registrations(stage, name) for name in BAKERY}
    dead = stage.children[MESH]
    await stage.until("Oven to begin", lambda: _begun(stage, order))
    await dead.kill()
    killed = anyio.current_time()
    stage.say(f"process {dead.pid}, Registry and Orchestrator, was killed with -9")
    reply = await stage.mesh.client.call(*QUESTION)
    stage.say(f"without it Counter, Pantry and Oven answer in {took(anyio.current_time() - killed)} all the same")
    await start_mesh(stage)
    started = anyio.current_time()
    for name in BAKERY:
        await stage.until(f"{name} to come back", partial(_is_back, stage, name, registered[name]))
    back = anyio.current_time() - started
    stage.say(f"all {len(BAKERY)} droplets were back {took(back)} after that, and none of them was restarted")
    await stage.mesh.look()
    await order.follow()
    await order.check(attempts=1)
    return Told(
        gist=f"calls and work went on; all back after {took(back)}",
        facts={"killed": dead.pid, "trace_id": reply.trace_id, "back_seconds": back, **facts_of(order)},
    )


async def _begun(stage: Stage, order: Order) -> bool:
    return (await stage.mesh.tasks.get(order.task.task_id)).status == TaskState.IN_PROGRESS


async def _registrations(stage: Stage, name: str) -> int:
    """How often a droplet has been registered, as it says itself."""
    page = await stage.mesh.client.request(name, "GET", "/events?limit=1000&event_type=registration_accepted")
    rows: list[JsonObject] = page["events"]
    return len(rows)


async def _is_back(stage: Stage, name: str, before: int) -> bool:
    """Whether it has registered anew, and the Registry lists that very process as ready."""
    instance_id = stage.children[name].facts["instance_id"]
    return await _registrations(stage, name) > before and await state_of(stage, name, instance_id) == "ready"
