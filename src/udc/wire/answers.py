"""Union answers: what endpoints of contract section 2 say, plus the keys that foreign readers look for.

Given to every caller, always. Canonical names keep canonical values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from udc._types import DropletId, JsonObject
from udc.lifecycle import Status
from udc.models import Capabilities, Dependencies, Health, State
from udc.wire.envelope import UDC_VERSION

_CONNECTED = frozenset({"connected", "available"})


def union_health(model: Health, *, version: str, uptime_seconds: int) -> JsonObject:
    """/health + `service`, `version`, `timestamp`, `uptime`, `uptime_seconds`, `ok`, `udc_version`.

    `ok` is false only for status `error`: inactive means up, not dead.
    """
    told = model.model_dump(mode="json")
    return {
        "service": model.name,
        "version": version,
        "timestamp": told["updated_at"],
        "uptime": uptime_seconds,
        "uptime_seconds": uptime_seconds,
        "ok": model.status is not Status.ERROR,
        "udc_version": UDC_VERSION,
        **told,
    }


def union_capabilities(
    model: Capabilities,
    *,
    service: str,
    droplet_id: DropletId,
    endpoints: Iterable[tuple[str, str, str]] = (),
) -> JsonObject:
    """/capabilities + `service`, `service_name`, `droplet_id`, `capabilities`, `integration_endpoints`.

    Args:
        endpoints: method, path and description of each.
    """
    told = model.model_dump(mode="json")
    return {
        "service": service,
        "service_name": service,
        "droplet_id": droplet_id,
        "capabilities": told["features"],
        "integration_endpoints": [
            {"path": path, "method": method, "description": description} for method, path, description in endpoints
        ],
        **told,
    }


def union_state(
    model: State,
    *,
    status: str,
    mode: str = "normal",
    current_load: float = 0.0,
    average_response_time_ms: float = 0.0,
    error_rate_percent: float = 0.0,
    custom_metrics: Mapping[str, Any] | None = None,  # Any: JSON values
) -> JsonObject:
    """/state + `status`, `mode`, `uptime`, `current_load`, `custom_metrics`, `metrics`.

    Args:
        current_load: share of the in-flight limit in use, 0 to 1.
    """
    told = model.model_dump(mode="json")
    return {
        "status": status,
        "mode": mode,
        "uptime": model.uptime_seconds,
        "current_load": current_load,
        "custom_metrics": dict(custom_metrics or {}),
        "metrics": {
            "requests_per_minute": model.requests_per_minute,
            "average_response_time_ms": average_response_time_ms,
            "error_rate_percent": error_rate_percent,
        },
        **told,
    }


def union_dependencies(model: Dependencies, *, external_apis: Sequence[str] = ()) -> JsonObject:
    """/dependencies + `required_services`, `optional_services`, `external_apis`, `connected` (names, each of them)."""
    told = model.model_dump(mode="json")
    return {
        "required_services": [each.name for each in model.required],
        "optional_services": [each.name for each in model.optional],
        "external_apis": list(external_apis),
        "connected": [each.name for each in (*model.required, *model.optional) if each.status in _CONNECTED],
        **told,
    }
