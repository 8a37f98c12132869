"""The tasks that have not ended, in memory as they are on the disk; everything changes there first."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, TypeVar

import anyio

from udc._types import DropletId
from udc.mesh.orchestrator.store import Store
from udc.mesh.orchestrator.task import Status, Task
from udc.mesh.orchestrator.times import Times
from udc.mesh.orchestrator.waiting import Waiting

K = TypeVar("K")

_ENDED_REMEMBERED: Final = 10_000

Place: TypeAlias = tuple[DropletId, str | None]
"""Where work is: a droplet id and its instance."""


class Book:
    """What is to be done, by what it needs; what is being done, by whom.

    Attributes:
        waiting: those that wait for a droplet.
        deadlines: of those that have one, in seconds since the epoch.

    Args:
        on_change: told after every change.
    """

    def __init__(self, *, on_change: Callable[[], None]) -> None:
        self._opened: Store | None = None
        self._on_change = on_change
        self.waiting: Waiting = Waiting()
        self.deadlines: Times = Times()
        self._live: dict[str, Task] = {}
        self._working: dict[str, Task] = {}
        self._changed: set[str] = set()
        self._load: Counter[Place] = Counter()
        self._silent: Counter[DropletId] = Counter()
        self._ended: OrderedDict[str, int] = OrderedDict()

    @property
    def store(self) -> Store:
        """Where they lie."""
        if self._opened is None:
            raise RuntimeError("the Orchestrator's store is not open yet")
        return self._opened

    async def open(self, store: Store) -> None:
        """Take up what the store holds."""
        self._opened = store
        for task in await store.live():
            self._take(task)

    @property
    def working(self) -> Iterable[Task]:
        """Those that somebody has or is being asked to take, or of whose end somebody must still be told."""
        return tuple(self._working.values())

    def take_changed(self) -> Iterable[str]:
        """The ids of those that have changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    @property
    def open_tasks(self) -> int:
        """How many have not ended."""
        return len(self._live)

    def get(self, task_id: str) -> Task | None:
        """A task that has not ended."""
        return self._live.get(task_id)

    def load(self, droplet_id: DropletId, instance_id: str | None) -> int:
        """How many tasks that instance has, or is being asked to take."""
        return self._load[droplet_id, instance_id]

    def unacknowledged(self, droplet_id: DropletId) -> bool:
        """Whether the droplet has a task that it has not said a word about."""
        return droplet_id in self._silent

    async def add(self, task: Task, payload: str, asked: bytes) -> tuple[Task, bool]:
        """See `Store.add`."""
        with anyio.CancelScope(shield=True):  # what is on the disk must be known here, too
            found = await self.store.add(task, payload, asked)
            if found[1]:
                self._take(found[0])
                self._on_change()
            return found
        raise AssertionError("a shielded scope is not cancelled")

    async def change(self, task_id: str, what: Callable[[Task], Task]) -> Task:
        """See `Store.change`."""
        with anyio.CancelScope(shield=True):  # likewise
            task = await self.store.change(task_id, what)
            self._take(task)
            self._on_change()
            return task
        raise AssertionError("a shielded scope is not cancelled")

    def _take(self, task: Task) -> None:
        """Changes may come here in another order than they were made in: the newest counts."""
        before = self._live.get(task.task_id)
        if task.version <= (before.version if before is not None else self._ended.get(task.task_id, -1)):
            return
        if before is not None:
            self._drop(before)
        self._changed.add(task.task_id)
        if task.over and task.untold is None:
            self._ended[task.task_id] = task.version
            if len(self._ended) > _ENDED_REMEMBERED:
                self._ended.popitem(last=False)
            return
        self._live[task.task_id] = task
        if task.status is Status.PENDING and task.offer is None:
            self.waiting.put(task)
        if task.at_work or task.over:
            self._working[task.task_id] = task
        if task.deadline is not None and not task.over:
            self.deadlines.set(task.task_id, task.deadline)
        self._count(task, 1)

    def _drop(self, task: Task) -> None:
        del self._live[task.task_id]
        self._working.pop(task.task_id, None)
        self.waiting.drop(task)
        if task.deadline is not None:
            self.deadlines.drop(task.task_id)
        self._count(task, -1)

    def _count(self, task: Task, by: int) -> None:
        holder = task.at_work
        if holder is None:
            return
        _counted(self._load, (holder.droplet_id, holder.instance_id), by)
        if task.status is not Status.IN_PROGRESS:
            _counted(self._silent, holder.droplet_id, by)


def _counted(counter: Counter[K], key: K, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]
