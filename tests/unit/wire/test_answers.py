"""Union answers: canonical keys keep canonical values, the union's keys are there too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from udc.lifecycle import Status
from udc.models import Capabilities, Dependencies, DependencyInfo, Health, State
from udc.wire import answers

WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
ISO = "2025-01-02T03:04:05.000Z"


def health(status: Status = Status.ACTIVE) -> Health:
    return Health(
        id=14, name="Resizer", steward="media", status=status, endpoint="https://a", proof="00", updated_at=WHEN
    )


def test_health() -> None:
    assert answers.union_health(health(), version="1.2", uptime_seconds=7) == {
        "id": 14,
        "name": "Resizer",
        "steward": "media",
        "status": "active",
        "endpoint": "https://a",
        "proof": "00",
        "cost_usd": 0.0,
        "yield_usd": 0.0,
        "updated_at": ISO,
        "service": "Resizer",
        "version": "1.2",
        "timestamp": ISO,
        "uptime": 7,
        "uptime_seconds": 7,
        "ok": True,
        "udc_version": "1.0",
    }


@pytest.mark.parametrize(("status", "ok"), [(Status.ACTIVE, True), (Status.INACTIVE, True), (Status.ERROR, False)])
def test_inactive_is_not_dead(status: Status, ok: bool) -> None:
    assert answers.union_health(health(status), version="1", uptime_seconds=0)["ok"] is ok


def test_capabilities() -> None:
    told = answers.union_capabilities(
        Capabilities(version="1.2", features=("resize",), dependencies=("billing",), metadata={"commit_hash": "abc"}),
        service="Resizer",
        droplet_id=14,
        endpoints=[("POST", "/message", "Takes a message")],
    )
    assert told == {
        "version": "1.2",
        "features": ["resize"],
        "dependencies": ["billing"],
        "udc_version": "1.0",
        "metadata": {"commit_hash": "abc"},
        "actions": [],
        "fingerprint": "",
        "service": "Resizer",
        "service_name": "Resizer",
        "droplet_id": 14,
        "capabilities": ["resize"],
        "integration_endpoints": [{"path": "/message", "method": "POST", "description": "Takes a message"}],
    }


def test_state() -> None:
    state = State(
        cpu_percent=1.5,
        memory_mb=60,
        uptime_seconds=7,
        requests_total=9,
        requests_per_minute=3,
        errors_last_hour=0,
        last_restart=WHEN,
    )
    told = answers.union_state(
        state,
        status="active",
        current_load=0.25,
        average_response_time_ms=2.5,
        error_rate_percent=1.0,
        custom_metrics={"jobs": 1},
    )
    assert told == {
        "cpu_percent": 1.5,
        "memory_mb": 60,
        "uptime_seconds": 7,
        "requests_total": 9,
        "requests_per_minute": 3,
        "errors_last_hour": 0,
        "last_restart": ISO,
        "status": "active",
        "mode": "normal",
        "uptime": 7,
        "current_load": 0.25,
        "custom_metrics": {"jobs": 1},
        "metrics": {"requests_per_minute": 3, "average_response_time_ms": 2.5, "error_rate_percent": 1.0},
    }
    assert answers.union_state(state, status="active")["custom_metrics"] == {}


def test_dependencies() -> None:
    billing = DependencyInfo(id=4, name="billing", status="connected")
    memory = DependencyInfo(name="memory", status="unavailable")
    mail = DependencyInfo(id=7, name="mail", status="available")
    told = answers.union_dependencies(
        Dependencies(required=(billing,), optional=(memory, mail), missing=(memory,)), external_apis=["maps"]
    )
    rows = [
        {"id": 4, "name": "billing", "status": "connected"},
        {"id": None, "name": "memory", "status": "unavailable"},
    ]
    assert told == {
        "required": [rows[0]],
        "optional": [rows[1], {"id": 7, "name": "mail", "status": "available"}],
        "missing": [rows[1]],
        "required_services": ["billing"],
        "optional_services": ["memory", "mail"],
        "external_apis": ["maps"],
        "connected": ["billing", "mail"],
    }
