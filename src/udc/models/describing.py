"""How a droplet describes itself: health, capabilities, state, dependencies, version, probes (contract section 2)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from udc._types import DropletId
from udc.lifecycle import Status
from udc.models._fields import Body, Id, Int, Number, Time


class Health(Body):
    """Answer of `GET /health`."""

    id: Id = Field(description="The droplet's id.")
    name: str = Field(description="The droplet's name.")
    steward: str = Field(description="Who answers for the droplet.")
    status: Status = Field(description="active, inactive (up, but idle or not yet serving) or error.")
    endpoint: str = Field(description="Public base URL.")
    proof: str = Field(description="SHA-256 (hex) of the canonical body of /proof.")
    cost_usd: Number = Field(default=0.0, description="What the droplet's code has booked as cost, in US dollars.")
    yield_usd: Number = Field(default=0.0, description="What the droplet's code has booked as yield, in US dollars.")
    updated_at: Time = Field(description="When this was told.")


class ActionInfo(Body):
    """One action a droplet takes."""

    name: str = Field(description="The action's name.")
    message_type: str = Field(description="status, event, command, query, or task.")
    description: str = Field(default="", description="The first line of the handler's documentation.")
    input_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the data.")  # Any: JSON
    output_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the answer.")  # Any: JSON
    idempotent: bool = Field(default=False, description="Whether doing it twice is the same as once.")
    scope: str | None = Field(default=None, description="The scope the caller's token must have.")


class Capabilities(Body):
    """Answer of `GET /capabilities`."""

    version: str = Field(description="The droplet's version.")
    features: tuple[str, ...] = Field(default=(), description="What it can do.")
    dependencies: tuple[str, ...] = Field(default=(), description="Whom it needs.")
    udc_version: str = Field(default="1.0", description="The contract's version.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="build_date, commit_hash, …")  # Any: JSON
    actions: tuple[ActionInfo, ...] = Field(default=(), description="The actions it takes.")
    fingerprint: str = Field(default="", description="SHA-256 (hex) of the canonical JSON of `actions`.")


class State(Body):
    """Answer of `GET /state`: real sliding windows, nothing measured inside the request."""

    cpu_percent: Number = Field(description="Processor use of the process.")
    memory_mb: Int = Field(description="Resident memory of the process, in MiB.")
    uptime_seconds: Int = Field(description="Since the process began.")
    requests_total: Int = Field(description="Every answered request.")
    requests_per_minute: Int = Field(description="Of the last 60 seconds.")
    errors_last_hour: Int = Field(description="Of the last 3,600 seconds.")
    last_restart: Time = Field(description="When the process began.")


class DependencyInfo(Body):
    """One droplet that this one needs or wants."""

    id: DropletId | None = Field(default=None, description="Its id, when known.")
    name: str = Field(description="Its name.")
    status: Literal["connected", "disconnected", "available", "unavailable"] = Field(description="As measured.")


class Dependencies(Body):
    """Answer of `GET /dependencies`."""

    required: tuple[DependencyInfo, ...] = Field(default=(), description="Whom it needs.")
    optional: tuple[DependencyInfo, ...] = Field(default=(), description="Whom it wants.")
    missing: tuple[DependencyInfo, ...] = Field(default=(), description="Those that cannot be reached now.")


class VersionInfo(Body):
    """Answer of `GET /version`."""

    version: str = Field(description="The droplet's version.")
    build_date: str = Field(default="", description="When it was built.")
    commit_hash: str = Field(default="", description="What it was built from.")
    environment: str = Field(default="", description="Where it runs: production, staging, …")
    deployed_by: str = Field(default="", description="Who deployed it.")


class Live(Body):
    """Answer of `GET /livez`."""

    ok: bool = Field(default=True, description="Always true: who can answer lives.")
    instance_id: str = Field(description="Fresh at each start of the process.")


class Ready(Body):
    """Answer of `GET /readyz`: 200 when ready, else 503."""

    ready: bool = Field(description="Whether new work is taken.")
    phase: str = Field(description="Where the droplet stands in its life.")
    presence: Literal["unregistered", "registered", "lost"] = Field(description="How it stands with the Registry.")
    reasons: tuple[str, ...] = Field(default=(), description="Why it is not ready.")
