"""`udc ls` and `udc token`: what the Registry is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from udc._ids import iso_utc, system
from udc._types import JsonObject
from udc.cli.connection import Operator
from udc.cli.output import put, put_facts, put_table
from udc.cli.place import Place
from udc.errors import InvalidReply


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


def show_rows(found: Sequence[JsonObject], place: Place, filters: Sequence[tuple[str, str]] = ()) -> None:
    """One line for each droplet."""
    if not found:
        asked = " with " + ", ".join(f"{name} {value!r}" for name, value in filters) if filters else ""
        put(f"no droplets{asked} at {place.registry}")
        return
    columns = ("ID", "NAME", "STATUS", "INSTANCES", "VERSION", "ENDPOINT", "CAPABILITIES")
    put_table(columns, [_row(each) for each in sorted(found, key=_place)])


def _place(row: JsonObject) -> tuple[bool, int, str]:
    """By id; those whose id is no number come after, by name."""
    key = row.get("id")
    return (not isinstance(key, int), key if isinstance(key, int) else 0, str(row.get("name")))


def _row(row: JsonObject) -> tuple[object, ...]:
    instances = row.get("instances")
    states = [each.get("state") for each in instances] if isinstance(instances, list) else None
    named = (row.get(name) for name in ("version", "endpoint", "capabilities"))
    return row.get("id"), row.get("name"), row.get("status"), states, *named
