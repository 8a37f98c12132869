"""The other orchestrator style, call by call."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import virtual_time
from tests.unit.clients.kit import AMBIENT, URL, Desk, Fixed
from udc._http import HttpClient
from udc._http.memory import FunctionTransport
from udc.clients.orchestrator import Report
from udc.clients.orchestrator_polled import PolledOrchestrator, WorkerRecord, outcome
from udc.clients.peer_http import PeerHttp
from udc.errors import PeerError, UnknownInstance
from udc.identity.tokens import TokenKeeper
from udc.instrument import Instrument
from udc.messages import Peer
from udc.transports.http import audiences

pytestmark = virtual_time

RECORD = WorkerRecord(droplet_id=60, name="W", steward="s", endpoint="http://w", capabilities=("count",))
REPORT = Report(
    droplet_id=60,
    status="active",
    timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    cpu_percent=1.0,
    memory_mb=2,
    requests_last_minute=3,
    errors_last_minute=4,
)
BEAT = "POST /droplets/60/heartbeat"


@asynccontextmanager
async def calling(desk: Desk, *, without_audience: bool = True) -> AsyncGenerator[tuple[PolledOrchestrator, Fixed]]:
    async with HttpClient(transport_factory=lambda: FunctionTransport(desk.exchange)) as client:
        source = Fixed("t")
        http = PeerHttp(
            client,
            TokenKeeper(source, ambient=AMBIENT, instrument=Instrument()),
            audience_of=audiences("mesh"),
        )
        peer = Peer(endpoint=URL, id=10, without_audience=without_audience)
        yield PolledOrchestrator(http, peer, ambient=AMBIENT), source


@pytest.mark.parametrize(("without", "audience"), [(True, None), (False, "mesh")])
async def test_a_registration_is_flat_and_shows_the_token_that_is_wanted(without: bool, audience: str | None) -> None:
    desk = Desk({"POST /droplets/register": (201, {"registered": True})})
    async with calling(desk, without_audience=without) as (orchestrator, source):
        await orchestrator.register(RECORD)
    assert source.asked == [audience]
    assert desk.seen[0].body == {
        "droplet_id": 60,
        "name": "W",
        "steward": "s",
        "endpoint": "http://w",
        "capabilities": ["count"],
    }


@pytest.mark.parametrize(("answers", "fails"), [([500, 201], False), ([500, 500], True), ([403], True)])
async def test_a_failure_of_the_server_is_tried_once_more(answers: list[int], fails: bool) -> None:
    left = list(answers)
    desk = Desk({"POST /droplets/register": lambda _: (left.pop(0), {})})
    async with calling(desk) as (orchestrator, _):
        if fails:
            with pytest.raises(PeerError):
                await orchestrator.register(RECORD)
        else:
            await orchestrator.register(RECORD)
    assert left == []


async def test_a_beat_has_status_and_metrics() -> None:
    desk = Desk({BEAT: (200, {"received": True, "next_heartbeat_deadline": 1e9})})
    async with calling(desk) as (orchestrator, _):
        await orchestrator.beat(REPORT)
    metrics = {"cpu_percent": 1.0, "memory_mb": 2, "requests_last_minute": 3, "errors_last_minute": 4}
    assert desk.seen[0].body == {"status": "active", "metrics": metrics}


async def test_404_means_register_again_whatever_the_body_says_and_403_is_a_no() -> None:
    desk = Desk({BEAT: (404, {"received": True})})
    async with calling(desk) as (orchestrator, _):
        with pytest.raises(UnknownInstance):
            await orchestrator.beat(REPORT)
        desk.rows[BEAT] = (403, {"detail": "not yours"})
        with pytest.raises(PeerError, match="403 FORBIDDEN: not yours"):
            await orchestrator.beat(REPORT)


async def test_only_what_is_ours_and_waits_is_taken() -> None:
    rows = [
        {"task_id": "a", "status": "assigned", "assigned_droplet_id": 60},
        {"task_id": "b", "status": "assigned", "assigned_droplet_id": "droplet-60"},
        {"task_id": "c", "status": "assigned", "assigned_droplet_id": 61},
        {"task_id": "d", "status": "in_progress", "assigned_droplet_id": 60},
        {"task_id": "e", "status": "assigned"},
    ]
    desk = Desk({"GET /tasks?status=assigned&assigned_droplet_id=60&limit=50": (200, rows)})
    async with calling(desk) as (orchestrator, _):
        assert [task.task_id for task in await orchestrator.assigned(60)] == ["a", "b", "e"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"type": "task_acknowledged"}, ("in_progress", {})),
        ({"type": "task_progress", "percent": 5}, None),
        ({"type": "task_completed", "result": [1]}, ("completed", {"result": [1]})),
        ({"type": "task_failed", "error": "X: y"}, ("failed", {"error_message": "X: y"})),
    ],
)
async def test_what_is_said_of_a_task(payload: Any, said: Any) -> None:
    assert outcome(payload) == said


async def test_a_cancelled_task_has_failed_there() -> None:
    status, facts = outcome({"type": "task_cancelled"}) or ("", {})
    assert status == "failed"
    assert facts["error_message"].startswith("CANCELLED: ")
