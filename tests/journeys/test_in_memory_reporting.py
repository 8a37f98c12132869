"""What droplets tell of themselves and of others: reports, unreachable peers, telemetry. Virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, event, query
from udc.errors import DeliveryError, PeerError
from udc.instrument import ReportFailed, SendFinished
from udc.testing import World, mesh

pytestmark = virtual_time


class Billing(Droplet):
    id, name, steward = 15, "Billing", "tests"

    @query("balance")
    async def balance(self, seconds: float = 0.0) -> int:
        await anyio.sleep(seconds)
        if seconds > 1:
            raise ValueError("a bug")
        return 5


class Shop(Droplet):
    id, name, steward = 14, "Shop", "tests"

    @query("ask")
    async def ask(self, ctx: Context, seconds: float = 0.0, peer: str = "Billing") -> Any:
        ctx.metrics.gauge("baskets", 3)
        return await ctx.query(peer, "balance", {"seconds": seconds})


class Dashboard(Droplet):
    id, name, steward = 2, "Dashboard", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[dict[str, Any]] = []

    @event("metrics_update")
    async def update(self, data: dict[str, Any]) -> None:
        self.updates.append(data)

    def of(self, droplet_id: int) -> list[dict[str, Any]]:
        return [each for each in self.updates if each["droplet_id"] == droplet_id]


def reports(world: World, droplet_id: int = 14) -> list[Any]:
    return [report for report in world.orchestrator.reports if report["droplet_id"] == droplet_id]


def unreachable(world: World) -> list[Any]:
    return [each for each in world.orchestrator.messages if each.get("type") == "droplet_unreachable"]


async def test_a_report_every_minute_with_what_was_measured() -> None:
    async with mesh(Shop(), Billing()) as world:
        for number in range(20):
            await world.client.query("Shop", "ask")
            if number < 10:
                with pytest.raises(PeerError):
                    await world.client.query("Shop", "ask", {"seconds": 2})
            await anyio.sleep(10)
        await anyio.sleep(120)
        found = reports(world)
    assert len(found) in (5, 6, 7)
    assert set(found[0]) == {"droplet_id", "status", "timestamp", "metrics"}
    assert found[0]["status"] == "active"
    metrics = [each["metrics"] for each in found]
    assert set(metrics[0]) == {"cpu_percent", "memory_mb", "requests_last_minute", "errors_last_minute"}
    assert 8 <= max(each["requests_last_minute"] for each in metrics) <= 30
    assert 4 <= max(each["errors_last_minute"] for each in metrics) <= 6
    assert metrics[-1]["errors_last_minute"] == 0


async def test_reports_can_be_slower_or_off() -> None:
    async with mesh(Shop(), config={"orchestrator.report_interval": 600}) as world:
        await anyio.sleep(500)
        assert len(reports(world)) == 1
    async with mesh(Shop(), config={"orchestrator.report_state": False}) as world:
        await anyio.sleep(500)
        assert reports(world) == []


async def test_an_orchestrator_that_is_away_stops_nothing() -> None:
    async with mesh(Shop(), Billing()) as world:
        await anyio.sleep(10)
        world.faults.refuse("Orchestrator")
        await anyio.sleep(600)
        failures = world.events.of(ReportFailed, droplet="Shop")
        assert 9 <= len(failures) <= 30
        assert failures[-1].retry_in_seconds <= 60
        assert (await world.request("GET", "Shop", "/health")).json()["status"] == "active"
        before = len(reports(world))
        world.faults.heal("Orchestrator")
        await anyio.sleep(61)
        assert len(reports(world)) > before


async def test_a_peer_that_cannot_be_reached_is_told_of_once_a_minute() -> None:
    async with mesh(Shop(), Billing()) as world:
        world.faults.crash("Billing")
        with pytest.raises(DeliveryError):
            await world.droplet("Shop").mesh.chat("Billing", "hello")
        for _ in range(5):
            with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
                await world.client.query("Shop", "ask")
        await anyio.sleep(30)
        assert unreachable(world) == [{"type": "droplet_unreachable", "target_id": 15}]
        await anyio.sleep(31)
        with pytest.raises(PeerError):
            await world.client.query("Shop", "ask")
        await anyio.sleep(1)
        assert len(unreachable(world)) == 2


async def test_nobody_tells_of_the_core_droplets_or_of_one_that_said_no() -> None:
    async with mesh(Shop(), Billing()) as world:
        for core in ("Orchestrator", "Registry"):
            world.faults.refuse(core)
            with pytest.raises(PeerError):
                await world.client.query("Shop", "ask", {"peer": core})
            world.faults.heal(core)
        for peer, seconds in (("Billing", 2), ("nobody", 0)):
            with pytest.raises((PeerError, DeliveryError)):
                await world.client.query("Shop", "ask", {"peer": peer, "seconds": seconds})
        await anyio.sleep(100)
        assert unreachable(world) == []


async def test_telling_delays_nobody_and_is_not_tried_again() -> None:
    async with mesh(Shop(), Billing()) as world:
        world.faults.crash("Billing")
        world.faults.pause("Orchestrator")
        began = anyio.current_time()
        with pytest.raises(PeerError):
            await world.client.query("Shop", "ask")
        assert anyio.current_time() - began < 2
        await anyio.sleep(10)
        world.faults.heal("Orchestrator")
        await anyio.sleep(30)
        assert unreachable(world) == []


async def test_telemetry_every_ten_seconds_while_there_is_a_dashboard() -> None:
    dashboard = Dashboard()
    async with mesh(Shop(), Billing(), dashboard) as world:
        await anyio.sleep(40)
        for seconds in (0.25, 0.5, 0.5, 0.5):
            await world.client.query("Shop", "ask", {"seconds": seconds})
        with pytest.raises(PeerError):
            await world.client.query("Shop", "ask", {"seconds": 2})
        await anyio.sleep(80)
        updates = dashboard.of(14)
        assert not dashboard.of(2)
    assert 9 <= len(updates) <= 13
    newest = updates[-1]
    assert set(newest) == {"droplet_id", "timestamp", "metrics", "calls", "spans"}
    assert set(newest["metrics"]) == {"baskets", "requests_per_minute", "average_response_time", "error_rate"}
    assert newest["metrics"]["baskets"] == 3
    assert max(each["metrics"]["requests_per_minute"] for each in updates) >= 5
    assert max(each["metrics"]["error_rate"] for each in updates) > 0
    assert max(each["metrics"]["average_response_time"] for each in updates) > 100
    calls = [call for each in updates for call in each["calls"]]
    assert {call["peer"] for call in calls} == {15}
    assert sum(call["count"] for call in calls) == 5
    assert sum(call["errors"] for call in calls) == 1
    assert max(call["p95_ms"] for call in calls) >= 500


async def test_without_a_dashboard_nothing_is_sent() -> None:
    async with mesh(Shop(), Billing()) as world:
        await world.client.query("Shop", "ask")
        await anyio.sleep(60)
        assert not [each for each in world.events.of(SendFinished) if each.action == "metrics_update"]


async def test_sampled_spans_are_of_the_same_traces_everywhere() -> None:
    dashboard = Dashboard()
    async with mesh(Shop(), Billing(), dashboard) as world:
        await anyio.sleep(40)
        for _ in range(100):
            await world.client.query("Shop", "ask")
        await anyio.sleep(20)
        spans = {each["trace_id"]: each for who in (14, 15) for update in dashboard.of(who) for each in update["spans"]}
        handled = [
            {span["trace_id"] for update in dashboard.of(who) for span in update["spans"] if span["kind"] == "handled"}
            for who in (14, 15)
        ]
    assert 0 < len(spans) < 30
    assert all(trace_id.endswith("0") for trace_id in spans)
    assert handled[0] == handled[1]
