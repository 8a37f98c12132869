"""`mesh`: a whole mesh in one process, for the length of an `async with`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from udc._types import DropletId
from udc.droplet import Droplet
from udc.errors import LifecycleError
from udc.testing.house import House
from udc.testing.world import World

__all__ = ["mesh"]

STARTS_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall time at which a mesh begins unless told otherwise: always the same, so that a run can be repeated."""


def mesh(
    *droplets: Droplet | Callable[[], Droplet],
    seed: int = 0,
    foreign: Iterable[DropletId] = (),
    config: Mapping[str, Any] | None = None,  # Any: values of many types
    starts_at: datetime = STARTS_AT,
    data: Path | None = None,
) -> AbstractAsyncContextManager[World]:
    """Run droplets together with a Registry and an Orchestrator, without sockets.

    ```python
    async with mesh(Resizer(), Billing()) as world:
        assert await world.client.query("Resizer", "quota", {"steward": "ada"}) == 3
    ```

    Everything is as over HTTP: the codec, tokens and keys of the Registry, permissions, retries, deadlines. Each
    droplet has the address `https://<name>.mesh.test` and knows the others by id and name. In virtual time
    (`virtual_time`) the clock of the mesh leaps, and sync handlers run in line instead of in threads.

    Leaving stops all droplets gracefully, within a bound, and raises what their stopping raised. It must be left
    in the task that entered it.

    Args:
        droplets: instances, or classes or functions that make one (anew at each `faults.restart`). A `FakeRegistry`
            or `FakeOrchestrator` among them takes the place of the mesh's own.
        seed: of every id and chance, so that a run can be repeated.
        foreign: names or ids of droplets that the others take for another library's: superset envelope,
            the mesh's token audience, no de-duplication.
        config: settings for every droplet, which win over its own: `{"limits.in_flight": 1}`. A droplet that
            sets no `limits.grace_seconds` gets 5.
        starts_at: wall time at the beginning; aware.
        data: a directory (pytest's `tmp_path`) where the droplets keep their own state, as in production: what
            is on the disk when one is killed (`faults.crash`) is there when it is restarted.

    Raises:
        ConfigError: droplets that cannot be told apart, or a configuration that cannot work.
        Exception: what the start of a droplet raised, itself; whoever had started is stopped.
    """
    return _Running(droplets, seed=seed, foreign=tuple(foreign), config=config or {}, starts_at=starts_at, data=data)


class _Running:
    """The context manager. Not a generator: what its block raises must leave as it came, not in a group."""

    def __init__(
        self,
        droplets: tuple[Droplet | Callable[[], Droplet], ...],
        *,
        seed: int,
        foreign: tuple[DropletId, ...],
        config: Mapping[str, Any],  # Any: values of many types
        starts_at: datetime,
        data: Path | None,
    ) -> None:
        self._droplets = droplets
        self._seed = seed
        self._foreign = foreign
        self._config = config
        self._starts_at = starts_at
        self._data = data
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> World:
        if self._stack is not None:
            raise LifecycleError("this mesh is open already; make another one")
        async with AsyncExitStack() as stack:
            house = House(
                self._droplets,
                seed=self._seed,
                foreign=self._foreign,
                config=self._config,
                epoch=self._starts_at.timestamp(),
                data=self._data,
            )
            world = World(house)
            await stack.enter_async_context(house.network)
            tasks = await stack.enter_async_context(_Tasks())
            await world.open()
            stack.push_async_exit(_Close(house, world, tasks))
            await house.open(tasks)
            self._stack = stack.pop_all()
            return world

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._stack is None:
            raise LifecycleError("this mesh is not open")
        stack, self._stack = self._stack, None
        return await stack.__aexit__(kind, error, traceback)


class _Tasks:
    """A task group that hands on what its block raised as it came."""

    async def __aenter__(self) -> TaskGroup:
        self._group = await anyio.create_task_group().__aenter__()
        return self._group

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup:
            if error is None:
                raise
            return False  # no task of ours raises, so the only member is what the block raised


class _Close:
    """Ends all lives, whatever the block ended with; raises what went wrong only when the block did well."""

    def __init__(self, house: House, world: World, tasks: TaskGroup) -> None:
        self._house = house
        self._world = world
        self._tasks = tasks

    async def __aenter__(self) -> None:
        """Nothing to do: it is pushed on the stack as an exit only."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed: list[Exception] = []
        with anyio.CancelScope(shield=True):
            failed = await self._house.close(at_once=error is not None)
            await self._world.close()
        self._tasks.cancel_scope.cancel()
        if error is None and failed:
            raise failed[0] if len(failed) == 1 else ExceptionGroup("droplets failed to stop", failed)
