"""Puts together what works for an Orchestrator of the v2 style, which is asked for tasks instead of giving them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from udc._frozen import dataclass
from udc._wiring.reporting import peer_http, report_of
from udc.clients.orchestrator import Report
from udc.clients.orchestrator_polled import PolledOrchestrator, WorkerRecord
from udc.lifecycle import SERVING
from udc.services.polling import TaskPoller
from udc.tasks.fetched import Fetched, PatchTeller
from udc.tasks.reports import Tell

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


def teller(parts: Composition) -> Tell:
    """What tells the Orchestrator of tasks."""
    return PatchTeller(_find_polled(parts))


@dataclass(frozen=True, slots=True)
class _Me:
    parts: Composition

    def record(self) -> WorkerRecord:
        facts = self.parts.facts
        return WorkerRecord(
            droplet_id=facts.id,
            name=facts.name,
            steward=facts.steward,
            endpoint=facts.endpoint,
            capabilities=tuple(facts.capabilities),
        )

    def report(self) -> Report:
        return report_of(self.parts)

    def serving(self) -> bool:
        return self.parts.lifecycle.phase in SERVING


def poller(parts: Composition) -> TaskPoller:
    """The service that fetches tasks."""
    config = parts.settings.config.orchestrator
    fetched = Fetched(desk=parts.desk, tell=parts.teller, orchestrator=config.id, ambient=parts.aside)
    return TaskPoller(
        find=_find_polled(parts),
        me=_Me(parts),
        droplet_id=parts.facts.id,
        take=fetched.take if parts.table.known("task") else None,
        poll_seconds=config.poll_interval,
        beat_seconds=config.report_interval,
        ambient=parts.aside,
        instrument=parts.instrument,
    )


def _find_polled(parts: Composition) -> Callable[[], PolledOrchestrator | None]:
    config = parts.settings.config.orchestrator
    http = peer_http(parts)

    def find() -> PolledOrchestrator | None:
        peer = parts.directory.seen(config.id)
        if peer is None:
            return None
        without = config.without_audience or peer.without_audience
        return PolledOrchestrator(http, replace(peer, without_audience=without), ambient=parts.aside)

    return find
