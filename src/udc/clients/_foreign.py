"""What the foreign styles of Registry have in common: the superset registration, status words, tolerant answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from udc._http import HttpAnswer
from udc._types import DropletId
from udc.clients._base import Listing, Registration
from udc.clients._calls import Calls
from udc.clients.contract import unknown
from udc.errors import InvalidRequest
from udc.wire.ids import numbered
from udc.wire.records import read_records, superset_registration

BEAT_SECONDS: Final = 30.0
"""How often foreign Registries are told that we live; none of them names an interval."""

LEASE_SECONDS: Final = 90.0
"""How long one may go without: a guess, for none of them names it."""

_IN_METADATA: Final = ("instance_id", "phase", "public_key", "fingerprint")
_HEALTH_WORDS: Final = {"active": "healthy", "inactive": "unknown", "error": "down"}


def superset(registration: Registration, **instead: Any) -> dict[str, Any]:  # Any: JSON values
    """The registration that every style takes; what only our own kind knows lies in its metadata.

    Args:
        instead: fields that this style wants otherwise.
    """
    body = registration.body
    ours = {key: body[key] for key in _IN_METADATA if key in body}
    record = superset_registration(
        droplet_id=body["id"],
        name=body["name"],
        steward=body["steward"],
        endpoint=body["endpoint"],
        version=body["version"],
        capabilities=body["capabilities"],
        metadata={**body.get("metadata", {}), **ours},
    )
    return {**record, "status": body["status"], **instead}


def health_word(status: str) -> str:
    """A contract status in the three words that strict Registries take: healthy, down, unknown."""
    return _HEALTH_WORDS.get(status, "unknown")


def host_name(droplet_id: DropletId, endpoint: str) -> str:
    """The droplet's id in the form of a host name, from which readers get the number back: `drop14.example.org`."""
    host = urlsplit(endpoint).hostname or ""
    if numbered(host) == droplet_id or not isinstance(droplet_id, int):
        return host or str(droplet_id)
    return f"drop{droplet_id}.{host if _is_name(host) else 'local'}"


def _is_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host
    return False


def check_beat(calls: Calls, answer: HttpAnswer, method: str, path: str) -> None:
    """Raise what an answer to a beat means; a 404 means that we are not known, whatever its body says."""
    if answer.status == HTTPStatus.NOT_FOUND:
        raise unknown(answer)
    calls.check(answer, method, path)


def listing(calls: Calls, answer: HttpAnswer, path: str) -> Listing:
    """The records of an answer, whatever list it holds them in."""
    calls.check(answer, "GET", path)
    try:
        return Listing(records=tuple(read_records(answer.body)))
    except InvalidRequest as error:
        raise calls.unreadable(error) from error


def given_id(body: Mapping[str, Any]) -> int | str | None:  # Any: JSON values
    """The id that the Registry gave us, as it spells it: what it is told later must be spelled so too."""
    for key in ("service_id", "id", "droplet_id"):
        value = body.get(key)
        if isinstance(value, int | str) and not isinstance(value, bool) and value != "":
            return value
    return None
