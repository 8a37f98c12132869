"""Puts together what the droplet tells of itself and of others: to the Orchestrator, and to the Dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from udc._types import DropletId, JsonObject
from udc._wiring.work import tell_orchestrator
from udc.clients.peer_http import PeerHttp
from udc.context import Lineage, Order
from udc.messages import MessageType, Peer
from udc.services import Service
from udc.services.state_reports import StateReports
from udc.services.telemetry import Telemetry
from udc.services.unreachable import UnreachableNotices
from udc.tasks.reports import Tell
from udc.transports._exchange import audiences

if TYPE_CHECKING:
    from udc._wiring.compose import Composition
    from udc.clients.orchestrator import Report

_SEND_SECONDS: Final = 5.0


def make_notices(parts: Composition) -> UnreachableNotices:
    """What tells the Orchestrator of peers that cannot be reached."""
    config = parts.settings.config
    orchestrator = config.orchestrator.id

    async def send(target: DropletId) -> None:
        # The other style has no word for it.
        if config.orchestrator.style == "contract" and parts.directory.seen(orchestrator) is not None:
            await _tell(parts, orchestrator, {"type": "droplet_unreachable", "target_id": target})

    return UnreachableNotices(send=send, never=frozenset({config.registry.id, orchestrator, parts.facts.id}))


def services(parts: Composition) -> list[Service]:
    """The services that report.

    The Orchestrator reports to nobody, the Dashboard sends itself nothing, and the Registry calls no droplet at all.
    """
    config = parts.settings.config
    if parts.facts.id == config.registry.id:
        return []
    found: list[Service] = []
    if parts.facts.id != config.orchestrator.id:
        found.append(parts.unreachable)
        if config.orchestrator.style == "v2":
            from udc._wiring import polled

            found.append(polled.poller(parts))
        elif config.orchestrator.report_state:
            found.append(_reports(parts))
    if parts.facts.id != config.dashboard.id:
        found.append(_telemetry(parts))
    return found


def peer_http(parts: Composition) -> PeerHttp:
    """Requests to peers' own endpoints."""
    security = parts.settings.config.security
    return PeerHttp(
        parts.client,
        parts.tokens,
        audience_of=audiences(security.jwt_audience),
        insecure_hosts=frozenset(security.insecure_hosts),
    )


def report_of(parts: Composition) -> Report:
    """How the droplet does now."""
    from udc.clients.orchestrator import Report

    stats = parts.stats
    return Report(
        droplet_id=parts.facts.id,
        status=str(parts.describe.status),
        timestamp=parts.ambient.now(),
        cpu_percent=stats.cpu_percent,
        memory_mb=stats.memory_mb,
        requests_last_minute=int(stats.requests.total()),
        errors_last_minute=int(stats.errors_minute.total()),
    )


def _reports(parts: Composition) -> StateReports:
    config = parts.settings.config.orchestrator
    http = peer_http(parts)

    async def send(peer: Peer, report: Report) -> None:
        from udc.clients.orchestrator import OrchestratorClient

        await OrchestratorClient(http, peer, ambient=parts.aside).report(report)

    return StateReports(
        find=lambda: parts.directory.seen(config.id),
        send=send,
        report=lambda: report_of(parts),
        interval_seconds=config.report_interval,
        ambient=parts.aside,
        instrument=parts.instrument,
    )


def teller(parts: Composition) -> Tell:
    """What tells the Orchestrator of tasks, in its style."""
    config = parts.settings.config.orchestrator
    if config.style == "v2":
        from udc._wiring import polled

        return polled.teller(parts)
    return tell_orchestrator(parts.messenger, config.id)


def _telemetry(parts: Composition) -> Telemetry:
    dashboard = parts.settings.config.dashboard.id

    async def send(payload: dict[str, Any]) -> None:  # Any: JSON values
        await _tell(parts, dashboard, payload)

    return Telemetry(
        find=lambda: parts.directory.seen(dashboard),
        send=send,
        droplet_id=parts.facts.id,
        stats=parts.stats,
        calls=parts.calls,
        ambient=parts.aside,
    )


async def _tell(parts: Composition, target: DropletId, payload: JsonObject) -> None:
    """One event, tried once, in a trace of its own."""
    await parts.messenger.send(
        Order(
            target=target,
            message_type=MessageType.EVENT,
            payload=payload,
            lineage=Lineage(trace_id=parts.aside.new_id()),
            message_id=parts.aside.new_id(),
            timeout_seconds=_SEND_SECONDS,
            retries=0,
        )
    )
