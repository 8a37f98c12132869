"""Works for an Orchestrator that pushes nothing: registers with it, beats, and fetches its tasks. A service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc._types import DropletId
from udc.clients.orchestrator import Report
from udc.clients.orchestrator_polled import PolledOrchestrator, WorkerRecord
from udc.clients.orchestrator_records import TaskRecord
from udc.errors import UdcError, UnknownInstance
from udc.instrument import Instrument, ReportFailed

_LOOK_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 10.0
_BASE_SECONDS: Final = 1.0
_CAP_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = 1.0
_JITTER: Final = 0.1


class Self(Protocol):
    """What the droplet tells of itself."""

    def record(self) -> WorkerRecord:
        """When it registers."""
        ...

    def report(self) -> Report:
        """When it beats."""
        ...

    def serving(self) -> bool:
        """Whether it takes work now."""
        ...


class TaskPoller:
    """One loop: not registered → register; a beat is due → beat; then fetch what is assigned.

    Args:
        find: the Orchestrator, if there is one; asks nobody.
        take: gives a task to the droplet; `None` = it has no tasks, and nothing is fetched.
        poll_seconds: from one look to the next, with 10 % jitter.
        beat_seconds: from one beat to the next, likewise.
    """

    name = "orchestrator-polling"

    def __init__(
        self,
        *,
        find: Callable[[], PolledOrchestrator | None],
        me: Self,
        droplet_id: DropletId,
        take: Callable[[TaskRecord], Awaitable[None]] | None,
        poll_seconds: float,
        beat_seconds: float,
        ambient: Ambient,
        instrument: Instrument,
    ) -> None:
        self._find = find
        self._me = me
        self._droplet_id = droplet_id
        self._take = take
        self._poll_seconds = poll_seconds if take is not None else beat_seconds
        self._beat_seconds = beat_seconds
        self._chance = ambient.chance
        self._instrument = instrument
        self._registered = False
        self._beat_at = 0.0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until cancelled."""
        task_status.started()
        failures = 0
        while True:
            orchestrator = self._find()
            if orchestrator is None or not self._me.serving():
                await anyio.sleep(self._jittered(min(_LOOK_SECONDS, self._poll_seconds)))
                continue
            try:
                await self._turn(orchestrator)
            except UnknownInstance:
                self._registered = False
                await anyio.sleep(self._chance() * _AGAIN_SECONDS)
            except (UdcError, TimeoutError) as error:
                failures += 1
                await anyio.sleep(self._failed(error, failures))
            else:
                failures = 0
                await anyio.sleep(self._jittered(self._poll_seconds))

    async def _turn(self, orchestrator: PolledOrchestrator) -> None:
        if not self._registered:
            with anyio.fail_after(_CALL_SECONDS):
                await orchestrator.register(self._me.record())
            self._registered, self._beat_at = True, anyio.current_time()
        if anyio.current_time() >= self._beat_at:
            with anyio.fail_after(_CALL_SECONDS):
                await orchestrator.beat(self._me.report())
            self._beat_at = anyio.current_time() + self._jittered(self._beat_seconds)
        if self._take is not None:
            for task in await orchestrator.assigned(self._droplet_id):
                await self._take(task)

    def _failed(self, error: Exception, failures: int) -> float:
        ceiling = min(_CAP_SECONDS, _BASE_SECONDS * float(2 ** min(failures - 1, 10)))
        pause = ceiling * (0.5 + self._chance() / 2)
        self._instrument.emit(ReportFailed(error=str(error) or "no answer in time", retry_in_seconds=pause))
        return pause

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + _JITTER * (2 * self._chance() - 1))
