"""Sends the Dashboard every 10 s what this droplet measured (contract section 7). A service, and the hook it reads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient, iso_utc
from udc._types import DropletId
from udc.errors import DeliveryError, TokenError
from udc.instrument import Event, MessageHandled, SendFinished, Tally
from udc.stats import Stats

ACTION: Final = "metrics_update"

_EVERY_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 30.0
"""From one look for a Dashboard to the next, while there is none."""
_SEND_SECONDS: Final = 5.0
_PEERS: Final = 200
"""How many peers are told of in one message; the others together as `other`."""
_SAMPLES: Final = 500
"""How many durations of calls to one peer the percentile is taken of: the newest."""
_SPANS: Final = 50
_SAMPLED: Final = "0"
"""Traces whose id ends in this digit are shown: one in sixteen, and the same ones by every droplet."""
_OTHER: Final = "other"


@dataclass(slots=True)
class _Calls:
    count: int = 0
    errors: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))


class CallRecords:
    """What calls to peers took, since it was last read. A hook; idle until somebody wants to know.

    Attributes:
        wanted: there is a Dashboard to tell.
    """

    def __init__(self) -> None:
        self.wanted: bool = False
        self._calls: dict[DropletId, _Calls] = {}
        self._spans: list[dict[str, Any]] = []  # Any: JSON values

    def __call__(self, event: Event, /) -> None:
        """Note a call, or a message that was handled."""
        take = self.taker(type(event))
        if take is not None:
            take(event)

    def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:  # Any: an event of that kind
        """See `Choosy`."""
        if issubclass(kind, SendFinished):
            return self._sent
        return self._handled if issubclass(kind, MessageHandled) else None

    def tally(self, action: str, /) -> Tally | None:
        """See `Sparing`."""

        def handled(source: DropletId, seconds: float, trace_id: str, /) -> None:
            if self.wanted and trace_id.endswith(_SAMPLED):
                self._span(trace_id, "handled", "query", action, source, seconds, None)

        return handled

    def _sent(self, event: SendFinished) -> None:
        if self.wanted and event.action != ACTION:
            self._called(event)

    def _handled(self, event: MessageHandled) -> None:
        if self.wanted and event.trace_id.endswith(_SAMPLED):
            self._span(
                event.trace_id,
                "handled",
                event.message_type,
                event.action,
                event.source,
                event.seconds,
                event.error_code,
            )

    def take(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # Any: JSON values
        """The calls by peer, and sampled spans; begins anew."""
        calls, self._calls = self._calls, {}
        spans, self._spans = self._spans, []
        return [_row(peer, each) for peer, each in calls.items()], spans

    def _called(self, event: SendFinished) -> None:
        peer: DropletId = event.peer if event.peer_id is None else event.peer_id
        if peer not in self._calls and len(self._calls) >= _PEERS:
            peer = _OTHER
        calls = self._calls.setdefault(peer, _Calls())
        calls.count += 1
        calls.errors += event.error is not None
        calls.seconds.append(event.seconds)
        if event.trace_id.endswith(_SAMPLED):
            self._span(event.trace_id, "sent", event.message_type, event.action, peer, event.seconds, event.error)

    def _span(
        self,
        trace_id: str,
        kind: str,
        message_type: str,
        action: str | None,
        peer: object,
        seconds: float,
        error: str | None,
    ) -> None:
        if len(self._spans) < _SPANS:
            self._spans.append(
                {
                    "trace_id": trace_id,
                    "kind": kind,
                    "message_type": message_type,
                    "action": action,
                    "peer": peer,
                    "ms": _ms(seconds),
                    "error": error,
                }
            )


class Telemetry:
    """Sends one `metrics_update` after the other, while there is a Dashboard. One that is lost is not made up for.

    Args:
        find: whether there is a Dashboard; asks nobody.
        send: sends it the event's payload.
        droplet_id: who we are.
    """

    name = "telemetry"

    def __init__(
        self,
        *,
        find: Callable[[], object | None],
        send: Callable[[dict[str, Any]], Awaitable[object]],  # Any: JSON values
        droplet_id: DropletId,
        stats: Stats,
        calls: CallRecords,
        ambient: Ambient,
    ) -> None:
        self._find = find
        self._send = send
        self._droplet_id = droplet_id
        self._stats = stats
        self._calls = calls
        self._ambient = ambient

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Send until cancelled."""
        task_status.started()
        await anyio.sleep(self._ambient.chance() * _EVERY_SECONDS)  # so that those started together spread
        due = anyio.current_time()
        while True:
            before, self._calls.wanted = self._calls.wanted, self._find() is not None
            if self._calls.wanted:
                await self._try(self._payload())
            elif before:
                self._calls.take()
            due = max(due + (_EVERY_SECONDS if self._calls.wanted else _LOOK_SECONDS), anyio.current_time())
            await anyio.sleep_until(due)

    async def _try(self, payload: dict[str, Any]) -> None:  # Any: JSON values
        try:
            with anyio.fail_after(_SEND_SECONDS):
                await self._send(payload)
        except (DeliveryError, TokenError, TimeoutError):
            pass  # the messenger has told of it, and the next one says it better

    def _payload(self) -> dict[str, Any]:  # Any: JSON values
        stats = self._stats
        calls, spans = self._calls.take()
        metrics = {
            **stats.gauges,
            "requests_per_minute": int(stats.requests.total()),
            "average_response_time": stats.average_response_ms(),
            "error_rate": stats.error_rate_percent(),
        }
        data = {
            "droplet_id": self._droplet_id,
            "timestamp": iso_utc(self._ambient.now()),
            "metrics": metrics,
            "calls": calls,
            "spans": spans,
        }
        return {"type": ACTION, "data": data}


def _row(peer: DropletId, calls: _Calls) -> dict[str, Any]:  # Any: JSON values
    ranked = sorted(calls.seconds)
    p95 = ranked[max(0, math.ceil(0.95 * len(ranked)) - 1)]
    return {"peer": peer, "count": calls.count, "errors": calls.errors, "p95_ms": _ms(p95)}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
