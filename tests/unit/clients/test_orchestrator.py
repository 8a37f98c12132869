"""The Orchestrator's calls, against answers written down from contract section 7."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.clients.kit import AMBIENT, URL, Desk, Fixed, Seen
from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc.clients.orchestrator import OrchestratorClient, Report, orchestrator_at
from udc.clients.orchestrator_records import NewTask, StateChange, TaskProgress
from udc.clients.peer_http import PeerHttp
from udc.errors import CallTimeout, InvalidReply, PeerError, PeerUnreachable
from udc.identity.tokens import TokenKeeper
from udc.instrument import Instrument
from udc.messages import Peer
from udc.transports.http import audiences

pytestmark = virtual_time

TASK_ID = "6e0a7d0c-5f3c-4f0e-8a43-1d1f6f2b9a10"
RECORD: dict[str, Any] = {
    "task_id": TASK_ID,
    "trace_id": "9b0c3b52-7f9e-4b8a-8a51-0d6f1a2b3c4d",
    "task_type": "resize",
    "title": "one image",
    "description": None,
    "required_capability": None,
    "priority": 5,
    "payload": {"image": "cat.png"},
    "deadline": "2026-01-02T03:04:05Z",
    "max_retries": 3,
    "status": "in_progress",
    "assigned_droplet_id": "14",
    "assigned_instance_id": "i-1",
    "attempt": 1,
    "created_by": 999,
    "created_at": "2026-01-02T03:00:00Z",
    "updated_at": "2026-01-02T03:00:01Z",
    "result": None,
    "error_message": None,
    "progress": {"percent": 50, "note": "half", "at": "2026-01-02T03:00:02Z"},
    "state_history": [
        {"status": "pending", "at": "2026-01-02T03:00:00Z", "droplet_id": None, "attempt": 0, "note": ""},
        {"status": "assigned", "at": "2026-01-02T03:00:01Z", "droplet_id": 14, "attempt": 1, "note": "pushed"},
    ],
}
CANCELLED = {**RECORD, "status": "cancelled"}
CONFLICT = (409, {"error": {"code": "CONFLICT", "message": "it is cancelled already"}})


class Flaky(Desk):
    """Breaks the connection after the first requests got through."""

    def __init__(self, rows: dict[str, Any], *, broken: int) -> None:
        super().__init__(rows)
        self.broken = broken

    async def exchange(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> HttpAnswer:
        answer = await super().exchange(method, url, headers, body)
        if self.broken:
            self.broken -= 1
            raise ConnectionResetError("gone")
        return answer


@asynccontextmanager
async def calling(
    desk: Any, *, peer: Peer | None = None, tokens: tuple[str, ...] = ("t",), seconds: float = 10.0
) -> AsyncGenerator[OrchestratorClient]:
    async with HttpClient(transport_factory=lambda: FunctionTransport(desk.exchange)) as client:
        keeper = TokenKeeper(Fixed(*tokens), ambient=AMBIENT, instrument=Instrument())
        http = PeerHttp(client, keeper, audience_of=audiences("mesh"))
        at = peer or orchestrator_at(URL + "/", 10)
        yield OrchestratorClient(http, at, ambient=AMBIENT, timeout_seconds=seconds)


async def test_a_task_is_created_under_an_id_of_its_own() -> None:
    desk = Desk({"POST /tasks": (201, {**RECORD, "status": "pending"})})
    deadline = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with calling(desk) as orchestrator:
        task = await orchestrator.create(NewTask(task_type="resize", payload={"image": "cat.png"}, deadline=deadline))
    (seen,) = desk.seen
    assert seen.headers["authorization"] == "Bearer t"
    assert len(seen.body.pop("task_id")) == 36
    assert seen.body == {
        "task_type": "resize",
        "title": "resize",
        "payload": {"image": "cat.png"},
        "deadline": "2026-01-02T03:04:05Z",
    }
    assert (task.task_id, task.status, task.deadline) == (TASK_ID, "pending", deadline)


async def test_an_answer_with_the_contracts_three_fields_is_enough() -> None:
    desk = Desk({"POST /tasks": (201, {"task_id": TASK_ID, "trace_id": "t-1", "status": "pending"})})
    async with calling(desk) as orchestrator:
        task = await orchestrator.create(NewTask(task_type="resize", title="one image"))
    assert (task.task_id, task.trace_id, task.title, task.task_type) == (TASK_ID, "t-1", "one image", "resize")


async def test_a_lost_answer_is_asked_for_under_the_same_id() -> None:
    desk = Flaky({"POST /tasks": (200, RECORD)}, broken=2)
    async with calling(desk) as orchestrator:
        await orchestrator.create(NewTask(task_type="resize"))
    assert len(desk.seen) == 3
    assert len({seen.body["task_id"] for seen in desk.seen}) == 1


async def test_a_stranger_is_not_asked_twice_to_create() -> None:
    desk = Flaky({"POST /tasks": (200, RECORD)}, broken=1)
    async with calling(desk, peer=Peer(endpoint=URL, id=10)) as orchestrator:
        with pytest.raises(Exception, match="may have reached it"):
            await orchestrator.create(NewTask(task_type="resize"))
    assert len(desk.seen) == 1


async def test_a_record_is_read_whole() -> None:
    desk = Desk({f"GET /tasks/{TASK_ID}": (200, RECORD)})
    async with calling(desk) as orchestrator:
        task = await orchestrator.get(TASK_ID)
    assert (task.assigned_droplet_id, task.assigned_instance_id, task.attempt, task.created_by) == (14, "i-1", 1, 999)
    at = datetime(2026, 1, 2, 3, 0, 2, tzinfo=UTC)
    assert task.progress == TaskProgress(percent=50.0, note="half", at=at)
    assert task.state_history[1] == StateChange(
        status="assigned", at=at.replace(second=1), droplet_id=14, attempt=1, note="pushed"
    )
    assert (task.terminal, task.told) == (False, RECORD)


async def test_payload_and_result_may_be_json_in_a_string() -> None:
    told = {**RECORD, "payload": '{"image": "cat.png"}', "result": "[1, 2]", "status": "completed"}
    desk = Desk({f"GET /tasks/{TASK_ID}": (200, told)})
    async with calling(desk) as orchestrator:
        task = await orchestrator.get(TASK_ID)
    assert (task.payload, task.result, task.terminal) == ({"image": "cat.png"}, [1, 2], True)


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', "plain", ""])
async def test_a_text_that_looks_like_json_is_a_text(text: str) -> None:
    desk = Desk({f"GET /tasks/{TASK_ID}": (200, {**RECORD, "result": text, "status": "completed"})})
    async with calling(desk) as orchestrator:
        task = await orchestrator.get(TASK_ID)
    assert task.result == text


async def test_a_page_of_the_list() -> None:
    path = "/tasks?status=pending&task_type=resize&assigned_droplet_id=14&limit=1&offset=2"
    desk = Desk({f"GET {path}": (200, {"tasks": [RECORD], "total": 7, "limit": 1, "offset": 2})})
    async with calling(desk) as orchestrator:
        page = await orchestrator.list(status="pending", task_type="resize", assigned_droplet_id=14, limit=1, offset=2)
    assert ([task.task_id for task in page.tasks], page.total, page.limit, page.offset) == ([TASK_ID], 7, 1, 2)


async def test_cancelling() -> None:
    desk = Desk({f"DELETE /tasks/{TASK_ID}": (200, CANCELLED)})
    async with calling(desk) as orchestrator:
        assert (await orchestrator.cancel(TASK_ID)).status == "cancelled"


async def test_cancelling_again_is_harmless() -> None:
    desk = Desk({f"DELETE /tasks/{TASK_ID}": CONFLICT, f"GET /tasks/{TASK_ID}": (200, CANCELLED)})
    async with calling(desk) as orchestrator:
        assert (await orchestrator.cancel(TASK_ID)).status == "cancelled"


async def test_what_is_done_cannot_be_cancelled() -> None:
    done = {**RECORD, "status": "completed"}
    desk = Desk({f"DELETE /tasks/{TASK_ID}": CONFLICT, f"GET /tasks/{TASK_ID}": (200, done)})
    async with calling(desk) as orchestrator:
        with pytest.raises(PeerError, match="409"):
            await orchestrator.cancel(TASK_ID)


async def test_a_worker_that_polls_says_how_it_goes() -> None:
    desk = Desk({f"PATCH /tasks/{TASK_ID}": (200, {"ok": True})})
    async with calling(desk) as orchestrator:
        await orchestrator.update(TASK_ID, "completed", result=None)
        await orchestrator.update(TASK_ID, "failed", error_message="X: broke")
    assert [seen.body for seen in desk.seen] == [
        {"status": "completed", "result": None},
        {"status": "failed", "error_message": "X: broke"},
    ]


async def test_a_report_has_the_contracts_shape_and_is_tried_once() -> None:
    desk = Flaky({"POST /heartbeat": (200, {"received": True})}, broken=1)
    report = Report(
        droplet_id=14,
        status="active",
        timestamp=datetime(2026, 1, 2, tzinfo=UTC),
        cpu_percent=1.5,
        memory_mb=80,
        requests_last_minute=7,
        errors_last_minute=1,
    )
    async with calling(desk) as orchestrator:
        with pytest.raises(Exception, match="may have reached it"):
            await orchestrator.report(report)
        await orchestrator.report(report)
    assert desk.seen[1].body == {
        "droplet_id": 14,
        "status": "active",
        "timestamp": "2026-01-02T00:00:00.000Z",
        "metrics": {"cpu_percent": 1.5, "memory_mb": 80, "requests_last_minute": 7, "errors_last_minute": 1},
    }
    assert len(desk.seen) == 2


async def test_reports_and_queue() -> None:
    report = {"droplet_id": 14, "status": "active"}
    desk = Desk({"GET /reports": (200, {"reports": [report]}), "GET /queue": (200, {"pending": 3})})
    async with calling(desk) as orchestrator:
        assert await orchestrator.reports() == (report,)
        assert await orchestrator.queue() == {"pending": 3}


async def test_a_refused_token_is_renewed_once() -> None:
    def strict(seen: Seen) -> tuple[int, Any]:
        good = seen.headers["authorization"] == "Bearer new"
        return (200, RECORD) if good else (401, {"error": {"code": "UNAUTHORIZED"}})

    desk = Desk({f"GET /tasks/{TASK_ID}": strict})
    async with calling(desk, tokens=("old", "new")) as orchestrator:
        assert (await orchestrator.get(TASK_ID)).task_id == TASK_ID
    assert len(desk.seen) == 2


async def test_its_refusals_come_as_they_are() -> None:
    told = {"status": "error", "error": {"code": "NOT_FOUND", "message": "no such task", "hint": "look at the list"}}
    desk = Desk({f"GET /tasks/{TASK_ID}": (404, told)})
    async with calling(desk) as orchestrator:
        with pytest.raises(PeerError) as refused:
            await orchestrator.get(TASK_ID)
    assert str(refused.value) == "the Orchestrator answered 404 NOT_FOUND: no such task"
    assert refused.value.hint == "look at the list"


@pytest.mark.parametrize(
    "told",
    [
        {"message_type": "response", "payload": {"task": RECORD}},
        {"message_type": "response", "payload": json.dumps(RECORD)},
        {"task": RECORD},
    ],
)
async def test_a_task_in_an_envelope_is_taken_out_of_it(told: Any) -> None:
    desk = Desk({f"GET /tasks/{TASK_ID}": (200, told)})
    async with calling(desk) as orchestrator:
        assert (await orchestrator.get(TASK_ID)).title == "one image"


@pytest.mark.parametrize("told", [[RECORD], {"message_type": "response", "payload": {"tasks": json.dumps([RECORD])}}])
async def test_so_is_a_list_in_any_shape(told: Any) -> None:
    desk = Desk({"GET /tasks": (200, told)})
    async with calling(desk) as orchestrator:
        page = await orchestrator.list()
    assert ([task.task_id for task in page.tasks], page.total) == ([TASK_ID], 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "NOT_FOUND", "message": "no such task"}, 404),
        ({"code": "CONFLICT", "message": "no"}, 409),
        ({"code": "ODD", "message": "no"}, 500),
        ("it broke", 500),
    ],
)
async def test_an_error_inside_a_success_has_the_status_of_its_code(error: Any, status: int) -> None:
    desk = Desk({f"PATCH /tasks/{TASK_ID}": (200, {"message_type": "error", "payload": {"error": error}})})
    async with calling(desk, peer=Peer(endpoint=URL, id=10)) as orchestrator:
        with pytest.raises(PeerError) as refused:
            await orchestrator.update(TASK_ID, "completed", result=1)
    assert refused.value.status == status


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status": "pending"}', b'{"task_id": true, "status": "x"}'])
async def test_what_is_no_task_is_said_to_be_none(body: bytes) -> None:
    desk = Desk({f"GET /tasks/{TASK_ID}": (200, body)})
    async with calling(desk) as orchestrator:
        with pytest.raises(InvalidReply):
            await orchestrator.get(TASK_ID)


async def test_a_call_ends_in_time() -> None:
    class Silent:
        async def exchange(self, *_: Any) -> HttpAnswer:
            await anyio.sleep_forever()
            raise AssertionError

    async with calling(Silent(), seconds=2.0) as orchestrator:
        with pytest.raises(CallTimeout, match=r"did not answer within 2 s"):
            await orchestrator.get(TASK_ID)


async def test_no_token_travels_in_the_clear() -> None:
    desk = Desk({})
    async with calling(desk, peer=orchestrator_at("http://tasks.example.org", 10)) as orchestrator:
        with pytest.raises(PeerUnreachable, match="no token is sent to the Orchestrator"):
            await orchestrator.get(TASK_ID)
    assert desk.seen == []
