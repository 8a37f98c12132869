"""`udc inspect`: all that a droplet tells of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from udc import models
from udc._types import DropletId
from udc.cli.connection import Operator, refusal
from udc.cli.output import put, put_facts, put_table
from udc.errors import PeerError
from udc.messages import Peer

ASPECTS: Final[Mapping[str, type[BaseModel]]] = {
    "health": models.Health,
    "capabilities": models.Capabilities,
    "state": models.State,
    "dependencies": models.Dependencies,
    "version": models.VersionInfo,
}
"""What `udc inspect` asks for: the endpoints of these names, and the fields that people are shown."""


async def inspect(operator: Operator, target: DropletId) -> dict[str, Any]:  # Any: JSON values
    """All that a droplet tells of itself; what it refuses to tell is an `error` there."""
    peer = await (await operator.finder()).resolve(target)
    found: dict[str, Any] = {"id": peer.id, "name": peer.name, "endpoint": peer.endpoint}
    for aspect in ASPECTS:
        found[aspect] = await _aspect(operator, peer, aspect)
    return found


async def _aspect(operator: Operator, peer: Peer, aspect: str) -> Any:  # Any: JSON values
    answer = await operator.get(peer, f"/{aspect}")
    if answer.status != HTTPStatus.OK:
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
        put_facts({name: _fact(told[name]) for name in wanted if name in told and name != "actions"})
        put("")
        actions = told.get("actions")
        if isinstance(actions, list) and actions:
            put_table(("TYPE", "ACTION", "DATA", "DESCRIPTION"), [_action(each) for each in actions])
            put("")


def _fact(value: Any) -> Any:  # Any: JSON values
    """Dependencies as people say them: `Stock (42) connected`."""
    if not isinstance(value, list) or not all(isinstance(each, dict) and "status" in each for each in value):
        return value
    return [" ".join(map(str, filter(None, (each.get("name"), _bracketed(each), each["status"])))) for each in value]


def _bracketed(row: dict[str, Any]) -> str:  # Any: JSON values
    return f"({row['id']})" if row.get("id") is not None else ""


def _action(action: dict[str, Any]) -> tuple[object, ...]:  # Any: JSON values
    schema = action.get("input_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return (
        action.get("message_type"),
        action.get("name"),
        list(properties) if isinstance(properties, dict) else None,
        action.get("description"),
    )
