"""A droplet that works for an Orchestrator of the v2 style: a stand-in written from the dialect table. Virtual time."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import BusinessError, Context, Droplet, endpoint, task
from udc.instrument import ReportFailed, TaskReported
from udc.surface._base import HttpRequest, HttpResponse
from udc.testing import World, mesh

pytestmark = virtual_time

V2 = {
    "orchestrator.id": 77,
    "orchestrator.url": "https://tasks.mesh.test",
    "orchestrator.style": "v2",
    "orchestrator.without_audience": True,
}


class Tasks(Droplet):
    """The server of the table: answers in envelopes, payloads in JSON strings, and nothing is pushed."""

    id, name, steward = 77, "Tasks", "somebody else"

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, dict[str, Any]] = {}
        self.heard: dict[int, float] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.failing = 1
        self.begun = anyio.Event()
        self.beats: list[dict[str, Any]] = []
        self.history: list[tuple[str, str]] = []

    def add(self, task_id: str, task_type: str, payload: Any, droplet_id: int = 60, **more: Any) -> None:
        row = {"task_id": task_id, "task_type": task_type, "payload": json.dumps(payload), "result": None, **more}
        self.rows[task_id] = {**row, "status": "assigned", "assigned_droplet_id": droplet_id}

    def _check(self, request: HttpRequest) -> None:
        claims = request.headers["authorization"].split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert "aud" not in told, "a token that has aud is refused"
        assert told["droplet_id"] == 60

    @endpoint("POST", "/droplets/register", "public")
    async def register(self, request: HttpRequest) -> Any:
        self._check(request)
        self.calls["register"] += 1
        if self.failing:
            self.failing -= 1
            return HttpResponse(status=500, body=b'{"detail": "Internal Server Error"}')
        body = json.loads(request.body)
        self.known[body["droplet_id"]] = body
        return HttpResponse(status=201, body=_envelope({"registered": True}))

    @endpoint("POST", "/droplets/{id}/heartbeat", "public")
    async def beat(self, request: HttpRequest) -> Any:
        self._check(request)
        self.calls["beat"] += 1
        if int(request.params["id"]) not in self.known:
            return HttpResponse(status=404, body=b'{"message_type": "response", "payload": {"received": true}}')
        self.beats.append(json.loads(request.body))
        return HttpResponse(body=_envelope({"received": True, "next_heartbeat_deadline": 1e9}))

    @endpoint("GET", "/tasks", "public")
    async def tasks(self, request: HttpRequest) -> Any:
        self._check(request)
        self.calls["list"] += 1
        asked = request.query
        assert asked["status"] == ["assigned"]
        assert asked["assigned_droplet_id"] == ["60"]
        return HttpResponse(body=_envelope({"tasks": json.dumps(list(self.rows.values()))}))  # filters nothing

    @endpoint("PATCH", "/tasks/{id}", "public")
    async def patch(self, request: HttpRequest) -> Any:
        self._check(request)
        row, told = self.rows[request.params["id"]], json.loads(request.body)
        before, after = row["status"], told["status"]
        legal = {"assigned": ("in_progress",), "in_progress": ("completed", "failed")}
        if after not in legal.get(before, ()):
            return HttpResponse(status=400, body=json.dumps({"detail": f"cannot go from {before} to {after}"}).encode())
        row["status"] = after
        self.begun.set()
        row["result"] = json.dumps(told.get("result"))
        row["error_message"] = told.get("error_message")
        self.history.append((row["task_id"], after))
        return HttpResponse(body=_envelope({"task": row}))


def _envelope(payload: Any) -> bytes:
    return json.dumps({"message_type": "response", "source": "77", "payload": payload}).encode()


class Worker(Droplet):
    id, name, steward = 60, "Worker", "tests"
    capabilities = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    @task("count")
    async def count(self, to: int, ctx: Context) -> dict[str, int]:
        self.ran.append(ctx.message.payload["task_id"])
        await ctx.progress(50, "not told, for there is no word for it")
        await anyio.sleep(to)
        return {"counted": to}

    @task("fail")
    async def fail(self) -> None:
        raise BusinessError("NO_PAPER", "the tray is empty")


def working(tasks: Tasks, *droplets: Any, data: Path | None = None) -> Any:
    return mesh(*(droplets or (Worker(),)), tasks, foreign=["Tasks"], config=V2, data=data)


async def until_told(world: World, count: int = 1) -> None:
    await world.events.wait_for(TaskReported, count=count, timeout_seconds=60)


async def test_it_registers_beats_and_does_what_is_assigned() -> None:
    tasks = Tasks()
    async with working(tasks) as world:
        await anyio.sleep(10)
        assert tasks.calls["register"] == 2  # the first answer was 500
        assert tasks.known[60]["capabilities"] == ["count"]
        assert set(tasks.known[60]) == {"droplet_id", "name", "steward", "endpoint", "capabilities"}
        tasks.add("t-1", "count", {"to": 5})
        tasks.add("t-2", "fail", {})
        tasks.add("t-3", "count", {"to": 1}, droplet_id=61)
        await until_told(world, 2)
        assert tasks.rows["t-1"]["status"] == "completed"
        assert json.loads(tasks.rows["t-1"]["result"]) == {"counted": 5}
        assert (tasks.rows["t-2"]["status"], tasks.rows["t-2"]["error_message"]) == (
            "failed",
            "NO_PAPER: the tray is empty",
        )
        assert tasks.rows["t-3"]["status"] == "assigned"
        assert [row for row in tasks.history if row[0] == "t-1"] == [("t-1", "in_progress"), ("t-1", "completed")]
        await anyio.sleep(180)
        assert 3 <= len(tasks.beats) <= 5
        assert set(tasks.beats[0]) == {"status", "metrics"}
        assert set(tasks.beats[0]["metrics"]) >= {"cpu_percent", "memory_mb"}
        assert world.orchestrator.reports == []


async def test_an_orchestrator_that_forgot_us_is_told_again() -> None:
    tasks = Tasks()
    async with working(tasks):
        await anyio.sleep(10)
        tasks.known.clear()
        await anyio.sleep(70)
        assert 60 in tasks.known
        assert tasks.calls["register"] == 3


async def test_what_nobody_here_can_do_fails_at_once() -> None:
    tasks = Tasks()
    async with working(tasks):
        tasks.add("t-1", "paint", {})
        tasks.add("t-2", "count", {"to": 1}, deadline="2025-01-01T00:00:00")
        await anyio.sleep(20)
    assert tasks.rows["t-1"]["error_message"].startswith("NO_HANDLER: ")
    assert tasks.rows["t-2"]["error_message"].startswith("DEADLINE_EXCEEDED: ")


async def test_one_assigned_again_runs_again() -> None:
    tasks, worker = Tasks(), Worker()
    async with working(tasks, worker) as world:
        tasks.add("t-1", "count", {"to": 10})
        await anyio.sleep(8)
        tasks.rows["t-1"]["status"] = "assigned"  # while it runs here: it is one run all the same
        await until_told(world)
        tasks.add("t-1", "count", {"to": 1})
        await until_told(world, 2)
        assert worker.ran == ["t-1", "t-1"]
        assert tasks.rows["t-1"]["status"] == "completed"


async def test_an_orchestrator_that_is_away_stops_nothing() -> None:
    tasks = Tasks()
    async with working(tasks) as world:
        tasks.add("t-1", "count", {"to": 10})
        await anyio.sleep(8)
        world.faults.refuse("Tasks")
        await anyio.sleep(300)
        failures = world.events.of(ReportFailed, droplet="Worker")
        assert 5 < len(failures) < 40
        world.faults.heal("Tasks")
        await until_told(world)
        assert tasks.rows["t-1"]["status"] == "completed"


@pytest.mark.parametrize("state", ["assigned", "in_progress"])
async def test_a_kill_at_work_is_told_after_the_restart(tmp_path: Path, state: str) -> None:
    tasks = Tasks()
    async with working(tasks, Worker, data=tmp_path) as world:
        tasks.add("t-1", "count", {"to": 30})
        with anyio.fail_after(30):
            await tasks.begun.wait()
        world.faults.crash("Worker")
        tasks.rows["t-1"]["status"] = state
        await world.faults.restart("Worker")
        await until_told(world)
        await anyio.sleep(30)
        assert tasks.rows["t-1"]["status"] == "failed"
        assert tasks.rows["t-1"]["error_message"].startswith("INTERRUPTED: ")
