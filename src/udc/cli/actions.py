"""What a droplet says of its actions (`GET /capabilities`): asked before data goes there, and when it has no handler.

A handler ignores keys that it does not know, as the contract has it; a slip on a command line should not be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import anyio
from pydantic_core import from_json

from udc.cli.connection import Operator
from udc.cli.faults import Usage
from udc.cli.output import printable
from udc.discovery import Discovery
from udc.errors import UdcError
from udc.messages import Peer

Actions: TypeAlias = Mapping[tuple[str, str], Any]  # Any: JSON values
"""What is known of each action, by message type and name."""

_PATIENCE_SECONDS: Final = 2.0
_ANY: Final = "*"
_WAYS: Final = {
    "query": "a query there: --type query",
    "command": "a command there: --type command",
    "event": "an event there: udc send --type event",
    "status": "a status there: udc send --type status",
}
"""How something is sent as each type from a command line."""


async def look(operator: Operator, finder: Discovery, target: str) -> Actions:
    """The actions of who will get a message for that target; none where that is not sure, or not told.

    Raises:
        UnknownPeer: nobody is called that.
    """
    peers = await finder.candidates(target)
    if len({peer.id for peer in peers}) != 1:
        return {}  # several can do it, and the next may take what this one does not
    try:
        with anyio.fail_after(min(_PATIENCE_SECONDS, operator.seconds / 2)):
            return await _told(operator, peers[0])
    except (UdcError, TimeoutError, ValueError):
        return {}  # the message itself will show what is wrong


async def _told(operator: Operator, peer: Peer) -> Actions:
    answer = await operator.get(peer, "/capabilities")
    found = from_json(answer.body) if answer.status == HTTPStatus.OK else None
    rows = found.get("actions") if isinstance(found, dict) else None
    named = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {(str(row.get("message_type")), str(row.get("name"))): row for row in named}


def check_keys(actions: Actions, kind: str, action: str, given: Collection[str]) -> None:
    """See that the action takes these keys.

    Raises:
        Usage: it ignores one of them; names those it takes.
    """
    known = _keys(actions.get((kind, action)) or actions.get((kind, _ANY)))
    unknown = [key for key in given if known and key not in known]
    if unknown:
        raise Usage(
            f"{kind} {action!r} takes no {' and no '.join(map(repr, unknown))} there, but {_listed(known)}; "
            "nothing was sent (what stands in --body is sent as it is)"
        )


def _keys(row: Any) -> Collection[str]:  # Any: JSON values
    """The keys that it reads; none where it takes any, or may look for them by itself."""
    schema = row.get("input_schema") if isinstance(row, dict) else None
    if not isinstance(schema, dict) or schema.get("additionalProperties") or schema.get("patternProperties"):
        return ()
    properties = schema.get("properties")
    return [str(key) for key in properties] if isinstance(properties, dict) else ()


def how_to(actions: Actions, kind: str, action: str) -> str | None:
    """How an action is sent that is of another type than it was sent as; `None` when it is known as none."""
    others = [way for other, way in _WAYS.items() if other != kind and (other, action) in actions]
    return f"{action!r} is {others[0]}" if others and (kind, action) not in actions else None


def _listed(keys: Collection[str]) -> str:
    return printable(", ".join(keys))
