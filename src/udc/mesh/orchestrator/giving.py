"""Gives waiting tasks to droplets; takes them back from those that do not begin, or are gone (contract section 5)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import anyio

from udc._ids import Ambient
from udc.errors import NotFound
from udc.mesh.orchestrator import machine
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.machine import Ignored
from udc.mesh.orchestrator.pushing import Refusal, Unclear
from udc.mesh.orchestrator.task import Holder, Status, Task
from udc.mesh.orchestrator.times import Times
from udc.mesh.orchestrator.workers import Loss, Workers

_log = logging.getLogger("udc.orchestrator")

_ROUND: Final = 200
"""How many tasks are given out in one go, so that everything else gets its turn."""

_LONGEST_WAIT_SECONDS: Final = 1.0
_UNCLEAR_PAUSE_SECONDS: Final = 0.5
_FAILED_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How patient an Orchestrator is.

    Attributes:
        acknowledge_seconds: how long a droplet that took a task has to begin it.
        polling_acknowledge_seconds: the same for droplets that poll.
        backoff_seconds: before the second attempt; doubled before each further one, up to `backoff_cap_seconds`.
        per_instance: how many tasks an instance is given at once.
        open_tasks: how many may wait or be at work; more are refused.
        keep_seconds: how long a task is kept after its end.
    """

    acknowledge_seconds: float = 10.0
    polling_acknowledge_seconds: float = 120.0
    backoff_seconds: float = 1.0
    backoff_cap_seconds: float = 60.0
    per_instance: int = 100
    open_tasks: int = 100_000
    keep_seconds: float = 7 * 86_400

    def __post_init__(self) -> None:
        """Refuse terms under which nothing would ever be done.

        Raises:
            ValueError: a number that is not more than 0.
        """
        for name in self.__slots__:
            if not getattr(self, name) > 0:  # also refuses NaN
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")

    def acknowledged_within(self, holder: Holder) -> float:
        """How long this one has."""
        return self.polling_acknowledge_seconds if holder.polls else self.acknowledge_seconds

    def pause(self, retries: int, chance: float) -> float:
        """How long to wait after so many attempts that failed; half of it by lot, so that they spread."""
        longest = min(self.backoff_cap_seconds, self.backoff_seconds * 2.0**retries)
        return longest * (0.5 + 0.5 * chance)


class Pushes(Protocol):
    """Tells droplets of tasks."""

    async def give(self, task: Task, holder: Holder) -> None:
        """Ask the holder's instance to take the task; returns when it has.

        Raises:
            Refusal: it certainly has not.
            Unclear: it may have.
        """
        ...

    async def stop(self, task: Task, holder: Holder) -> None:
        """Tell the holder's instance that the task is over; returns when it knows, or need not any more."""
        ...


Spawn = Callable[[Callable[[], Coroutine[Any, Any, object]]], None]
"""Runs background work as long as the droplet runs."""


class Giving:
    """Looks again whenever something has changed or a time has come.

    Args:
        clock: monotonic seconds.
        stopping: the droplet is about to end: nothing more is given out.
    """

    def __init__(
        self,
        book: Book,
        workers: Workers,
        pushes: Pushes,
        *,
        terms: Terms,
        spawn: Spawn,
        stopping: Callable[[], bool],
        ambient: Ambient,
        clock: Callable[[], float],
    ) -> None:
        self._book, self._workers, self._pushes = book, workers, pushes
        self._terms, self._spawn, self._stopping = terms, spawn, stopping
        self._ambient, self._clock = ambient, clock
        self._news = anyio.Event()
        self._busy: set[str] = set()
        self._begin: dict[str, Holder] = {}
        self._begin_by = Times()
        self._unsettled: set[str] = set()
        self._around = True
        self._all_by = 0.0

    def wake(self) -> None:
        """A task has changed."""
        self._news.set()

    def look_around(self) -> None:
        """Droplets have come, gone or changed."""
        self._around = True
        self._news.set()

    def resume(self) -> None:
        """After a start: ask again those who may have taken a task, which is harmless where they have."""
        for task in self._book.working:
            holder = task.at_work
            if holder is not None and not holder.polls and task.status is not Status.IN_PROGRESS and not task.over:
                self._background(task.task_id, partial(self._ask, task, holder, resumed=True))

    async def turn(self) -> None:
        """Wait until there is something to do, but not long, and do it."""
        with anyio.move_on_after(_LONGEST_WAIT_SECONDS if self._stopping() else self._pause()):
            await self._news.wait()
        self._news = anyio.Event()
        if self._stopping():
            return
        await self._look()
        self._give_out()

    def _pause(self) -> float:
        """How long nothing is to do, unless something happens."""
        wall, now = self._ambient.wall(), self._clock()
        by_clock = (self._begin_by.next(), self._workers.next_free(), self._all_by)
        by_wall = (self._book.deadlines.next(), self._book.waiting.next_pause())
        times = [at - now for at in by_clock if at is not None] + [at - wall for at in by_wall if at is not None]
        return max(0.0, min(times))

    async def _look(self) -> None:
        """See to the tasks that have changed, or whose time has come; now and then to all that are at work."""
        now, everything = self._clock(), self._around or self._clock() >= self._all_by
        self._around = False
        changed = {*self._book.take_changed(), *self._unsettled}
        self._unsettled.clear()
        if everything:
            changed.update(task.task_id for task in self._book.working)
            self._all_by = now + _LONGEST_WAIT_SECONDS
        try:
            await self._end_overdue(self._ambient.wall())
            for each in changed:
                await self._watch(each)
            while (late := self._begin_by.due(now)) is not None:
                await self._watch(late)
                if self._begin_by.due(now) == late:
                    self._begin_by.drop(late)
        except BaseException:
            self._around = True  # what was not reached is looked at in the next turn
            raise

    async def _end_overdue(self, wall: float) -> None:
        while (task_id := self._book.deadlines.due(wall)) is not None:
            await self._changed(task_id, lambda found: machine.overdue(found, wall))
            self._book.deadlines.drop(task_id)

    async def _watch(self, task_id: str) -> None:
        """See whether its droplet is gone or late, or must be told that it is over."""
        task = self._book.get(task_id)
        if task is not None and task.holder is not None and task.status is Status.ASSIGNED:
            self._time(task_id, task.holder)
        else:
            self._begin.pop(task_id, None)
            self._begin_by.drop(task_id)
        if task is None:
            return
        if task.over:
            if task.untold is not None:
                self._tell(task, task.untold)
        elif task.holder is not None and task.status in (Status.ASSIGNED, Status.IN_PROGRESS):
            loss = self._workers.gone(task.holder, task.status) or self._late(task_id)
            if loss is not None:
                await self._lose(task, task.holder, loss)
        elif task.offer is not None and task_id not in self._busy:
            # Nobody is at it any more: what came of it could not be written down.
            self._background(task_id, partial(self._ask, task, task.offer, resumed=True))

    def _time(self, task_id: str, holder: Holder) -> None:
        """From now on it has to be begun. That is not kept: after a restart the time begins anew."""
        if self._begin.get(task_id) != holder:
            self._begin[task_id] = holder
            self._begin_by.set(task_id, self._clock() + self._terms.acknowledged_within(holder))

    def _late(self, task_id: str) -> Loss | None:
        """Whether it should have been acknowledged by now."""
        by = self._begin_by.at(task_id)
        return Loss("it was not acknowledged in time") if by is not None and self._clock() >= by else None

    async def _lose(self, task: Task, holder: Holder, loss: Loss) -> None:
        wall = self._ambient.wall()
        not_before = wall + self._terms.pause(task.retries, self._ambient.chance())
        lost = await self._changed(
            task.task_id,
            lambda found: machine.lost(found, holder, wall, why=loss.why, counts=loss.counts, not_before=not_before),
        )
        if lost is not None:
            _log.info("task taken back", extra={"task_id": task.task_id, "droplet": holder.droplet_id, "why": loss.why})

    def _give_out(self) -> None:
        """Most urgent first, then oldest, each to the least loaded that can."""
        wall, places = self._ambient.wall(), self._workers.places()
        waiting = self._book.waiting
        waiting.end_pauses(wall)

        def to_somebody(task: Task) -> bool:
            holder = places.take(task)
            if holder is not None:
                self._background(task.task_id, partial(self._offer, task, holder))
            return holder is not None

        waiting.give(
            filter(places.any_for, waiting.wanted),
            to_somebody=to_somebody,
            passing=lambda task: task.task_id in self._busy or task.not_before > wall,
            most=_ROUND,
        )

    async def _offer(self, task: Task, holder: Holder) -> None:
        wall = self._ambient.wall()

        def offer(found: Task) -> Task:
            asked = machine.offered(found, holder, wall)
            # Who polls takes what is there for it: nobody has to be asked.
            return machine.accepted(asked, asked.offer, wall) if holder.polls and asked.offer is not None else asked

        try:
            asked = await self._changed(task.task_id, offer)
        finally:
            self._workers.release(holder)
        if asked is not None and asked.offer is not None:
            await self._ask(asked, asked.offer)

    async def _ask(self, task: Task, holder: Holder, *, resumed: bool = False) -> None:
        """Until the droplet has said yes or no, or the time is over in which it could begin."""
        by = self._clock() + self._terms.acknowledged_within(holder)
        while (current := self._book.get(task.task_id)) is not None and current.at_work == holder:
            if current.status is Status.IN_PROGRESS:
                return
            try:
                await self._pushes.give(task, holder)
            except Refusal as refusal:
                # After a restart a "no" tells only of this time: the first time it may have been a "yes".
                if refusal.outdated:
                    await self._lose(task, holder, Loss(str(refusal), counts=False))
                    return
                if not resumed:
                    await self._refused(task, holder, refusal)
                    return
                why = str(refusal)
            except Unclear as error:
                why = str(error)
            else:
                await self._changed(task.task_id, lambda found: machine.accepted(found, holder, self._ambient.wall()))
                return
            if self._clock() >= by:
                await self._lose(task, holder, Loss(why))
                return
            await anyio.sleep(_UNCLEAR_PAUSE_SECONDS * (0.5 + self._ambient.chance()))

    async def _refused(self, task: Task, holder: Holder, refusal: Refusal) -> None:
        self._workers.avoid(holder, task.task_type, refusal.avoid_seconds)
        wall = self._ambient.wall()
        await self._changed(
            task.task_id, lambda found: machine.refused(found, holder, why=str(refusal), not_before=wall)
        )

    def _tell(self, task: Task, holder: Holder) -> None:
        async def tell() -> None:
            await self._pushes.stop(task, holder)
            await self._changed(task.task_id, lambda found: machine.told(found, holder))

        if task.task_id not in self._busy:
            self._background(task.task_id, tell)

    async def _changed(self, task_id: str, what: Callable[[Task], Task]) -> Task | None:
        """The task after the change; `None` where it does not apply any more."""
        try:
            return await self._book.change(task_id, what)
        except (Ignored, NotFound):
            return None

    def _background(self, task_id: str, work: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            try:
                await work()
            except Exception:
                await anyio.sleep(_FAILED_PAUSE_SECONDS)  # it is tried again: the disk, say, needs time
                raise
            finally:
                self._busy.discard(task_id)
                self._unsettled.add(task_id)
                self.wake()

        self._busy.add(task_id)
        self._spawn(run)
