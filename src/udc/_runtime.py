"""A droplet's life: start, serve, drain, stop. Owns the phases and the one task group of a running droplet."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import field
from typing import Any, Final, TypeAlias

import anyio
from anyio.abc import TaskGroup, TaskStatus

from udc._frozen import dataclass
from udc._ids import Ambient
from udc.context import current_context
from udc.errors import LifecycleError
from udc.instrument import Instrument, PhaseChanged
from udc.lifecycle import SERVING, Lifecycle, Phase
from udc.rings import current_droplet
from udc.services import Service
from udc.services.supervisor import Supervisor

_log = logging.getLogger("udc.runtime")

_CUT_SECONDS: Final = 10.0
"""How long work that is given up may take to notice."""

_LEAVE_SECONDS: Final = 5.0
"""How long taking leave of the mesh may take, whatever limit it has of its own."""

_MIN_STOP_SECONDS: Final = 5.0
"""What stop hooks and closing may take at least, however short the grace for work in flight."""

Hook: TypeAlias = Callable[[], Awaitable[object]]
"""A start or stop hook bound to its droplet and context."""

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]
"""Opens something that is closed when the droplet stops."""


async def _stay() -> None:
    """Leave nothing, having joined nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a runtime starts and stops, in the order of its start.

    Attributes:
        resources: clients and transports; closed last.
        lifespan: the droplet's own `lifespan`.
        on_start, on_stop: its hooks; the stop hooks run in reverse, and only when all start hooks succeeded.
        services: run beside the requests until the end.
        drain: waits until no work is in flight; cancelled at the end of the grace.
        cut: gives up the work that the grace was too short for, before it first waits, and returns when
            that is done.
        grace_seconds: asked at the stop, so that a reload takes effect.
    """

    lifespan: Opener
    drain: Hook
    cut: Hook
    grace_seconds: Callable[[], float]
    leave: Hook = _stay
    resources: Sequence[Opener] = ()
    on_start: Sequence[Hook] = ()
    on_stop: Sequence[Hook] = ()
    services: Sequence[Service] = field(default_factory=tuple)


class Runtime:
    """Runs one droplet once, in one task (`serve`). Other tasks ask it to stop or lend it background work."""

    def __init__(
        self, plan: Plan, *, lifecycle: Lifecycle, instance_id: str, instrument: Instrument, ambient: Ambient
    ) -> None:
        self._plan = plan
        self._lifecycle = lifecycle
        self._instance_id = instance_id
        self._instrument = instrument
        self._supervisor = Supervisor(ambient=ambient, instrument=instrument, on_change=self._services_changed)
        self._stop = anyio.Event()
        self._at_once = anyio.Event()
        self._over = anyio.Event()
        self._tasks: TaskGroup | None = None

    @property
    def services_down(self) -> tuple[str, ...]:
        """The background services that have crashed and are not back yet."""
        return self._supervisor.down

    @property
    def longest_stop_seconds(self) -> float:
        """How long a stop may take when everything of it takes as long as it may."""
        grace = self._plan.grace_seconds()
        return grace + _CUT_SECONDS + _LEAVE_SECONDS + max(grace, _MIN_STOP_SECONDS)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, object]], *, name: str) -> None:
        """Run `work` in the background, as long as the droplet runs. What it raises is logged.

        Raises:
            LifecycleError: the droplet is not running.
        """
        if self._tasks is None:
            raise LifecycleError("background work needs a running droplet")
        self._tasks.start_soon(_harmless, work, name, name=name)

    def request_stop(self, *, at_once: bool = False) -> None:
        """Ask for the graceful end; `at_once` leaves the grace out. May be called any number of times."""
        self._stop.set()
        if at_once:
            self._at_once.set()

    async def until_stopping(self) -> None:
        """Return when it has been asked to stop."""
        await self._stop.wait()

    async def over(self) -> None:
        """Returns once the work in flight has been drained or given up, before anything is closed."""
        await self._over.wait()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Start, report `started()` when ready, run until asked to stop, drain, stop.

        On cancel it stops too, without the grace for work in flight.

        Raises:
            Exception: what a start hook raised; or an `ExceptionGroup` of what stop hooks raised.
        """
        current_droplet.set(self._instance_id)
        around = current_context.set(None)  # started within another's handler: what runs here is not that handler's
        errors: list[Exception] = []
        self._advance(Phase.INITIALIZING)
        # The scope is opened before anything of the droplet's, because scopes must close in reverse order;
        # it becomes the shield under which everything is stopped.
        life = anyio.CancelScope()
        try:
            with life:
                await self._live(life, errors, task_status)
        finally:
            self._tasks = None
            if life.cancelled_caught:
                errors.append(TimeoutError("the stop hooks took longer than they may and were given up"))
            orderly = self._lifecycle.phase is Phase.STOPPING and not errors
            self._advance(Phase.STOPPED if orderly else Phase.FAILED)
            current_context.reset(around)
        if errors:
            raise ExceptionGroup("the droplet stopped, but parts of its stopping failed", errors)

    async def _live(self, life: anyio.CancelScope, errors: list[Exception], task_status: TaskStatus[None]) -> None:
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._start(stack, errors)
                except BaseException:
                    self._shield(life)  # what has been opened gets closed, also when the start is cancelled
                    raise
                await self._serve(life, errors, task_status)
        except Exception:
            self._advance(Phase.FAILED)
            raise

    async def _start(self, stack: AsyncExitStack, errors: list[Exception]) -> None:
        for opener in (*self._plan.resources, self._plan.lifespan):
            await stack.enter_async_context(_closing_collected(opener(), errors))
        for hook in self._plan.on_start:
            await hook()
        for hook in self._plan.on_stop:  # the stack runs them in reverse
            stack.push_async_callback(_run_collected, hook, errors)
        self._advance(Phase.STARTING)

    async def _serve(self, life: anyio.CancelScope, errors: list[Exception], task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as self._tasks:
            try:
                for service in self._plan.services:
                    await self._tasks.start(self._supervisor.run, service, name=service.name)
                self._advance(Phase.DEGRADED if self._supervisor.down else Phase.READY)
                task_status.started()
                await self._stop.wait()
            finally:
                life.shield = True
                with anyio.CancelScope(shield=True):
                    await self._wind_down(errors)
                self._over.set()
                self._shield(life)
                self._tasks.cancel_scope.cancel()

    def _shield(self, life: anyio.CancelScope) -> None:
        """From here on only time ends what is done to stop."""
        life.shield = True
        life.deadline = anyio.current_time() + max(self._plan.grace_seconds(), _MIN_STOP_SECONDS)

    async def _wind_down(self, errors: list[Exception]) -> None:
        """Drain within the grace, give up what is left, leave the mesh; one that fails keeps none of the others."""
        self._advance(Phase.STOPPING)
        grace = self._plan.grace_seconds() if self._stop.is_set() else 0.0
        for hook, seconds in (
            (self._plan.drain, grace),
            (self._plan.cut, _CUT_SECONDS),
            (self._plan.leave, _LEAVE_SECONDS),
        ):
            await self._unless_at_once(hook, seconds, errors)

    async def _unless_at_once(self, hook: Hook, seconds: float, errors: list[Exception]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.deadline = anyio.current_time() + seconds
            tasks.start_soon(self._skip, tasks.cancel_scope)
            await _run_collected(hook, errors)
            tasks.cancel_scope.cancel()

    async def _skip(self, scope: anyio.CancelScope) -> None:
        await self._at_once.wait()
        scope.cancel()

    def _advance(self, to: Phase, reason: str = "") -> None:
        before = self._lifecycle.phase
        if self._lifecycle.advance(to):
            self._instrument.emit(PhaseChanged(before=before, after=to, reason=reason))

    def _services_changed(self) -> None:
        if self._lifecycle.phase in SERVING:
            down = self._supervisor.down
            self._advance(Phase.DEGRADED if down else Phase.READY, f"down: {', '.join(down)}" if down else "")


@asynccontextmanager
async def _closing_collected(
    opened: AbstractAsyncContextManager[object], errors: list[Exception]
) -> AsyncGenerator[None]:
    """Open it; what its closing raises at an orderly end is collected, so that the rest still gets closed."""
    await opened.__aenter__()
    try:
        yield
    except BaseException as exc:
        await opened.__aexit__(type(exc), exc, exc.__traceback__)
        raise
    await _run_collected(lambda: opened.__aexit__(None, None, None), errors)


async def _harmless(work: Callable[[], Coroutine[Any, Any, object]], name: str) -> None:
    try:
        await work()
    except Exception:  # noqa: BLE001 - a border: one piece of background work must not end the droplet
        _log.exception("background work failed", extra={"work": name})


async def _run_collected(hook: Hook, errors: list[Exception]) -> None:
    try:
        await hook()
    except Exception as error:  # noqa: BLE001 - the border of stop hooks: collected, none skips the others
        _log.exception("a part of the stop failed")
        errors.append(error)
