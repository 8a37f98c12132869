"""How long an instance counts as alive, and when the next one ceases to (contract section 6)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from udc.mesh.registry.instances import Instance


@dataclass(frozen=True, slots=True)
class Terms:
    """What a droplet is told: how long its lease lasts and how often to beat."""

    ttl_seconds: float
    beat_every_seconds: float


SMALL: Final = Terms(9.0, 3.0)
LARGE: Final = Terms(30.0, 10.0)
FOREIGN: Final = Terms(180.0, 30.0)
_BEATS_OF_A_LEASE: Final = 3.0
SMALL_MESH: Final = 50
"""From this many droplets on, the large mesh's terms hold."""


def terms_of(lease_seconds: float) -> Terms:
    """The terms of leases that last so long."""
    return Terms(lease_seconds, lease_seconds / _BEATS_OF_A_LEASE)


def terms_for(droplets: int) -> Terms:
    """The terms of our own kind in a mesh of that many droplets."""
    return SMALL if droplets < SMALL_MESH else LARGE


_LATE_SECONDS: Final = 1.0


class Leases:
    """Finds those whose lease is over without looking at the others; a beat costs nothing here.

    An instance stands in the heap with the end its lease had when it was put there. Beats move the true end later;
    when the old one comes, the instance is put back with the true one.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Instance]] = []
        self._tick = count()

    def renew(self, instance: Instance, *, now: float, ttl_seconds: float) -> None:
        """Begin the lease anew. The time is the one the droplet is told, so that it cannot be late unawares."""
        instance.ttl_seconds = ttl_seconds
        instance.lease_ends = now + ttl_seconds
        instance.suspect = False
        self.watch(instance)

    def suspect(self, instance: Instance, *, now: float) -> None:
        """Its lease has ended; it has another one's time to come back."""
        instance.suspect = True
        if now > instance.lease_ends + _LATE_SECONDS:  # nobody looked while the Registry warmed
            instance.lease_ends = now
        self.watch(instance)

    def watch(self, instance: Instance) -> None:
        """Have `due` find it when its time comes."""
        if instance.deadline < instance.watched_at:
            instance.watched_at = instance.deadline
            heapq.heappush(self._heap, (instance.deadline, next(self._tick), instance))

    def due(self, now: float) -> Iterator[Instance]:
        """Those whose deadline has passed; each is to be made suspect and watched again, or removed."""
        while self._heap and self._heap[0][0] <= now:
            at, _, instance = heapq.heappop(self._heap)
            if instance.gone or at != instance.watched_at:  # it stands in the heap a second time, earlier
                continue
            instance.watched_at = math.inf
            if instance.deadline <= now:
                yield instance
            else:
                self.watch(instance)
