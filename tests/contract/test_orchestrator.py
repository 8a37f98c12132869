"""The endpoints of an Orchestrator: every call, permission and bad input (contract sections 5 and 7)."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.contract.served import (
    Answer,
    Client,
    Connection,
    Life,
    Placed,
    World,
    all_blocked,
    anyio_backend,
    http_scope,
    key,
    server,
    token,
    until,
    way,
    world,
)
from udc._types import UNSET
from udc._wiring.surroundings import Surroundings
from udc.asgi import App
from udc.datadir import DataDirectory
from udc.mesh.orchestrator import Orchestrator, SqliteStore, Terms
from udc.mesh.orchestrator.store import Change

__all__ = ["anyio_backend", "server", "way", "world"]

ALL = ("read", "write")
WORKER = 31
TASK_ID = "7d3a1a4e-3f1c-4a52-9a4e-0c7b5a1f2d3e"


def orchestrator(**options: Any) -> Orchestrator:
    config = {
        "droplet.url": "http://127.0.0.1:8001",
        "security.public_key": key().public_pem,
        "limits.grace_seconds": 1,
        "registry.auto_register": False,
        **options.pop("config", {}),
    }
    return Orchestrator(config=config, **options)


@dataclass
class Desk:
    """Asks the Orchestrator as droplet 77, unless it says otherwise."""

    client: Client

    async def ask(
        self, method: str, path: str, *, by: int = 77, rights: tuple[str, ...] = ALL, **options: Any
    ) -> Answer:
        return await self.client(method, path, bearer=token(*rights, droplet_id=by), **options)

    async def good(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        answer = await self.ask(method, path, **options)
        assert answer.status == status, answer.body
        return answer.json()

    async def create(self, **fields: Any) -> Any:
        body = {"task_type": "resize", "payload": {"n": 1}, **fields}
        return await self.good("POST", "/tasks", status=201, json=body)

    async def poller(self, droplet_id: int = WORKER, **fields: Any) -> Any:
        body = {"droplet_id": droplet_id, "name": "W", "steward": "s", "capabilities": ["resize"], **fields}
        return await self.good("POST", "/droplets/register", status=201, by=droplet_id, json=body)

    async def assigned(self, droplet_id: int = WORKER) -> list[Any]:
        path = f"/tasks?status=assigned&assigned_droplet_id={droplet_id}"
        found: list[Any] = (await self.good("GET", path, by=droplet_id))["tasks"]
        return found

    async def until_assigned(self, task_id: str, droplet_id: int = WORKER) -> None:
        async def met() -> bool:
            return task_id in [each["task_id"] for each in await self.assigned(droplet_id)]

        await until(met)

    async def patch(self, task_id: str, status: str, *, by: int = WORKER, **fields: Any) -> Answer:
        return await self.ask("PATCH", f"/tasks/{task_id}", by=by, json={"status": status, **fields})

    async def say(self, kind: str, task_id: str, *, by: int = WORKER, **fields: Any) -> Answer:
        envelope = {"message_type": "event", "payload": {"type": kind, "task_id": task_id, **fields}}
        return await self.ask("POST", "/message", by=by, json=envelope)


@pytest.fixture
async def desk(world: World) -> Desk:
    return Desk(await world.serve(orchestrator()))


async def at_work(desk: Desk) -> str:
    """A task that droplet 31 has begun."""
    await desk.poller()
    task_id = str((await desk.create())["task_id"])
    await desk.until_assigned(task_id)
    assert (await desk.patch(task_id, "in_progress")).status == 200
    return task_id


async def test_a_new_task_has_the_whole_record(desk: Desk) -> None:
    made = await desk.create()

    assert set(made) == {
        "task_id",
        "trace_id",
        "task_type",
        "title",
        "description",
        "required_capability",
        "priority",
        "payload",
        "deadline",
        "max_retries",
        "retries",
        "status",
        "assigned_droplet_id",
        "assigned_instance_id",
        "attempt",
        "created_by",
        "created_at",
        "updated_at",
        "result",
        "error_message",
        "progress",
        "state_history",
    }
    assert (made["title"], made["priority"], made["max_retries"], made["attempt"]) == ("resize", 5, 3, 0)
    assert (made["status"], made["created_by"], made["payload"]) == ("pending", 77, {"n": 1})
    assert [step["status"] for step in made["state_history"]] == ["pending"]
    assert await desk.good("GET", f"/tasks/{made['task_id']}") == made


async def test_creating_it_again_finds_it(desk: Desk) -> None:
    asked = {"task_type": "resize", "task_id": TASK_ID, "payload": {"n": 1}}
    first = await desk.good("POST", "/tasks", status=201, json=asked)

    assert await desk.good("POST", "/tasks", json=asked) == first
    assert await desk.good("POST", "/tasks", json={**asked, "task_id": TASK_ID.upper()}) == first
    for other in ({**asked, "payload": {"n": 2}}, {**asked, "priority": 1}):
        answer = await desk.ask("POST", "/tasks", json=other)
        assert (answer.status, answer.code) == (409, "CONFLICT")
    assert (await desk.ask("POST", "/tasks", json=asked, by=78)).status == 409
    assert (await desk.good("GET", "/tasks"))["total"] == 1


async def test_an_envelope_is_opened(desk: Desk) -> None:
    """The other style wraps what it sends; a task's own payload does not make an envelope of it."""
    task = {"task_type": "resize", "payload": {"n": 1}}
    for sent in (
        {"message_type": "command", "payload": task, "trace_id": "t"},
        {"metadata": {"source_droplet_id": 77}, "payload": task},
        {"from_service": "x", "message_type": "command", "payload": json.dumps(task)},
    ):
        made = await desk.good("POST", "/tasks", status=201, json=sent)
        assert made["payload"] == {"n": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_type", UNSET),
        ("task_type", ""),
        ("task_type", 7),
        ("task_type", "x" * 256),
        ("title", 7),
        ("title", ""),
        ("description", 7),
        ("required_capability", ""),
        ("priority", 0),
        ("priority", 11),
        ("priority", True),
        ("priority", "1"),
        ("payload", [1]),
        ("payload", "x"),
        ("deadline", "tomorrow"),
        ("max_retries", -1),
        ("max_retries", 11),
        ("max_retries", 1.5),
        ("task_id", "7"),
        ("trace_id", "no uuid"),
    ],
)
async def test_a_bad_task_is_refused_and_the_field_named(desk: Desk, field: str, value: Any) -> None:
    body = {"task_type": "resize", field: value}
    answer = await desk.ask("POST", "/tasks", json={name: each for name, each in body.items() if each is not UNSET})

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.json()["error"]["details"]["field"] == field
    assert (await desk.good("GET", "/tasks"))["total"] == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b"7", b'"x"'])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/tasks"), ("POST", "/heartbeat"), ("PATCH", f"/tasks/{TASK_ID}"), ("POST", "/droplets/register")],
)
async def test_a_body_that_is_no_object_is_refused(desk: Desk, method: str, path: str, content: bytes) -> None:
    answer = await desk.ask(method, path, content=content)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


ROWS = [
    ("POST", "/tasks", "write"),
    ("GET", "/tasks", "read"),
    ("GET", "/tasks/events", "read"),
    ("GET", f"/tasks/{TASK_ID}", "read"),
    ("PATCH", f"/tasks/{TASK_ID}", "write"),
    ("DELETE", f"/tasks/{TASK_ID}", "write"),
    ("POST", "/heartbeat", "write"),
    ("GET", "/reports", "read"),
    ("GET", "/queue", "read"),
    ("POST", "/droplets/register", "write"),
    ("POST", "/droplets/31/heartbeat", "write"),
]


@pytest.mark.parametrize(("method", "path", "permission"), ROWS)
async def test_each_call_needs_its_permission(desk: Desk, method: str, path: str, permission: str) -> None:
    other = ({"read", "write"} - {permission}).pop()
    assert (await desk.client(method, path, json={})).status == 401
    answer = await desk.ask(method, path, rights=(other,), json={})
    assert (answer.status, answer.code) == (403, "FORBIDDEN")


async def test_what_is_not_there_is_404(desk: Desk) -> None:
    assert (await desk.ask("GET", f"/tasks/{TASK_ID}")).code == "NOT_FOUND"
    assert (await desk.ask("GET", f"/tasks/events?task_id={TASK_ID}")).code == "NOT_FOUND"
    assert (await desk.ask("DELETE", f"/tasks/{TASK_ID}")).code == "NOT_FOUND"
    assert (await desk.patch(TASK_ID, "in_progress")).code == "NOT_FOUND"
    assert (await desk.say("task_completed", TASK_ID)).code == "NOT_FOUND"
    assert (await desk.ask("POST", "/droplets/31/heartbeat", by=31, json={"status": "active"})).code == "NOT_FOUND"


async def test_lists_are_filtered_and_paged_newest_first(desk: Desk) -> None:
    made = [await desk.create(task_type=name) for name in ("a", "b", "a", "a")]
    await desk.good("DELETE", f"/tasks/{made[0]['task_id']}")
    newest = [each["task_id"] for each in reversed(made)]

    async def ids(query: str) -> tuple[list[str], int]:
        found = await desk.good("GET", f"/tasks{query}")
        return [each["task_id"] for each in found["tasks"]], found["total"]

    assert await ids("") == (newest, 4)
    assert await ids("?task_type=a") == ([newest[0], newest[1], newest[3]], 3)
    assert await ids("?status=cancelled") == ([newest[3]], 1)
    assert await ids("?task_type=a&status=pending&limit=1&offset=1") == ([newest[1]], 2)
    assert await ids("?limit=0") == ([], 4)
    assert await ids("?assigned_droplet_id=31") == ([], 0)
    found = await desk.good("GET", "/tasks?limit=2&offset=1")
    assert (found["limit"], found["offset"]) == (2, 1)
    assert "state_history" not in found["tasks"][0]


@pytest.mark.parametrize(
    "query", ["status=lost", "limit=x", "limit=-1", "offset=1.5", "limit=٣", "assigned_droplet_id=0"]
)
async def test_a_bad_filter_is_refused(desk: Desk, query: str) -> None:
    answer = await desk.ask("GET", f"/tasks?{query}")
    assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, query.partition("=")[0])


class TestPolling:
    async def test_a_task_from_its_creation_to_its_end(self, desk: Desk) -> None:
        await desk.poller()
        task_id = (await desk.create())["task_id"]
        await desk.until_assigned(task_id)
        assert (await desk.patch(task_id, "in_progress")).json()["status"] == "in_progress"
        done = (await desk.patch(task_id, "completed", result={"ok": [1, None]})).json()

        assert (done["status"], done["result"], done["attempt"]) == ("completed", {"ok": [1, None]}, 1)
        assert (done["assigned_droplet_id"], done["assigned_instance_id"]) == (WORKER, None)
        assert [step["status"] for step in done["state_history"]] == [
            "pending",
            "assigned",
            "in_progress",
            "completed",
        ]

    async def test_what_was_said_is_said_again_without_harm(self, desk: Desk) -> None:
        task_id = await at_work(desk)
        before = await desk.good("GET", f"/tasks/{task_id}")
        assert (await desk.patch(task_id, "in_progress")).json() == before
        done = (await desk.patch(task_id, "completed", result=1)).json()
        assert (await desk.patch(task_id, "completed", result=2)).json() == done
        answer = await desk.patch(task_id, "failed")
        assert (answer.status, answer.code) == (409, "CONFLICT")

    async def test_an_assigned_task_is_not_completed_before_it_is_begun(self, desk: Desk) -> None:
        await desk.poller()
        task_id = (await desk.create())["task_id"]
        await desk.until_assigned(task_id)
        answer = await desk.patch(task_id, "completed", result=1)
        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")

    async def test_a_failure_is_tried_again_until_it_is_final(self, desk: Desk) -> None:
        await desk.poller()
        task_id = (await desk.create(max_retries=0))["task_id"]
        await desk.until_assigned(task_id)
        await desk.patch(task_id, "in_progress")
        failed = (await desk.patch(task_id, "failed", error_message="no paper")).json()
        assert (failed["status"], failed["error_message"]) == ("failed", "no paper")

    @pytest.mark.parametrize("by", [77, 32, 999])
    async def test_only_its_droplet_changes_it(self, desk: Desk, by: int) -> None:
        task_id = await at_work(desk)
        answer = await desk.patch(task_id, "completed", by=by, result=1)
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
        assert (await desk.good("GET", f"/tasks/{task_id}"))["status"] == "in_progress"

    @pytest.mark.parametrize("status", ["pending", "assigned", "cancelled", "done", 7, None])
    async def test_no_other_state_can_be_set(self, desk: Desk, status: Any) -> None:
        task_id = await at_work(desk)
        answer = await desk.patch(task_id, status)
        assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, "status")

    async def test_one_at_a_time_until_it_is_begun(self, desk: Desk) -> None:
        await desk.poller()
        ids = [(await desk.create())["task_id"] for _ in range(3)]
        await desk.until_assigned(ids[0])
        assert [each["task_id"] for each in await desk.assigned()] == ids[:1]
        await desk.patch(ids[0], "in_progress")
        await desk.until_assigned(ids[1])
        assert [each["task_id"] for each in await desk.assigned()] == [ids[1]]

    async def test_registering_tells_when_to_beat(self, desk: Desk) -> None:
        told = await desk.poller(endpoint="http://127.0.0.1:1")
        assert told["registered"] is True
        assert told["capabilities"] == ["resize"]
        beat = await desk.good(
            "POST", "/droplets/31/heartbeat", by=31, json={"status": "active", "metrics": {"cpu_percent": 5}}
        )
        assert beat["received"] is True
        assert beat["next_heartbeat_deadline"] >= told["next_heartbeat_deadline"]
        [report] = (await desk.good("GET", "/reports"))["reports"]
        assert (report["droplet_id"], report["metrics"]) == (31, {"cpu_percent": 5})

    async def test_its_answers_are_for_readers_of_both_styles(self, desk: Desk) -> None:
        """Flat as the contract has them, and in an envelope as that style does, with JSON in texts."""
        told = await desk.poller()
        beat = await desk.good("POST", "/droplets/31/heartbeat", by=31, json={"status": "active"})
        for answer in (told, beat):
            flat = {name: each for name, each in answer.items() if name not in ("message_type", "payload")}
            assert (answer["message_type"], answer["payload"]) == ("response", flat)
        task_id = (await desk.create())["task_id"]
        await desk.until_assigned(task_id)
        await desk.patch(task_id, "in_progress")
        await desk.patch(task_id, "completed", result=["a"])
        path = "/tasks?assigned_droplet_id=31"
        answer = await desk.good("GET", path, by=31)
        [flat], [texts] = answer["tasks"], answer["payload"]["tasks"]
        assert answer["message_type"] == "response"
        assert (flat["payload"], flat["result"]) == ({"n": 1}, ["a"])
        assert texts == {**flat, "payload": '{"n":1}', "result": '["a"]'}
        for by, asked in ((77, path), (31, "/tasks"), (77, "/tasks?assigned_droplet_id=77")):
            assert set(await desk.good("GET", asked, by=by)) == {"tasks", "total", "limit", "offset"}

    async def test_nobody_speaks_for_somebody_else(self, desk: Desk) -> None:
        await desk.poller()
        for path, body in (
            ("/droplets/register", {"droplet_id": 31}),
            ("/droplets/31/heartbeat", {"status": "active"}),
            ("/heartbeat", {"droplet_id": 31, "status": "active"}),
        ):
            answer = await desk.ask("POST", path, by=32, json=body)
            assert (answer.status, answer.code) == (403, "FORBIDDEN"), path
            answer = await desk.ask("POST", path, by=32, rights=("admin",), json=body)
            assert answer.status in (200, 201)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("droplet_id", UNSET), ("droplet_id", 0), ("droplet_id", True), ("capabilities", "resize"), ("name", 7)],
    )
    async def test_a_bad_registration_is_refused(self, desk: Desk, field: str, value: Any) -> None:
        body = {"droplet_id": 31, "name": "W", "capabilities": ["x"], field: value}
        answer = await desk.ask(
            "POST", "/droplets/register", by=31, json={name: each for name, each in body.items() if each is not UNSET}
        )
        assert answer.status == 400
        assert answer.json()["error"]["details"]["field"].startswith(field)


class TestMessages:
    async def test_a_task_by_messages(self, desk: Desk) -> None:
        await desk.poller()
        task_id = (await desk.create())["task_id"]
        await desk.until_assigned(task_id)
        for kind, fields, status in (
            ("task_acknowledged", {"attempt": 1}, "in_progress"),
            ("task_progress", {"attempt": 1, "percent": 40, "note": "on it"}, "in_progress"),
            ("task_completed", {"attempt": 1, "result": [1]}, "completed"),
        ):
            answer = await desk.say(kind, task_id, **fields)
            assert (answer.status, answer.json()["data"]["status"]) == (200, status)
        done = await desk.good("GET", f"/tasks/{task_id}")
        assert (done["result"], done["progress"]["percent"], done["progress"]["note"]) == ([1], 40, "on it")

    async def test_a_terminal_message_twice_is_harmless(self, desk: Desk) -> None:
        task_id = await at_work(desk)
        await desk.say("task_completed", task_id, result=1)
        done = await desk.good("GET", f"/tasks/{task_id}")
        for kind in ("task_completed", "task_failed", "task_cancelled", "task_acknowledged"):
            answer = await desk.say(kind, task_id, attempt=1, error="X: y")
            assert (answer.status, answer.json()["data"]["ignored"]) == (200, True)
        assert await desk.good("GET", f"/tasks/{task_id}") == done

    async def test_who_does_not_have_it_does_not_speak_of_it(self, desk: Desk) -> None:
        task_id = await at_work(desk)
        for kind in ("task_acknowledged", "task_progress", "task_completed", "task_failed", "task_cancelled"):
            answer = await desk.say(kind, task_id, by=32)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")
        assert (await desk.say("task_completed", task_id, attempt=2)).code == "CONFLICT"
        assert (await desk.good("GET", f"/tasks/{task_id}"))["status"] == "in_progress"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"percent": 101}, "percent"),
            ({"percent": "x"}, "percent"),
            ({"attempt": 0}, "attempt"),
            ({"note": 7}, "note"),
            ({"task_id": None}, "task_id"),
        ],
    )
    async def test_a_bad_message_is_refused(self, desk: Desk, fields: dict[str, Any], field: str) -> None:
        task_id = await at_work(desk)
        answer = await desk.say("task_progress", **{"task_id": task_id, **fields})
        assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, field)

    async def test_a_droplet_hands_it_back(self, desk: Desk) -> None:
        task_id = await at_work(desk)
        answer = await desk.say("task_failed", task_id, error="DRAINING: stopping")
        assert answer.json()["data"]["status"] == "pending"
        await desk.until_assigned(task_id)
        found = await desk.good("GET", f"/tasks/{task_id}")
        assert (found["attempt"], found["retries"]) == (2, 0)

    async def test_who_could_not_be_reached_is_shown(self, desk: Desk) -> None:
        envelope = {"message_type": "event", "payload": {"type": "droplet_unreachable", "target_id": 55}}
        answer = await desk.ask("POST", "/message", json=envelope)
        assert answer.status == 200
        [shown] = (await desk.good("GET", "/reports"))["unreachable"]
        assert (shown["target_id"], shown["reported_by"]) == (55, 77)
        envelope["payload"] = {"type": "droplet_unreachable"}
        assert (await desk.ask("POST", "/message", json=envelope)).status == 400


class TestCancelling:
    @pytest.mark.parametrize("working", [False, True])
    async def test_its_creator_cancels_it_once(self, desk: Desk, working: bool) -> None:
        task_id = await at_work(desk) if working else (await desk.create())["task_id"]
        over = await desk.good("DELETE", f"/tasks/{task_id}")
        assert over["status"] == "cancelled"
        answer = await desk.ask("DELETE", f"/tasks/{task_id}")
        assert (answer.status, answer.code) == (409, "CONFLICT")
        if working:
            assert (await desk.patch(task_id, "completed", result=1)).status == 409

    async def test_others_do_not_but_an_admin_does(self, desk: Desk) -> None:
        task_id = (await desk.create())["task_id"]
        assert (await desk.ask("DELETE", f"/tasks/{task_id}", by=78)).code == "FORBIDDEN"
        over = await desk.good("DELETE", f"/tasks/{task_id}", by=78, rights=("admin",))
        assert over["state_history"][-1]["note"] == "cancelled by 78"


class TestReports:
    async def test_the_newest_of_each_is_shown(self, desk: Desk) -> None:
        for number in (1, 2):
            body = {
                "droplet_id": 77,
                "status": "active",
                "timestamp": "2026-01-01T00:00:00Z",
                "metrics": {"cpu_percent": number, "memory_mb": 80},
            }
            assert await desk.good("POST", "/heartbeat", json=body) == {"received": True}
        [report] = (await desk.good("GET", "/reports"))["reports"]
        assert report["metrics"] == {"cpu_percent": 2, "memory_mb": 80}
        assert (report["droplet_id"], report["status"]) == (77, "active")
        assert report["timestamp"] == "2026-01-01T00:00:00.000Z"
        assert report["received_at"].endswith("Z")

    async def test_who_it_is_may_be_left_out(self, desk: Desk) -> None:
        await desk.good("POST", "/heartbeat", json={"status": "active"})
        [report] = (await desk.good("GET", "/reports"))["reports"]
        assert (report["droplet_id"], report["metrics"]) == (77, {})

    async def test_the_queue_counts(self, desk: Desk) -> None:
        await at_work(desk)
        await desk.create(required_capability="nobody's")
        assert await desk.good("GET", "/queue") == {
            "pending": 1,
            "assigned": 0,
            "in_progress": 1,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
            "workers": [{"droplet_id": 31, "capabilities": ["resize"], "load": 1}],
        }


@asynccontextmanager
async def watching(world: World, query: str = "", **headers: str) -> AsyncIterator[Connection]:
    sent = {
        "authorization": f"Bearer {token('read')}",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    scope = http_scope("GET", f"/tasks/events{query}", sent)
    connection = Connection(world.app, scope, [{"type": "http.request", "body": b""}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        yield connection
        connection.left.set()


def read(parts: list[bytes]) -> list[tuple[int, Any]]:
    found = []
    for part in parts:
        lines = part.decode().splitlines()
        assert lines[1] == "event: task"
        event = json.loads(lines[2].removeprefix("data: "))
        assert lines[0] == f"id: {event['seq']}"
        assert "state_history" not in event["task"]
        found.append((event["seq"], event["task"]))
    return found


class TestWatching:
    async def test_every_change_from_now_on(self, world: World, desk: Desk) -> None:
        await desk.create(task_type="before")
        async with watching(world) as connection:

            async def heard() -> bool:
                await desk.create(task_type="marker")  # until one is heard: nothing else shows that it listens
                return bool(connection.parts)

            await until(heard)
            task_id = await at_work(desk)
            await desk.say("task_progress", task_id, percent=10)
            await desk.patch(task_id, "completed", result=1)
            await until(lambda: b'"status":"completed"' in connection.parts[-1])
            everything = read(connection.parts)

        seen = [seq for seq, _ in everything]
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert {task["task_type"] for _, task in everything} == {"marker", "resize"}
        events = [event for event in everything if event[1]["task_type"] == "resize"]
        assert [task["status"] for _, task in events] == [
            "pending",
            "assigned",
            "in_progress",
            "in_progress",
            "completed",
        ]
        assert [task["result"] for _, task in events] == [None, None, None, None, 1]

    async def test_one_task_from_its_present_state_to_its_end(self, world: World, desk: Desk) -> None:
        task_id = await at_work(desk)
        with anyio.fail_after(8):
            async with watching(world, f"?task_id={task_id}") as connection:
                await connection.until_parts(1)
                await desk.create(task_type="other")
                await desk.patch(task_id, "completed", result=1)
                events = read(await connection.until_parts(2))
                await until(lambda: not connection.sent[-1].get("more_body"))
            assert [task["status"] for _, task in events] == ["in_progress", "completed"]
            async with watching(world, f"?task_id={task_id}") as connection:
                [(_, task)] = read(await connection.until_parts(1))
                await until(lambda: not connection.sent[-1].get("more_body"))
            assert task["status"] == "completed"

    async def test_what_led_to_the_present_state_is_not_told_after_it(
        self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_id = await at_work(desk)
        true = SqliteStore.bounds

        async def before(store: SqliteStore) -> tuple[int, int]:
            """As if the last change had come between this look and the next one."""
            oldest, newest = await true(store)
            return oldest, newest - 1

        monkeypatch.setattr(SqliteStore, "bounds", before)
        async with watching(world, f"?task_id={task_id}") as connection:
            await connection.until_parts(1)
            await desk.patch(task_id, "completed", result=1)
            events = read(await connection.until_parts(2))
        assert [task["status"] for _, task in events] == ["in_progress", "completed"]

    @pytest.mark.parametrize("by_header", [True, False])
    async def test_it_goes_on_where_it_was_cut(self, world: World, desk: Desk, by_header: bool) -> None:
        task_id = await at_work(desk)
        await desk.patch(task_id, "completed", result=1)
        where: dict[str, Any] = {"last_event_id": "2"} if by_header else {"query": "?since=2"}
        async with watching(world, **where) as connection:
            events = read(await connection.until_parts(2))
        assert [(seq, task["status"]) for seq, task in events] == [(3, "in_progress"), (4, "completed")]

    @pytest.mark.parametrize("since", ["99"])
    async def test_a_gap_is_told(self, world: World, desk: Desk, since: str) -> None:
        await desk.create()
        async with watching(world, last_event_id=since) as connection:
            [part] = await connection.until_parts(1)
            await all_blocked()
            await desk.create()
            _, second = await connection.until_parts(2)
        assert part == b'event: reset\ndata: {"seq":1}\n\n'
        assert read([second])[0][0] == 2

    @pytest.mark.parametrize("of_one_task", [False, True])
    async def test_who_falls_behind_is_told_of_the_gap(self, world: World, of_one_task: bool) -> None:
        """One that reads more slowly than things happen, by more than is kept."""

        class Slow(Connection):
            reads = anyio.Event()

            async def send(self, message: dict[str, Any]) -> None:
                await super().send(message)
                if message.get("body"):
                    await self.reads.wait()

        async with SqliteStore.open(None, threads=False, changes_kept=5) as store:
            desk = Desk(await world.serve(orchestrator(store=store)))
            task_id = (await desk.create())["task_id"]
            query = f"?task_id={task_id}" if of_one_task else "?since=0"
            scope = http_scope("GET", f"/tasks/events{query}", {"authorization": f"Bearer {token('read')}"})
            connection = Slow(world.app, scope, [{"type": "http.request", "body": b""}])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.run)
                await connection.until_parts(1)
                await desk.good("DELETE", f"/tasks/{task_id}")
                for _ in range(8):
                    await desk.create()
                connection.reads.set()
                _, second = await connection.until_parts(2)
                if of_one_task:
                    parts = await connection.until_parts(3)
                    await until(lambda: not connection.sent[-1].get("more_body"))
                else:
                    await desk.create()
                    parts = await connection.until_parts(3)
                tasks.cancel_scope.cancel()
            world.lives[-1].stop.set()
            await world.lives[-1].ended.wait()

        assert second == b'event: reset\ndata: {"seq":10}\n\n'
        [(seq, task)] = read(parts[2:])
        assert (seq, task["status"]) == ((10, "cancelled") if of_one_task else (11, "pending"))

    async def test_filters(self, world: World, desk: Desk) -> None:
        async with watching(world, "?status=cancelled&task_type=b") as connection:

            async def heard() -> bool:
                for name in ("a", "b"):
                    await desk.good("DELETE", f"/tasks/{(await desk.create(task_type=name))['task_id']}")
                return len(connection.parts) > 2

            await until(heard)
        for _, task in read(connection.parts):
            assert (task["task_type"], task["status"]) == ("b", "cancelled")

    async def test_only_what_one_droplet_has(self, world: World, desk: Desk) -> None:
        await desk.poller()
        await desk.until_assigned((await desk.create())["task_id"])
        async with watching(world, f"?assigned_droplet_id={WORKER}&since=0") as connection:
            parts = await connection.until_parts(1)
        [(seq, task)] = read(parts)
        assert (seq > 1, task["assigned_droplet_id"], task["status"]) == (True, WORKER, "assigned")

    async def test_a_bad_place_is_refused(self, desk: Desk) -> None:
        for query in ("since=x", "status=lost", "since=-1"):
            assert (await desk.ask("GET", f"/tasks/events?{query}")).code == "INVALID_REQUEST"

    async def test_where_nothing_is_left_to_tell_it_waits(self, world: World) -> None:
        """The last changes were of a task that has been forgotten since."""

        class Counting(SqliteStore):
            asked = 0

            async def changes(self, after: int, *, limit: int) -> Sequence[Change]:
                self.asked += 1
                return await super().changes(after, limit=limit)

        async with Counting.open(None, threads=False) as store:
            assert isinstance(store, Counting)
            desk = Desk(await world.serve(orchestrator(store=store)))
            await desk.create()
            await desk.good("DELETE", f"/tasks/{(await desk.create())['task_id']}")
            world.lives[-1].stop.set()
            await world.lives[-1].ended.wait()
            assert await store.forget(ended_before=math.inf) == 1
            desk = Desk(await world.serve(orchestrator(store=store)))
            async with watching(world, last_event_id="2") as connection:
                await until(lambda: bool(connection.sent))
                before = store.asked
                for _ in range(5):
                    await desk.good("GET", "/tasks")
                assert store.asked - before < 5
                await desk.create()
                assert [seq for seq, _ in read(await connection.until_parts(1))] == [4]
            world.lives[-1].stop.set()
            await world.lives[-1].ended.wait()

    async def test_it_ends_with_the_orchestrator(self, world: World, desk: Desk) -> None:
        with anyio.fail_after(5):
            async with watching(world) as connection:
                await until(lambda: bool(connection.sent))
                world.lives[-1].stop.set()
                await world.lives[-1].ended.wait()


async def test_where_nobody_proves_who_they_are_a_poller_says_how_its_task_goes(world: World) -> None:
    config = {"security.public_key": None, "security.require_auth": False}
    desk = Desk(await world.serve(orchestrator(config=config)))
    task_id = await at_work(desk)
    assert (await desk.patch(task_id, "completed", result=7)).status == 200
    assert (await desk.good("GET", f"/tasks/{task_id}"))["result"] == 7
    waiting = (await desk.create(task_type="nobody's"))["task_id"]
    assert (await desk.patch(waiting, "in_progress")).status == 403


async def test_no_more_are_taken_than_may_be_open(world: World) -> None:
    desk = Desk(await world.serve(orchestrator(terms=Terms(open_tasks=2))))
    first = await desk.create()
    known = await desk.create(task_id=TASK_ID)
    answer = await desk.ask("POST", "/tasks", json={"task_type": "resize"})
    assert (answer.status, answer.code) == (503, "OVERLOADED")
    again = {"task_type": "resize", "payload": {"n": 1}, "task_id": TASK_ID.upper()}
    assert await desk.good("POST", "/tasks", json=again) == known
    assert (await desk.ask("POST", "/tasks", json={**again, "priority": 1})).status == 409
    assert answer.headers["retry-after"] == "5"
    await desk.good("DELETE", f"/tasks/{first['task_id']}")
    await desk.create()


async def test_one_caller_does_not_take_all_the_seats(world: World, desk: Desk) -> None:
    def connect(by: int) -> Connection:
        scope = http_scope("GET", "/tasks/events", {"authorization": f"Bearer {token('read', droplet_id=by)}"})
        return Connection(world.app, scope, [{"type": "http.request", "body": b""}])

    async with anyio.create_task_group() as tasks:
        seated = [connect(77) for _ in range(256)]
        for each in seated:
            tasks.start_soon(each.run)
        await until(lambda: all(each.sent for each in seated))
        late = connect(77)
        tasks.start_soon(late.run)
        await until(lambda: bool(late.sent))
        other = connect(78)
        tasks.start_soon(other.run)
        await until(lambda: bool(other.sent))
        tasks.cancel_scope.cancel()
    assert (late.sent[0]["status"], other.sent[0]["status"]) == (429, 200)


async def test_many_at_once_find_each_seat_free_once(world: World, desk: Desk) -> None:
    """Also those that come before the first of them has begun its stream; and who asks for heads takes none."""

    def connect(method: str) -> Connection:
        scope = http_scope(method, "/tasks/events", {"authorization": f"Bearer {token('read')}"})
        return Connection(world.app, scope, [{"type": "http.request", "body": b""}])

    for _ in range(300):
        assert (await connect("HEAD").run()).status == 200
    async with anyio.create_task_group() as tasks:
        asked = [connect("GET") for _ in range(300)]
        for each in asked:
            tasks.start_soon(each.run)
        await until(lambda: all(each.sent for each in asked))
        tasks.cancel_scope.cancel()
    assert sorted(each.sent[0]["status"] for each in asked) == [200] * 256 + [429] * 44


async def test_two_do_not_work_on_one_directory(world: World, tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    desk = Desk(await world.serve(orchestrator(data=data)))
    await desk.create()

    async def start_another() -> None:
        async with anyio.create_task_group() as tasks:
            second = Placed(orchestrator(data=data), Surroundings(sample_process=False))
            await tasks.start(Life(App(second)).run)

    with pytest.raises(BaseException) as raised:
        await start_another()
    assert "an Orchestrator works on" in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("name", ["acknowledge_seconds", "backoff_seconds", "per_instance", "keep_seconds"])
def test_terms_under_which_nothing_would_be_done_are_refused(name: str) -> None:
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=name):
            Terms(**{name: value})  # type: ignore[arg-type]
