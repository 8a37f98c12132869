"""The droplets talk: a question across all three, an event, a broadcast, a chat; each proved by asking after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from udc.cli.demo.opening import BAKERY
from udc.cli.demo.steps import Stage, Told, expect, took

_LOAVES: Final = 2
_WANTED: Final = {"item": "rye", "count": _LOAVES, "cents": 1200, "ready_in_minutes": 50}
_FLOUR: Final = 5000
_COLD, _HOT = 20, 230


async def ask(stage: Stage) -> Told:
    """A question to Counter, which asks Pantry by name and Oven by capability, which asks Pantry too."""
    began = anyio.current_time()
    reply = await stage.mesh.client.call("Counter", "offer", {"item": "rye", "count": _LOAVES})
    seconds = anyio.current_time() - began
    expect(reply.data == _WANTED, f"Counter answered {reply.data}, not {_WANTED}")
    stage.say(
        f"{reply.peer.name} answered in {took(seconds)}: {_LOAVES} rye cost {reply.data['cents'] / 100:.2f}, "
        f"ready in {reply.data['ready_in_minutes']} minutes"
    )
    lines = [line for name in BAKERY for line in await _log_of(stage, name, reply.trace_id)]
    for name, line in sorted(lines, key=lambda pair: str(pair[1]["timestamp"])):
        stage.say(f"  {name} wrote: {line['message']}")
    through = {name for name, _ in lines}
    expect(through == set(BAKERY), f"trace {reply.trace_id} is in the logs of {_listed(through)} only")
    stage.say(f"one trace through three processes: {reply.trace_id}")
    return Told(
        gist=f"3 droplets, 1 trace, {took(seconds)}",
        facts={"data": reply.data, "seconds": seconds, "trace_id": reply.trace_id, "through": sorted(through)},
    )


async def _log_of(stage: Stage, name: str, trace_id: str) -> list[tuple[str, dict[str, Any]]]:  # Any: JSON values
    """A droplet's own log lines of a trace."""
    page = await stage.mesh.client.request(name, "GET", "/logs?limit=200")
    return [(name, line) for line in page["logs"] if line["trace_id"] == trace_id and line["logger"] == "udc.handler"]


async def tell(stage: Stage) -> Told:
    """An event to Pantry, and what it changed there."""
    client = stage.mesh.client
    before = await client.query("Pantry", "flour", returns=int)
    began = anyio.current_time()
    reply = await client.call("Pantry", "delivered", {"grams": _FLOUR}, message_type="event")
    seconds = anyio.current_time() - began
    expect(reply.handled, "Pantry took the event, and nothing there handles it")
    after = await client.query("Pantry", "flour", returns=int)
    expect(after == before + _FLOUR, f"Pantry had {before} g of flour and has {after} g, not {before + _FLOUR} g")
    stage.say(
        f"Pantry handled 'delivered' in {took(seconds)}: {before / 1000:g} kg of flour became {after / 1000:g} kg"
    )
    return Told(
        gist=f"handled in {took(seconds)}",
        facts={"before": before, "after": after, "seconds": seconds, "trace_id": reply.trace_id},
    )


async def tell_everybody(stage: Stage) -> Told:
    """Counter opens and tells everybody; the others are asked what they made of it."""
    client = stage.mesh.client
    degrees = await client.query("Oven", "degrees", returns=int)
    expect(degrees == _COLD, f"Oven is at {degrees} degrees before anybody told it anything")
    began = anyio.current_time()
    reply = await client.call("Counter", "open", message_type="command")
    seconds = anyio.current_time() - began
    expect({"Oven", "Pantry"} <= set(reply.data), f"heard by {_listed(reply.data)}, not by Oven and Pantry")
    unlocked = await client.query("Pantry", "unlocked", returns=bool)
    degrees = await client.query("Oven", "degrees", returns=int)
    expect(unlocked, "Pantry says that it heard, and is not unlocked")
    expect(degrees == _HOT, f"Oven says that it heard, and is at {degrees} degrees")
    stage.say(f"Counter told everybody in {took(seconds)}; heard by {_listed(reply.data)}")
    stage.say(f"asked after it, Pantry is unlocked and Oven is at {degrees} degrees")
    return Told(
        gist=f"heard by {_listed(reply.data)}, {took(seconds)}",
        facts={"heard_by": reply.data, "seconds": seconds, "trace_id": reply.trace_id},
    )


async def chat(stage: Stage) -> Told:
    """Two turns with Counter; the second is only understood because the conversation's context goes with it."""
    context: Mapping[str, Any] = {}  # Any: JSON values
    took_seconds: list[float] = []
    replies: list[str] = []
    for message in ("A brioche, please?", "Make it 3."):
        began = anyio.current_time()
        reply = await stage.mesh.client.chat("Counter", message, session_id="demo", context=context)
        took_seconds.append(anyio.current_time() - began)
        context = reply.context
        replies.append(reply.response)
        stage.say(f"you: {message}")
        stage.say(f"Counter, after {took(took_seconds[-1])}: {reply.response}")
    expect(replies[1].startswith("3 brioche? That is 10.80,"), f"Counter lost the thread: {replies[1]!r}")
    return Told(gist=f"2 turns, {took(sum(took_seconds))}", facts={"replies": replies, "seconds": took_seconds})


def _listed(names: Any) -> str:  # Any: an iterable of text
    return ", ".join(sorted(map(str, names))) or "nobody"
