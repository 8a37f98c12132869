"""One registered instance, its state, and the row that all instances of a droplet make together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import to_json

from udc._types import DropletId, JsonObject
from udc.lifecycle import Phase, Status

State: TypeAlias = Literal["starting", "ready", "draining", "suspect"]
"""The Registry's view of an instance (contract section 6)."""

FOREIGN: Final = ""
"""Stands for the instance id of droplets that know no instances."""

_STATES: Final[dict[str, State]] = {
    Phase.UNKNOWN: "starting",
    Phase.REGISTERING: "starting",
    Phase.INITIALIZING: "starting",
    Phase.STARTING: "starting",
    Phase.READY: "ready",
    Phase.DEGRADED: "ready",
    Phase.STOPPING: "draining",
    Phase.STOPPED: "draining",
    Phase.FAILED: "draining",
}
_RANK: Final[dict[State, int]] = {"ready": 0, "starting": 1, "draining": 2, "suspect": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An accepted registration, as it is kept on disk.

    Attributes:
        instance_id: "" for droplets that know no instances.
        record: what the list shows of it.
        record_hash: what our own kind beats with.
        serial: rises with every registration: of two, the higher is the newer.
        anonymous: nobody proved anything.
        beats: it has beaten at least once; foreign droplets that never do so do not expire.
    """

    droplet_id: DropletId
    instance_id: str
    record: JsonObject
    record_hash: str
    serial: int
    status: Status = Status.ACTIVE
    phase: Phase | None = None
    anonymous: bool = False
    beats: bool = False

    @property
    def key(self) -> tuple[DropletId, str]:
        """Droplet and instance."""
        return self.droplet_id, self.instance_id

    @property
    def endpoint(self) -> str:
        """Its base URL."""
        found: str = self.record["endpoint"]
        return found


@dataclass(slots=True, eq=False)
class Instance:
    """A registration that is alive, and what its beats said last.

    Attributes:
        lease_ends: by the monotonic clock; `inf` = never.
        watched_at: when the leases look at it next.
        gone: removed; what still points to it means nothing.
        renew_share: the part of a token's life after which its beats bring a new one, 0.4 to 0.5.
    """

    registered: Registered
    status: Status
    phase: Phase | None
    renew_share: float = 0.45
    in_flight: int = 0
    ttl_seconds: float = math.inf
    lease_ends: float = math.inf
    watched_at: float = math.inf
    suspect: bool = False
    gone: bool = False
    beats: bool = field(default=False)

    @property
    def deadline(self) -> float:
        """When something happens to it unless it beats: it becomes suspect, or, being that, is removed."""
        return self.lease_ends + self.ttl_seconds if self.suspect else self.lease_ends

    @property
    def foreign(self) -> bool:
        """Whether it knows no instances."""
        return self.registered.instance_id == FOREIGN

    @property
    def state(self) -> State:
        """Whether peers may call it."""
        if self.suspect:
            return "suspect"
        return "ready" if self.phase is None else _STATES[self.phase]

    @property
    def rank(self) -> tuple[int, int]:
        """Lower is better; of equals the newest, which does not change with every beat as their load would."""
        return _RANK[self.state], -self.registered.serial

    def shown(self) -> dict[str, Any]:  # Any: JSON values
        """It as one of the row's `instances`."""
        own = self.registered
        return {
            "instance_id": own.instance_id or None,
            "endpoint": own.endpoint,
            "state": self.state,
            "in_flight": self.in_flight,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """What the list says of one droplet id; never changed, only replaced.

    Attributes:
        anonymous: nobody proved anything: by name, others come first.
        fragment: the whole record, encoded.
    """

    id: DropletId
    name: str
    status: Status
    capabilities: frozenset[str]
    ready: bool
    anonymous: bool
    fragment: bytes


def row_of(instances: Iterable[Instance]) -> Row:
    """The row of a droplet's instances: at least one."""
    ordered = sorted(instances, key=lambda each: each.rank)
    best = ordered[0]
    record = best.registered.record
    status = Status.INACTIVE if best.suspect else best.status
    body: dict[str, Any] = {  # Any: JSON values
        **record,
        "status": status,
        **({"phase": best.phase} if best.phase is not None else {}),
        **({"instance_id": best.registered.instance_id} if not best.foreign else {}),
        **({"anonymous": True} if best.registered.anonymous else {}),
        "instances": [each.shown() for each in ordered],
    }
    return Row(
        id=best.registered.droplet_id,
        name=record["name"],
        status=status,
        capabilities=frozenset(record["capabilities"]),
        ready=best.state == "ready",
        anonymous=best.registered.anonymous,
        fragment=to_json(body),
    )
