"""What an operator looks at: `/metrics`, `/logs`, `/events`, `/proof`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from udc._types import DropletId
from udc.errors import NotFound
from udc.models import EventPage, LogPage, Proof
from udc.rings import EventRing, LogRing
from udc.stats import Stats
from udc.surface import prometheus_text
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface._query import QueryParameter
from udc.surface.facts import ProofBook

_Limit = Annotated[int, Field(ge=1, le=1000)]
_Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]

_LOGS: Final = QueryParameter("limit", _Limit, default=100, description="How many lines, at the most.")
_LEVEL: Final = QueryParameter("level", _Level, description="Only lines of this level or above.")
_EVENTS: Final = QueryParameter("limit", _Limit, default=50, description="How many events, at the most.")
_EVENT_TYPE: Final = QueryParameter("event_type", description="Only events of this type.")


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
        query = request.query
        rows = self._logs.last(_LOGS.read(query), _LEVEL.read(query))
        return {"logs": rows, "total": self._logs.total, "droplet_id": self._id}

    async def events(self, request: HttpRequest) -> dict[str, Any]:  # Any: JSON values
        """The last events, secrets masked."""
        query = request.query
        rows = self._events.last(_EVENTS.read(query), _EVENT_TYPE.read(query))
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
        rows: list[tuple[str, Any, str, Any, Any, tuple[QueryParameter, ...]]] = [  # Any: passed on
            ("/metrics", self.metrics, "Counts as Prometheus text", None, metrics_access, ()),
            ("/logs", self.logs, "The last log lines", LogPage, "read", (_LOGS, _LEVEL)),
            ("/events", self.events, "The last events", EventPage, "read", (_EVENTS, _EVENT_TYPE)),
            ("/proof", self.proof, "The last action that changed state, signed", Proof, "read", ()),
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
                query=query,
            )
            for path, handler, summary, model, access, query in rows
        ]
