"""Who can take a task now: droplets that the Registry knows as ready, and those that poll; least loaded first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from udc._types import DropletId
from udc.discovery import Discovery
from udc.mesh.orchestrator.book import Book, Place
from udc.mesh.orchestrator.polling import Pollers
from udc.mesh.orchestrator.reports import Reports
from udc.mesh.orchestrator.task import Holder, Status, Task

_REMEMBERED: Final = 10_000

_Entry: TypeAlias = tuple[int, float, float, int, Holder]
"""Load, what it says of itself, lot, and a number that tells equals apart."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Why an attempt cannot come to an end; whether it counts against the task's retries."""

    why: str
    counts: bool = True


class Workers:
    """Knows who can do what and has how much, and sees who is gone.

    Args:
        core: ids that are given nothing: the Orchestrator's own, and the Registry's.
        per_instance: how many tasks an instance has at most; the others wait in their order.
    """

    def __init__(
        self,
        directory: Discovery,
        pollers: Pollers,
        reports: Reports,
        book: Book,
        *,
        core: frozenset[DropletId],
        per_instance: int,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._directory, self._pollers, self._reports, self._book = directory, pollers, reports, book
        self._core, self._per_instance = core, per_instance
        self._clock, self._chance = clock, chance
        self._reserved: Counter[Place] = Counter()
        self._avoided: dict[tuple[DropletId, str | None, str], float] = {}

    def places(self) -> Places:
        """Where tasks can go, for one round of giving them out."""
        return Places(self, chance=self._chance, cpu=self._reports.cpu)

    def avoid(self, holder: Holder, task_type: str, seconds: float) -> None:
        """Give that place no task of this type for a while: it has refused one."""
        now = self._clock()
        if len(self._avoided) >= _REMEMBERED:
            self._avoided = {place: until for place, until in self._avoided.items() if until > now}
        self._avoided[holder.droplet_id, holder.instance_id, task_type] = now + seconds

    def refuses(self, holder: Holder, task_type: str) -> bool:
        """Whether that place has refused such a task just now."""
        until = self._avoided.get((holder.droplet_id, holder.instance_id, task_type), 0.0)
        return until > self._clock()

    def next_free(self) -> float | None:
        """When the next place that refused may be asked again, by the clock."""
        now = self._clock()
        return min((until for until in self._avoided.values() if until > now), default=None)

    def reserve(self, holder: Holder) -> None:
        """Count a task that is on its way there, until `release`."""
        self._reserved[holder.droplet_id, holder.instance_id] += 1

    def release(self, holder: Holder) -> None:
        """It is counted by the book now, or has gone elsewhere."""
        place = (holder.droplet_id, holder.instance_id)
        self._reserved[place] -= 1
        if not self._reserved[place]:
            del self._reserved[place]

    def load(self, holder: Holder) -> int | None:
        """How many tasks that place has; `None` when it takes no more now."""
        place = (holder.droplet_id, holder.instance_id)
        reserved = self._reserved.get(place, 0)
        # One at a time until it is acknowledged: who works through a list one by one would let the others expire.
        if holder.polls and (reserved or self._book.unacknowledged(holder.droplet_id)):
            return None
        load = self._book.load(*place) + reserved
        return load if load < self._per_instance else None

    def able(self, capability: str) -> Iterator[Holder]:
        """The places of droplets that offer it and are ready."""
        for droplet_id, capabilities in self._pollers.active():
            if capability in capabilities:
                yield Holder(droplet_id=droplet_id, attempt=0, polls=True)
        for known in self._directory.known(capability=capability):
            # One that polled once, and does so no more, has been set up anew: it is asked like the others.
            if known.key in self._core or self._pollers.alive(known.key):
                continue
            for instance in known.instances:
                peer = instance.peer
                if instance.state == "ready":
                    yield Holder(droplet_id=known.key, attempt=0, instance_id=peer.instance_id, endpoint=peer.endpoint)

    def gone(self, holder: Holder, status: Status) -> Loss | None:
        """Why the holder's attempt cannot come to an end any more; `None` while it may.

        A droplet that drains may finish what it has begun, and hands back what it cannot; what it has not begun it
        will not begin.
        """
        if holder.polls:
            alive = self._pollers.alive(holder.droplet_id)
            return None if alive else Loss("its droplet stopped sending heartbeats")
        known = self._directory.find(holder.droplet_id)
        if known is None:
            return Loss("its droplet has left the mesh") if self._directory.current else None
        for instance in known.instances:
            if holder.instance_id in (None, instance.peer.instance_id):
                if instance.state == "suspect":
                    return Loss("its droplet is not heard of any more")
                unstarted = instance.state == "draining" and status is not Status.IN_PROGRESS
                return Loss("its droplet is stopping", counts=False) if unstarted else None
        if any(instance.peer.endpoint == holder.endpoint for instance in known.instances):
            return Loss("its droplet was started anew")
        return Loss("its instance has left the mesh") if self._directory.current else None

    def listed(self) -> list[dict[str, Any]]:  # Any: JSON values
        """Everybody who can be given tasks, for people."""
        rows: list[dict[str, Any]] = []  # Any: JSON values
        for known in self._directory.known():
            if known.key not in self._core and not self._pollers.alive(known.key) and known.peer.capabilities:
                load = sum(self._book.load(known.key, each.peer.instance_id) for each in known.instances)
                rows.append({"droplet_id": known.key, "capabilities": [*known.peer.capabilities], "load": load})
        for droplet_id, capabilities in self._pollers.active():
            load = self._book.load(droplet_id, None)
            rows.append({"droplet_id": droplet_id, "capabilities": [*capabilities], "load": load})
        return rows


class Places:
    """Where tasks can go, least loaded first: by what a place has of us; among equals by what it says of itself.

    For one round. A place may be in many a queue, so its load is compared with the present one when it is its turn.
    """

    def __init__(self, workers: Workers, *, chance: Callable[[], float], cpu: Callable[[DropletId], float]) -> None:
        self._workers, self._chance, self._cpu = workers, chance, cpu
        self._queues: dict[str, list[_Entry]] = {}

    def any_for(self, capability: str) -> bool:
        """Whether anybody can take a task that needs it."""
        return bool(self._queue(capability))

    def take(self, task: Task) -> Holder | None:
        """Reserve the best place for a task; `None` when nobody can take it."""
        queue = self._queue(task.capability)
        aside: list[_Entry] = []
        found: Holder | None = None
        while queue and found is None:
            load, cpu, lot, number, holder = heappop(queue)
            now = self._workers.load(holder)
            if now is None:
                continue
            if now != load:
                heappush(queue, (now, cpu, lot, number, holder))
            elif self._workers.refuses(holder, task.task_type):
                aside.append((load, cpu, lot, number, holder))
            else:
                found = holder
                self._workers.reserve(holder)
                heappush(queue, (load + 1, cpu, self._chance(), number, holder))
        for entry in aside:
            heappush(queue, entry)
        return found

    def _queue(self, capability: str) -> list[_Entry]:
        queue = self._queues.get(capability)
        if queue is None:
            queue = self._queues[capability] = []
            for holder in self._workers.able(capability):
                load = self._workers.load(holder)
                if load is not None:
                    queue.append((load, self._cpu(holder.droplet_id), self._chance(), len(queue), holder))
            heapify(queue)
        return queue
