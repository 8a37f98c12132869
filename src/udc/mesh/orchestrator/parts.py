"""The parts of an Orchestrator, made for one life and connected with each other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from anyio.abc import TaskGroup

from udc._clock import loop_clock
from udc.context import Context
from udc.errors import LifecycleError
from udc.lifecycle import Phase
from udc.mesh.orchestrator.asking import Asking
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.giving import Giving, Terms
from udc.mesh.orchestrator.hearing import Hearing
from udc.mesh.orchestrator.polling import Pollers
from udc.mesh.orchestrator.pushing import Pushing
from udc.mesh.orchestrator.reports import Reports
from udc.mesh.orchestrator.store import Store
from udc.mesh.orchestrator.table import table
from udc.mesh.orchestrator.watching import Watching
from udc.mesh.orchestrator.workers import Workers
from udc.surface._base import Endpoint

if TYPE_CHECKING:
    from udc._wiring.definition import Premises

_log = logging.getLogger("udc.orchestrator")


class Parts:
    """One life of an Orchestrator: made before it starts, at work between `begin` and the end.

    Args:
        mesh: the droplet's way to its peers.
    """

    def __init__(self, premises: Premises, *, terms: Terms, mesh: Callable[[], Context]) -> None:
        self.premises = premises
        self._terms = terms
        self._tasks: TaskGroup | None = None
        self._stopping = False
        ambient, clock = premises.ambient, loop_clock()
        self.book: Book = Book(on_change=self._task_changed)
        reports = Reports(ambient=ambient, clock=clock)
        self._pollers = Pollers(reports, ambient=ambient, clock=clock, on_change=self.wake)
        workers = Workers(
            premises.directory,
            self._pollers,
            reports,
            self.book,
            core=frozenset({premises.facts.id, premises.config.registry.id}),
            per_instance=terms.per_instance,
            clock=clock,
            chance=ambient.chance,
        )
        pushing = Pushing(mesh, premises.directory, payload=self._payload, ambient=ambient, clock=clock)
        self.giving: Giving = Giving(
            self.book,
            workers,
            pushing,
            terms=terms,
            spawn=self._spawn,
            stopping=lambda: self._stopping,
            ambient=ambient,
            clock=clock,
        )
        self.hearing: Hearing = Hearing(self.book, self._pollers, reports, terms=terms, ambient=ambient)
        self.watching: Watching = Watching(self.book, stopping=lambda: self._stopping, ambient=ambient)
        asking = Asking(self.book, workers, self._pollers, terms=terms, ambient=ambient)
        self.table: list[Endpoint] = table(asking, reports, self._pollers, self.watching)

    async def begin(self, store: Store, tasks: TaskGroup) -> None:
        """Take up what the store holds; `tasks` runs the work in the background."""
        self._tasks = tasks
        await self._pollers.open(store)
        await self.book.open(store)
        await self.watching.open()
        self.giving.resume()

    def wake(self) -> None:
        """Something has changed that tasks may wait for: droplets, or the Orchestrator's own phase."""
        self.giving.look_around()
        self.watching.wake()

    def _task_changed(self) -> None:
        self.giving.wake()
        self.watching.wake()

    async def forget(self) -> None:
        """Drop tasks that ended long ago."""
        await self.book.store.forget(ended_before=self.premises.ambient.wall() - self._terms.keep_seconds)

    def note_phase(self, phase: Phase) -> None:
        """The droplet is in another phase."""
        if phase is Phase.STOPPING:
            self._stopping = True
            self.wake()

    async def _payload(self, task_id: str) -> str:
        return (await self.book.store.get(task_id)).payload

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if self._tasks is None:
            raise LifecycleError("the Orchestrator is not running")
        self._tasks.start_soon(_harmless, work)


async def _harmless(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    try:
        await work()
    except Exception:  # noqa: BLE001 - a border: trouble with one task must not end the droplet; the lease brings it back
        _log.exception("work on a task failed")
