"""How a droplet describes itself: `/health`, `/capabilities`, `/state`, `/dependencies`, `/version`, the probes.

None of them does I/O: what is measured is measured in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from udc._ids import Ambient
from udc.clients._base import Presence
from udc.lifecycle import SERVING, Lifecycle, Phase, Status, status_of
from udc.models import (
    ActionInfo,
    Capabilities,
    Dependencies,
    Health,
    Live,
    Ready,
    State,
    VersionInfo,
)
from udc.stats import Stats
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface.facts import Facts, ProofBook
from udc.wire.answers import union_capabilities, union_dependencies, union_health, union_state
from udc.wire.canonical import canonical_json, sha256_hex


class Describe:
    """The handlers of these endpoints.

    Args:
        actions: the rows of `/capabilities`, complete before the first request.
        rows: method, path and summary of every endpoint.
        measured: the dependencies as last measured.
        services_down: names of the background services that have crashed.
        load: share of the in-flight limit in use, 0 to 1.
        presence: how it stands with its Registry.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        lifecycle: Lifecycle,
        stats: Stats,
        proofs: ProofBook,
        ambient: Ambient,
        actions: Callable[[], Sequence[Mapping[str, Any]]],  # Any: JSON values
        rows: Callable[[], Sequence[Endpoint]],
        measured: Callable[[], Dependencies],
        services_down: Callable[[], tuple[str, ...]],
        load: Callable[[], float],
        presence: Callable[[], Presence],
    ) -> None:
        self._facts = facts
        self._lifecycle = lifecycle
        self._stats = stats
        self._proofs = proofs
        self._ambient = ambient
        self._actions = actions
        self._rows = rows
        self._measured = measured
        self._services_down = services_down
        self._load = load
        self._presence = presence
        self._capabilities: bytes | None = None

    @property
    def status(self) -> Status:
        """The contract's status word, now."""
        return status_of(self._lifecycle.phase, services_healthy=not self._services_down())

    async def health(self, _: HttpRequest) -> Mapping[str, Any]:  # Any: JSON values
        """Whether it works; public, always 200."""
        facts = self._facts
        model = Health(
            id=facts.id,
            name=facts.name,
            steward=facts.steward,
            status=self.status,
            endpoint=facts.endpoint,
            proof=self._proofs.digest(),
            cost_usd=self._stats.cost_usd,
            yield_usd=self._stats.yield_usd,
            updated_at=self._ambient.now(),
        )
        return union_health(model, version=facts.version, uptime_seconds=self._stats.uptime_seconds())

    async def livez(self, _: HttpRequest) -> Live:
        """Who answers lives."""
        return Live(instance_id=self._facts.instance_id)

    async def readyz(self, _: HttpRequest) -> HttpResponse:
        """Whether new work is taken."""
        phase = self._lifecycle.phase
        down = tuple(f"service {name} is down" for name in self._services_down())
        reasons = down if phase in SERVING else (f"phase is {phase}", *down)
        ready = phase in (Phase.READY, Phase.DEGRADED)
        body = Ready(ready=ready, phase=phase, presence=self._presence(), reasons=reasons)
        return HttpResponse(status=200 if ready else 503, body=to_json(body))

    async def capabilities(self, _: HttpRequest) -> HttpResponse:
        """What it can do; the same bytes as long as it runs."""
        if self._capabilities is None:
            self._capabilities = to_json(self._describe_capabilities())
        return HttpResponse(body=self._capabilities)

    @property
    def fingerprint(self) -> str:
        """The sha256 of what it can do, as `/capabilities` tells it."""
        return sha256_hex(canonical_json([action.model_dump(mode="json") for action in self._action_infos()]))

    def _action_infos(self) -> tuple[ActionInfo, ...]:
        return tuple(ActionInfo.model_validate(row) for row in self._actions())

    def _describe_capabilities(self) -> Mapping[str, Any]:  # Any: JSON values
        facts = self._facts
        model = Capabilities(
            version=facts.version,
            features=facts.capabilities,
            dependencies=tuple(str(each) for each in facts.needs),
            metadata=dict(facts.metadata),
            actions=self._action_infos(),
            fingerprint=self.fingerprint,
        )
        rows = [(row.method, row.path, row.summary) for row in self._rows()]
        return union_capabilities(model, service=facts.name, droplet_id=facts.id, endpoints=rows)

    async def state(self, _: HttpRequest) -> Mapping[str, Any]:  # Any: JSON values
        """What it uses and has done, from real windows."""
        stats = self._stats
        model = State(
            cpu_percent=stats.cpu_percent,
            memory_mb=stats.memory_mb,
            uptime_seconds=stats.uptime_seconds(),
            requests_total=stats.requests_total,
            requests_per_minute=int(stats.requests.total()),
            errors_last_hour=int(stats.errors_hour.total()),
            last_restart=datetime.fromtimestamp(self._facts.started_at, UTC),
        )
        return union_state(
            model,
            status=self.status,
            current_load=self._load(),
            average_response_time_ms=stats.average_response_ms(),
            error_rate_percent=stats.error_rate_percent(),
            custom_metrics={**stats.counters, **stats.gauges},
        )

    async def dependencies(self, _: HttpRequest) -> Mapping[str, Any]:  # Any: JSON values
        """Whom it needs and wants, as last measured."""
        return union_dependencies(self._measured())

    async def version(self, _: HttpRequest) -> VersionInfo:
        """What was built, and where it runs."""
        facts = self._facts
        known = {name: facts.metadata.get(name, "") for name in ("build_date", "commit_hash", "deployed_by")}
        return VersionInfo(version=facts.version, environment=facts.environment, **known)

    def table(self) -> list[Endpoint]:
        """The rows of these endpoints."""
        return [
            _row("/health", self.health, "Whether the droplet works", Health, access="public"),
            _row("/livez", self.livez, "Liveness probe", Live, access="public"),
            _row("/readyz", self.readyz, "Readiness probe", Ready, access="public"),
            _row("/capabilities", self.capabilities, "What the droplet can do", Capabilities),
            _row("/state", self.state, "What the droplet uses and has done", State),
            _row("/dependencies", self.dependencies, "Whom the droplet needs and wants", Dependencies),
            _row("/version", self.version, "What was built, and where it runs", VersionInfo),
        ]


def _row(path: str, handler: Any, summary: str, model: Any, access: Any = "read") -> Endpoint:  # Any: passed on
    return Endpoint(
        method="GET", path=path, access=access, handler=handler, summary=summary, always=True, response_model=model
    )
