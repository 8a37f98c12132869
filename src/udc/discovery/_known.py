"""What a Registry's record says of a droplet: who it is, what it can do, and where its instances are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias, get_args

from udc._frozen import dataclass
from udc._types import DropletId, JsonObject
from udc.errors import InvalidRequest
from udc.messages import Peer
from udc.wire.records import record_id, to_peer

State: TypeAlias = Literal["ready", "suspect", "starting", "draining"]
"""The Registry's view of an instance (contract section 1); `ready` where it has none."""

_STATES: Final[dict[object, State]] = {state: state for state in get_args(State)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One place where a droplet runs."""

    peer: Peer
    state: State = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One droplet of the mesh.

    Attributes:
        key: its id, or the name of one that has no id.
        instances: at least one.
        anonymous: it joined without proving anything, as a Registry for development may allow.
        record: as the Registry gave it.
    """

    key: DropletId
    peer: Peer
    instances: tuple[Instance, ...]
    record: JsonObject
    anonymous: bool = False


def key_of(record: JsonObject) -> DropletId:
    """Under what a record is kept.

    Raises:
        InvalidRequest: it names neither an id nor a name.
    """
    found = record_id(record)
    name = record.get("name") or record.get("service")
    if found is None and isinstance(name, str) and name:
        found = name
    if found is None:
        raise InvalidRequest.field("id", "is missing, and there is no name instead")
    return found


def read(record: JsonObject) -> Known:
    """What a record says.

    Raises:
        InvalidRequest: it names neither an id nor a name, or no address that can be used.
    """
    key = key_of(record)
    peer = to_peer(record)
    listed = record.get("instances")
    entries: Sequence[object] = listed if isinstance(listed, list) else ()
    instances = tuple(each for each in (_instance(peer, entry) for entry in entries) if each is not None)
    return Known(
        key=key,
        peer=peer,
        instances=instances or (Instance(peer=peer),),
        record=record,
        anonymous=record.get("anonymous") is True,
    )


def _instance(peer: Peer, entry: object) -> Instance | None:
    """An entry of `instances`; `None` when it has no address that can be used: the others may."""
    if not isinstance(entry, dict):
        return None
    try:
        # A foreign one names no instance of its own; its place is the record's.
        place = to_peer({"id": peer.id, **entry}) if entry.get("endpoint") else peer
    except InvalidRequest:
        return None
    state = _STATES.get(entry.get("state"), "ready")
    return Instance(
        peer=replace(peer, endpoint=place.endpoint, instance_id=place.instance_id or peer.instance_id),
        state=state,
    )
