"""What the commands that speak to a mesh do: `token`, `ls`, `inspect`, `call`, `send`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import anyio
from pydantic import BaseModel

from udc import models
from udc._ids import iso_utc, system
from udc._types import DropletId, JsonObject
from udc.cli.connection import Operator, connected, refusal
from udc.cli.output import printable, put, put_data, put_facts, put_table
from udc.cli.place import Place
from udc.context import Lineage, Order
from udc.errors import InvalidReply, PeerError
from udc.messages import MessageType, Peer, Priority, Reply

T = TypeVar("T")

ASPECTS: Final[Mapping[str, type[BaseModel]]] = {
    "health": models.Health,
    "capabilities": models.Capabilities,
    "state": models.State,
    "dependencies": models.Dependencies,
    "version": models.VersionInfo,
}
"""What `udc inspect` asks for: the endpoints of these names, and the fields that people are shown."""


def speak(place: Place, what: Callable[[Operator], Awaitable[T]], *, seconds: float) -> T:
    """Do something with a connection to the mesh, to its end."""

    async def main() -> T:
        async with connected(place, seconds=seconds) as operator:
            return await what(operator)

    return anyio.run(main)


async def token(operator: Operator, asked: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """A token as the Registry gives it, with what was asked for."""
    answer = await operator.token(asked)
    if not isinstance(answer.get("token"), str):
        raise InvalidReply("the Registry answered without a token", peer="Registry")
    return {**{name: value for name, value in asked.items() if value is not None}, **answer}


def show_token(found: dict[str, Any]) -> None:  # Any: JSON values
    """What the token allows, and the token."""
    facts = {name: found.get(name) for name in ("droplet_id", "permissions", "scope", "audience") if found.get(name)}
    if isinstance(found.get("expires_in"), int | float):
        facts["expires"] = iso_utc(system().now() + timedelta(seconds=found["expires_in"]))
    put_facts(facts)
    put(f"\n{found['token']}")


async def rows(operator: Operator, filters: Sequence[tuple[str, str]]) -> list[JsonObject]:
    """The Registry's rows, filtered by it."""
    return await operator.rows(f"?{urlencode(filters)}" if filters else "")


def show_rows(found: Sequence[JsonObject], place: Place) -> None:
    """One line for each droplet."""
    if not found:
        put(f"no droplets at {place.registry}")
        return
    columns = ("ID", "NAME", "STATUS", "INSTANCES", "VERSION", "ENDPOINT", "CAPABILITIES")
    put_table(columns, [_row(each) for each in found])


def _row(row: JsonObject) -> tuple[object, ...]:
    instances = row.get("instances")
    states = [each.get("state") for each in instances] if isinstance(instances, list) else None
    named = (row.get(name) for name in ("version", "endpoint", "capabilities"))
    return row.get("id"), row.get("name"), row.get("status"), states, *named


async def inspect(operator: Operator, target: DropletId) -> dict[str, Any]:  # Any: JSON values
    """All that a droplet tells of itself; what it refuses to tell is an `error` there."""
    peer = await (await operator.directory()).resolve(target)
    found: dict[str, Any] = {"id": peer.id, "name": peer.name, "endpoint": peer.endpoint}
    for aspect in ASPECTS:
        found[aspect] = await _aspect(operator, peer, aspect)
    return found


async def _aspect(operator: Operator, peer: Peer, aspect: str) -> Any:  # Any: JSON values
    answer = await operator.get(peer, f"/{aspect}")
    if answer.status != 200:
        error = refusal(answer, peer.label)
        if aspect == "health":
            raise error
        return {"error": _told(error)}
    try:
        return json.loads(answer.body)
    except ValueError:
        return {"error": "no JSON"}


def _told(error: PeerError) -> str:
    return f"{error.status} {error.code}: {error.message}"


def show_inspected(found: dict[str, Any]) -> None:  # Any: JSON values
    """A section for each aspect with the contract's fields, and the actions as a table."""
    for aspect, model in ASPECTS.items():
        told = found[aspect]
        if not isinstance(told, dict):
            continue
        put(aspect.upper())
        wanted = (*model.model_fields, "error")
        put_facts({name: told[name] for name in wanted if name in told and name != "actions"})
        put("")
        actions = told.get("actions")
        if isinstance(actions, list) and actions:
            put_table(("TYPE", "ACTION", "DATA", "DESCRIPTION"), [_action(each) for each in actions])
            put("")


def _action(action: dict[str, Any]) -> tuple[object, ...]:  # Any: JSON values
    schema = action.get("input_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return (
        action.get("message_type"),
        action.get("name"),
        list(properties) if isinstance(properties, dict) else None,
        action.get("description"),
    )


async def deliver(operator: Operator, order: Order) -> Reply:
    """Send, and wait for the receipt."""
    return await (await operator.messenger()).send(order)


def order(
    target: str,
    message_type: MessageType,
    *,
    action: str | None,
    data: Any,  # Any: JSON values
    seconds: float,
    retries: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> Order:
    """A message of the operator's, the first of its trace."""
    return Order(
        target=target,
        message_type=message_type,
        action=action,
        data=data,
        lineage=Lineage(trace_id=system().new_id()),
        timeout_seconds=seconds,
        retries=retries,
        priority=priority,
    )


def facts_of(reply: Reply) -> dict[str, Any]:  # Any: JSON values
    """A receipt, for machines."""
    return {
        "peer": reply.peer.label,
        "trace_id": reply.trace_id,
        "result": reply.result,
        "handled": reply.handled,
        "duplicate": reply.duplicate,
        "data": reply.data,
    }


def show_data(reply: Reply) -> None:
    """What the handler returned."""
    put_data(reply.data)


def show_sent(reply: Reply) -> None:
    """That it arrived, and what became of it."""
    fate = "handled" if reply.handled else "nobody there handles it"
    put(f"{printable(reply.peer.label)} took it ({reply.result}, {fate}); trace {reply.trace_id}")
