"""Droplets that fetch their tasks by themselves: the other orchestrator style in the field (dialects)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import NotFound
from udc.mesh.orchestrator import bodies
from udc.mesh.orchestrator.bodies import Poller, Report
from udc.mesh.orchestrator.reports import Reports, caller_of
from udc.mesh.orchestrator.store import Store
from udc.models import read
from udc.surface._base import HttpRequest, HttpResponse

Answer: TypeAlias = dict[str, Any]  # Any: JSON values

BEAT_SECONDS: Final = 60.0
SILENT_SECONDS: Final = 90.0
"""After which one that polls counts as gone."""


@dataclass(slots=True)
class _Known:
    record: Answer
    heard: float


class Pollers:
    """Who polls, and their endpoints. Who they are is on the disk; when they were heard of is not.

    Args:
        on_change: told when somebody comes.
        clock: monotonic seconds.
    """

    def __init__(
        self, reports: Reports, *, ambient: Ambient, clock: Callable[[], float], on_change: Callable[[], None]
    ) -> None:
        self._reports, self._ambient, self._clock, self._on_change = reports, ambient, clock, on_change
        self._store: Store | None = None
        self._known: dict[DropletId, _Known] = {}

    async def open(self, store: Store) -> None:
        """Take up who polled; all count as heard of now."""
        self._store = store
        for droplet_id, record in await store.pollers():
            self._known[droplet_id] = _Known(from_json(record), self._clock())

    def alive(self, droplet_id: DropletId) -> bool:
        """Whether it was heard of in the last 90 s."""
        known = self._known.get(droplet_id)
        return known is not None and self._clock() - known.heard <= SILENT_SECONDS

    def active(self) -> Iterator[tuple[DropletId, Sequence[str]]]:
        """Those that are alive, and what each can do."""
        for droplet_id, known in self._known.items():
            if self.alive(droplet_id):
                yield droplet_id, known.record["capabilities"]

    def heard(self, droplet_id: DropletId) -> None:
        """It has just called: that is a sign of life."""
        known = self._known.get(droplet_id)
        if known is not None:
            known.heard = self._clock()

    async def register(self, request: HttpRequest) -> HttpResponse:
        """`POST /droplets/register`: register, or register again."""
        asked = read(Poller, bodies.fields_of(request))
        droplet_id = caller_of(request.caller, asked.droplet_id)
        record = {**asked.model_dump(), "droplet_id": droplet_id}
        if self._store is not None:
            await self._store.put_poller(droplet_id, to_json(record).decode())
        self._known[droplet_id] = _Known(record, self._clock())
        self._on_change()
        body = {"registered": True, **record, "status": "active", "next_heartbeat_deadline": self._due()}
        return HttpResponse(status=201, body=to_json(wrapped(body)))

    async def beat(self, request: HttpRequest) -> Answer:
        """`POST /droplets/{id}/heartbeat`.

        Raises:
            NotFound: it has not registered.
            Forbidden: it is somebody else's.
        """
        droplet_id = caller_of(request.caller, request.params["id"])
        report = read(Report, bodies.fields_of(request))
        if droplet_id not in self._known:
            raise NotFound(f"droplet {droplet_id} has not registered here", hint="POST /droplets/register first")
        self.heard(droplet_id)
        self._reports.note(droplet_id, report)
        self._on_change()
        return wrapped({"received": True, "next_heartbeat_deadline": self._due()})

    def _due(self) -> float:
        return self._ambient.wall() + BEAT_SECONDS


def wrapped(answer: Answer, payload: Answer | None = None) -> Answer:
    """The answer for readers of both styles: flat, and in the envelope that this one wraps its answers in.

    Args:
        payload: what lies in the envelope, where that is not the same.
    """
    return {**answer, "message_type": "response", "payload": answer if payload is None else payload}
