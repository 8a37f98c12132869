"""What an operator looks at: `/metrics`, `/logs`, `/events`, `/proof`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from udc._types import DropletId
from udc.errors import InvalidRequest, NotFound
from udc.models import EventPage, LogPage, Proof
from udc.rings import EventRing, LogRing
from udc.stats import Stats
from udc.surface import prometheus_text
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface.facts import ProofBook

_MAX_ROWS: Final = 1000
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Observe:
    """The handlers of these endpoints."""

    def __init__(
        self,
        *,
        droplet_id: DropletId,
        stats: Stats,
        logs: LogRing,
        events: EventRing,
        proofs: ProofBook,
        in_flight: Callable[[], int],
        public_metrics: bool,
    ) -> None:
        self._id = droplet_id
        self._stats = stats
        self._logs = logs
        self._events = events
        self._proofs = proofs
        self._in_flight = in_flight
        self._public_metrics = public_metrics

    async def metrics(self, _: HttpRequest) -> HttpResponse:
        """All counts in Prometheus' text format."""
        text = prometheus_text.render(self._stats, in_flight=self._in_flight())
        return HttpResponse(body=text.encode(), media_type=prometheus_text.MEDIA_TYPE)

    async def logs(self, request: HttpRequest) -> dict[str, Any]:  # Any: JSON values
        """The last log lines, secrets masked."""
        level = _one(request, "level")
        if level is not None and level.upper() not in _LEVELS:
            raise InvalidRequest.field("level", f"must be one of {', '.join(_LEVELS)}")
        rows = self._logs.last(_limit(request, 100), level)
        return {"logs": rows, "total": self._logs.total, "droplet_id": self._id}

    async def events(self, request: HttpRequest) -> dict[str, Any]:  # Any: JSON values
        """The last events, secrets masked."""
        rows = self._events.last(_limit(request, 50), _one(request, "event_type"))
        return {"events": rows, "total": self._events.total, "droplet_id": self._id}

    async def proof(self, _: HttpRequest) -> object:
        """The last action that changed state, signed with the instance's key."""
        proof = self._proofs.proof()
        if proof is None:
            raise NotFound("nothing that changed state has been done yet")
        return proof

    def table(self) -> list[Endpoint]:
        """The rows of these endpoints."""
        metrics_access = "public" if self._public_metrics else "read"
        rows: list[tuple[str, Any, str, Any, Any]] = [  # Any: passed on
            ("/metrics", self.metrics, "Counts as Prometheus text", None, metrics_access),
            ("/logs", self.logs, "The last log lines", LogPage, "read"),
            ("/events", self.events, "The last events", EventPage, "read"),
            ("/proof", self.proof, "The last action that changed state, signed", Proof, "read"),
        ]
        return [
            Endpoint(
                method="GET",
                path=path,
                access=access,
                handler=handler,
                summary=summary,
                always=True,
                response_model=model,
            )
            for path, handler, summary, model, access in rows
        ]


def _one(request: HttpRequest, name: str) -> str | None:
    values = request.query.get(name)
    return values[-1] if values else None


def _limit(request: HttpRequest, default: int) -> int:
    text = _one(request, "limit")
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MAX_ROWS or len(text) > 9:
        raise InvalidRequest.field("limit", f"must be a whole number from 1 to {_MAX_ROWS}")
    return int(text)
