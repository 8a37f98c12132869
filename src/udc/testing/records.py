"""What a Registry knows: instances by droplet id, their leases and states (contract section 6)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from udc._types import DropletId, JsonObject
from udc.errors import Conflict
from udc.wire.canonical import canonical_json, sha256_hex

OUR_LEASE_SECONDS: Final = 30.0
FOREIGN_LEASE_SECONDS: Final = 180.0

_DRAINING: Final = frozenset({"stopping", "stopped", "failed"})
_READY: Final = frozenset({None, "ready", "degraded"})
_ORDER: Final = ("ready", "starting", "draining", "suspect")
_NOT_HASHED: Final = ("status", "phase")


@dataclass(slots=True)
class Instance:
    """One registered instance.

    Attributes:
        body: the registration as it was sent.
        seen_at: when it was last heard of, by the registry's clock.
        beaten: it has beaten; a foreign one that never did does not expire.
    """

    body: JsonObject
    seen_at: float
    beaten: bool = False
    phase: str | None = None
    status: str = "active"
    in_flight: int = 0

    @property
    def instance_id(self) -> str | None:
        """Its id; foreign droplets have none."""
        found = self.body.get("instance_id")
        return found if isinstance(found, str) else None

    @property
    def record_hash(self) -> str:
        """What a beat is compared with."""
        body = {key: value for key, value in self.body.items() if key not in _NOT_HASHED}
        return sha256_hex(canonical_json(body))[:16]

    @property
    def lease_seconds(self) -> float:
        """How long a beat keeps it alive; without end for a foreign one that has never beaten."""
        if self.instance_id is not None:
            return OUR_LEASE_SECONDS
        return FOREIGN_LEASE_SECONDS if self.beaten else math.inf

    def deadline(self, now: float) -> float:
        """When it changes by itself: it becomes suspect, or, being that, goes."""
        leases = 1 if now < self.seen_at + self.lease_seconds else 2
        return self.seen_at + leases * self.lease_seconds

    def state(self, now: float) -> str:
        """`starting`, `ready`, `draining` or `suspect`."""
        if now >= self.seen_at + self.lease_seconds:
            return "suspect"
        if self.phase in _DRAINING:
            return "draining"
        return "ready" if self.phase in _READY else "starting"


@dataclass(slots=True)
class Records:
    """Every instance, and which instance retired which."""

    _instances: dict[DropletId, list[Instance]] = field(default_factory=dict[DropletId, list[Instance]])
    _retired: dict[str, str] = field(default_factory=dict[str, str])

    def put(self, droplet_id: DropletId, body: JsonObject, now: float) -> Instance:
        """Register: an upsert. A newer instance at the same address retires the older one."""
        new = Instance(body, seen_at=now, phase=_text(body, "phase"), status=_text(body, "status") or "active")
        kept: list[Instance] = []
        for old in self._instances.get(droplet_id, []):
            if old.body.get("endpoint") != body.get("endpoint") and old.instance_id != new.instance_id:
                kept.append(old)
            elif old.instance_id and new.instance_id and old.instance_id != new.instance_id:
                self._retired[old.instance_id] = new.instance_id
        if new.instance_id is not None:
            self._retired.pop(new.instance_id, None)
        self._instances[droplet_id] = [*kept, new]
        return new

    def beat(self, droplet_id: DropletId, body: JsonObject, now: float) -> Instance | None:
        """Note a beat; `None` when the instance is not known.

        Raises:
            Conflict: a newer instance took its place.
        """
        instance_id = _text(body, "instance_id")
        if instance_id in self._retired:
            raise Conflict("a newer instance took your place", details={"retired_by": self._retired[instance_id]})
        for found in self._instances.get(droplet_id, []):
            if found.instance_id == instance_id:
                found.seen_at, found.beaten = now, True
                found.phase = _text(body, "phase") or found.phase
                found.status = _text(body, "status") or found.status
                in_flight = body.get("in_flight")
                found.in_flight = in_flight if isinstance(in_flight, int) else found.in_flight
                return found
        return None

    def remove(self, droplet_id: DropletId, instance_id: str | None) -> None:
        """Forget an instance, or all of an id; twice is harmless."""
        before = self._instances.pop(droplet_id, [])
        kept = [each for each in before if instance_id is not None and each.instance_id != instance_id]
        if kept:
            self._instances[droplet_id] = kept

    def expire(self, now: float) -> float:
        """Forget those whose second lease has ended; returns when the next one changes by itself (`inf` = never)."""
        soonest = math.inf
        for droplet_id, instances in list(self._instances.items()):
            kept = [each for each in instances if now < each.seen_at + 2 * each.lease_seconds]
            if kept:
                self._instances[droplet_id] = kept
            else:
                del self._instances[droplet_id]
            soonest = min([soonest, *(each.deadline(now) for each in kept)])
        return soonest

    def renew(self, until: float) -> None:
        """Nobody's lease ends before: the Registry could not hear of anybody."""
        for instances in self._instances.values():
            for each in instances:
                each.seen_at = max(each.seen_at, until - each.lease_seconds)

    def row(self, droplet_id: DropletId, now: float) -> dict[str, Any] | None:  # Any: JSON values
        """The one row of a droplet id, with the best instance's facts."""
        instances = self._instances.get(droplet_id)
        return _row(droplet_id, instances, now) if instances else None

    def rows(self, now: float) -> Iterator[dict[str, Any]]:  # Any: JSON values
        """One row per droplet id."""
        return (_row(droplet_id, instances, now) for droplet_id, instances in self._instances.items())


def _row(droplet_id: DropletId, instances: list[Instance], now: float) -> dict[str, Any]:  # Any: JSON values
    ranked = sorted(instances, key=lambda each: _ORDER.index(each.state(now)))
    best = ranked[0]
    return {
        **best.body,
        "id": droplet_id,
        "status": "inactive" if best.state(now) == "suspect" else best.status,
        **({"phase": best.phase} if best.phase is not None else {}),
        "instances": [
            {
                "instance_id": each.instance_id,
                "endpoint": each.body.get("endpoint"),
                "state": each.state(now),
                "in_flight": each.in_flight,
            }
            for each in ranked
        ],
    }


def _text(body: Mapping[str, Any], name: str) -> str | None:  # Any: JSON values
    value = body.get(name)
    return value if isinstance(value, str) and value else None
