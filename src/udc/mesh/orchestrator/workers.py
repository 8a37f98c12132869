"""Who can take a task now: droplets that the Registry knows as ready, and those that poll; least loaded first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from udc._types import DropletId
from udc.discovery import Discovery
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.polling import Pollers
from udc.mesh.orchestrator.reports import Reports
from udc.mesh.orchestrator.task import Holder, Status, Task

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place that a task can be given to, and how many it has."""

    holder: Holder
    load: int


class Workers:
    """Chooses whom a task is given to, and sees who is gone.

    Args:
        me: the Orchestrator's own id, which gives itself nothing.
        per_instance: how many tasks an instance has at most; the others wait in their order.
    """

    def __init__(
        self,
        directory: Discovery,
        pollers: Pollers,
        reports: Reports,
        book: Book,
        *,
        me: DropletId,
        per_instance: int,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._directory, self._pollers, self._reports, self._book = directory, pollers, reports, book
        self._me, self._per_instance = me, per_instance
        self._clock, self._chance = clock, chance
        self._reserved: Counter[tuple[DropletId, str | None]] = Counter()
        self._avoided: dict[tuple[DropletId, str | None, str], float] = {}

    def avoid(self, holder: Holder, task_type: str, seconds: float) -> None:
        """Give that place no task of this type for a while: it has refused one."""
        now = self._clock()
        if len(self._avoided) >= _REMEMBERED:
            self._avoided = {place: until for place, until in self._avoided.items() if until > now}
        self._avoided[holder.droplet_id, holder.instance_id, task_type] = now + seconds

    def choose(self, task: Task) -> Holder | None:
        """Where the task would go now; `None` when nobody can take it."""
        found = [each for each in self._able(task) if each.load < self._per_instance]
        if not found:
            return None
        # By what they have of us; among equals by what they say of themselves; among those by lot.
        cpu, chance = self._reports.cpu, self._chance
        return min(found, key=lambda each: (each.load, cpu(each.holder.droplet_id), chance())).holder

    def reserve(self, holder: Holder) -> None:
        """Count a task that is on its way there, until `release`."""
        self._reserved[holder.droplet_id, holder.instance_id] += 1

    def release(self, holder: Holder) -> None:
        """It is counted by the book now, or has gone elsewhere."""
        place = (holder.droplet_id, holder.instance_id)
        self._reserved[place] -= 1
        if not self._reserved[place]:
            del self._reserved[place]

    def next_free(self) -> float | None:
        """When the next place that refused is asked again, by the clock."""
        now = self._clock()
        return min((until for until in self._avoided.values() if until > now), default=None)

    def gone(self, holder: Holder, status: Status) -> str | None:
        """Why the holder's attempt cannot come to an end any more; `None` while it may.

        A droplet that drains may finish what it has begun, and hands back what it cannot; what it has not begun it
        will not begin.
        """
        if holder.polls:
            return None if self._pollers.alive(holder.droplet_id) else "its droplet stopped sending heartbeats"
        known = self._directory.find(holder.droplet_id)
        if known is None:
            return "its droplet has left the mesh" if self._directory.current else None
        for instance in known.instances:
            if holder.instance_id in (None, instance.peer.instance_id):
                if instance.state == "suspect":
                    return "its droplet is not heard of any more"
                unstarted = instance.state == "draining" and status is not Status.IN_PROGRESS
                return "its droplet is stopping" if unstarted else None
        if any(instance.peer.endpoint == holder.endpoint for instance in known.instances):
            return "its droplet was started anew"
        return "its instance has left the mesh" if self._directory.current else None

    def listed(self) -> list[dict[str, object]]:
        """Everybody who can be given tasks, for people."""
        listed: list[dict[str, object]] = []
        for known in self._directory.known():
            if known.key != self._me and known.peer.capabilities and not self._pollers.knows(known.key):
                load = sum(self._book.load(known.key, each.peer.instance_id) for each in known.instances)
                listed.append({"droplet_id": known.key, "capabilities": list(known.peer.capabilities), "load": load})
        for droplet_id, capabilities in self._pollers.active():
            load = self._book.load(droplet_id, None)
            listed.append({"droplet_id": droplet_id, "capabilities": list(capabilities), "load": load})
        return listed

    def _able(self, task: Task) -> Iterator[Candidate]:
        capability, now = task.capability, self._clock()
        for droplet_id, capabilities in self._pollers.active():
            # One at a time until it is acknowledged: who works through a list one by one would let the others expire.
            waits = self._book.unacknowledged(droplet_id) or self._reserved[droplet_id, None]
            if capability in capabilities and not waits:
                holder = Holder(droplet_id=droplet_id, attempt=0, polls=True)
                yield Candidate(holder=holder, load=self._load(holder))
        for known in self._directory.known(capability=capability):
            if known.key == self._me or self._pollers.knows(known.key):
                continue
            for instance in known.instances:
                peer = instance.peer
                until = self._avoided.get((known.key, peer.instance_id, task.task_type), 0.0)
                if instance.state == "ready" and until <= now:
                    holder = Holder(
                        droplet_id=known.key, attempt=0, instance_id=peer.instance_id, endpoint=peer.endpoint
                    )
                    yield Candidate(holder=holder, load=self._load(holder))

    def _load(self, holder: Holder) -> int:
        place = (holder.droplet_id, holder.instance_id)
        return self._book.load(*place) + self._reserved[place]
