"""Tells the Orchestrator every minute how this droplet does (contract section 7). A service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc.errors import DeliveryError, TokenError
from udc.instrument import Instrument, ReportFailed
from udc.messages import Peer

if TYPE_CHECKING:
    from udc.clients.orchestrator import Report

_JITTER: Final = 0.1
_FIRST_SECONDS: Final = 5.0
"""The first one comes within this time after the start, so that those started together do not come together."""
_BASE_SECONDS: Final = 5.0
_SEND_SECONDS: Final = 10.0


class StateReports:
    """Sends one report after the other. Without an Orchestrator it stays quiet, and looks for one each time.

    Args:
        find: the Orchestrator, if there is one; asks nobody.
        send: sends a report to it.
        report: what there is to tell now.
        interval_seconds: from one to the next, with 10 % jitter; the longest wait after failures too.
    """

    name = "orchestrator-reports"

    def __init__(
        self,
        *,
        find: Callable[[], Peer | None],
        send: Callable[[Peer, Report], Awaitable[object]],
        report: Callable[[], Report],
        interval_seconds: float,
        ambient: Ambient,
        instrument: Instrument,
    ) -> None:
        self._find = find
        self._send = send
        self._report = report
        self._interval = interval_seconds
        self._chance = ambient.chance
        self._instrument = instrument

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Report until cancelled."""
        task_status.started()
        failures = 0
        await anyio.sleep(self._chance() * min(_FIRST_SECONDS, self._interval))
        while True:
            peer = self._find()
            error = None if peer is None else await self._try(peer)
            failures = 0 if error is None else failures + 1
            pause = self._pause(failures, looking=peer is None)
            if error is not None:
                self._instrument.emit(ReportFailed(error=error, retry_in_seconds=pause))
            await anyio.sleep(pause)

    async def _try(self, peer: Peer) -> str | None:
        """Send one; returns how it failed. One that fails is not made up for: the next one says it better."""
        try:
            with anyio.fail_after(_SEND_SECONDS):
                await self._send(peer, self._report())
        except (DeliveryError, TokenError) as error:
            return str(error)
        except TimeoutError:
            return f"{peer.label} did not answer within {_SEND_SECONDS:g} s"
        return None

    def _pause(self, failures: int, *, looking: bool) -> float:
        if not failures:
            # Looking costs nothing, and who has just met its Orchestrator should not be unknown for a minute.
            whole = min(_FIRST_SECONDS, self._interval) if looking else self._interval
            return whole * (1 + _JITTER * (2 * self._chance() - 1))
        ceiling = min(self._interval, _BASE_SECONDS * float(2 ** min(failures - 1, 10)))
        return ceiling * (0.5 + self._chance() / 2)
