"""The Orchestrator as a droplet: its parts put together for one life."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from udc import Context, Droplet, event, every
from udc.datadir import DataDirectory
from udc.errors import ConfigError, LifecycleError
from udc.instrument import Event, PeersChanged, PhaseChanged
from udc.mesh.orchestrator.giving import Terms
from udc.mesh.orchestrator.parts import Parts
from udc.mesh.orchestrator.store import SqliteStore, Store
from udc.surface._base import Endpoint

if TYPE_CHECKING:
    from udc._wiring.definition import Premises

_PAUSE_SECONDS: Final = 0.01
_FORGET_SECONDS: Final = 600.0
_LOCK: Final = "orchestrator-tasks"


class Orchestrator(Droplet):
    """Droplet 10: takes tasks, gives them to droplets that can do them, and sees each to its end (contract section 7).

    It finds droplets at the mesh's Registry, like any other.

    Args:
        data: where tasks are kept; `None` = in memory only.
        store: keeps them, open as long as the Orchestrator runs; by default a SQLite file in `data`.
        terms: how patient it is.
        config: as for every droplet.

    Raises, at its start:
        ConfigError: another Orchestrator works on that data.
    """

    id: int | None = 10
    name: str = "Orchestrator"
    steward: str = "udc"
    version: str = "1.0"
    capabilities: Sequence[str] = ("orchestrator", "tasks")

    def __init__(
        self,
        data: DataDirectory | None = None,
        *,
        store: Store | None = None,
        terms: Terms | None = None,
        config: dict[str, Any] | None = None,  # Any: values of many types
    ) -> None:
        super().__init__(config=config, hooks=(self._follow,))
        self._data, self._store, self._terms = data, store, terms or Terms()
        self._parts: Parts | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Opens the store; runs what is said to droplets in the background."""
        parts = self._running
        async with _opened(self._store, self._data, threads=parts.premises.threads) as store:
            async with anyio.create_task_group() as tasks:
                await parts.begin(store, tasks)
                yield
                tasks.cancel_scope.cancel()

    @every(seconds=_PAUSE_SECONDS, first_after_seconds=0, jitter=0)
    async def _give(self) -> None:
        await self._running.giving.turn()

    @every(seconds=_FORGET_SECONDS)
    async def _forget(self) -> None:
        await self._running.forget()

    @event("task_acknowledged")
    async def _acknowledged(self, ctx: Context) -> dict[str, Any]:  # Any: JSON values
        return await self._running.hearing.task(ctx.message)

    @event("task_progress")
    async def _progress(self, ctx: Context) -> dict[str, Any]:  # Any: likewise
        return await self._running.hearing.task(ctx.message)

    @event("task_completed")
    async def _completed(self, ctx: Context) -> dict[str, Any]:  # Any: likewise
        return await self._running.hearing.task(ctx.message)

    @event("task_failed")
    async def _failed(self, ctx: Context) -> dict[str, Any]:  # Any: likewise
        return await self._running.hearing.task(ctx.message)

    @event("task_cancelled")
    async def _cancelled(self, ctx: Context) -> dict[str, Any]:  # Any: likewise
        return await self._running.hearing.task(ctx.message)

    @event("droplet_unreachable")
    async def _unreachable(self, ctx: Context) -> dict[str, Any]:  # Any: likewise
        return self._running.hearing.unreachable(ctx.message)

    def _udc_settle(self, premises: Premises) -> Sequence[Endpoint]:
        self._parts = Parts(premises, terms=self._terms, mesh=lambda: self.mesh)
        return self._parts.table

    def _follow(self, event: Event, /) -> None:
        if self._parts is None:
            return
        if isinstance(event, PhaseChanged):
            self._parts.note_phase(event.after)
        elif isinstance(event, PeersChanged):
            self._parts.wake()

    @property
    def _running(self) -> Parts:
        if self._parts is None:
            raise LifecycleError("the Orchestrator is not running")
        return self._parts


@asynccontextmanager
async def _opened(store: Store | None, data: DataDirectory | None, *, threads: bool) -> AsyncGenerator[Store]:
    if store is not None:
        yield store
        return
    if data is None:
        async with SqliteStore.open(None, threads=threads) as opened:
            yield opened
        return
    # Two would give out the same tasks.
    with data.claim_slot(_LOCK) as slot:
        if slot.number:
            raise ConfigError([f"data: an Orchestrator works on {data.root} already; give this one another directory"])
        async with SqliteStore.open(data.directory() / "orchestrator.db", threads=threads) as opened:
            yield opened
