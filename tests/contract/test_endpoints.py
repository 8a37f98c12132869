"""Every endpoint of the contract's section 2: names, types, permissions, and that what it says is true."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any

import anyio
import pytest

from tests.contract import served
from tests.contract.served import ME, Client, Extended, Sample, World, all_blocked, envelope, extra_rows, token
from udc import Droplet, Endpoint, HttpRequest, HttpResponse
from udc._wiring.surroundings import Surroundings
from udc.errors import DefinitionError
from udc.identity.instance_key import verify_signature
from udc.wire.canonical import canonical_json

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world

ADMIN = ("admin",)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

GUARDED = [
    ("GET", "/capabilities", "read"),
    ("GET", "/state", "read"),
    ("GET", "/dependencies", "read"),
    ("GET", "/version", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/logs", "read"),
    ("GET", "/events", "read"),
    ("GET", "/proof", "read"),
    ("GET", "/openapi.json", "read"),
    ("POST", "/message", "write"),
    ("POST", "/handle-chat", "write"),
    ("POST", "/task", "write"),
    ("POST", "/send", "admin"),
    ("POST", "/reload-config", "admin"),
    ("POST", "/shutdown", "admin"),
]
GRANTS = {"read": {"read", "admin"}, "write": {"write", "admin"}, "admin": {"admin"}}


def a_time(text: Any) -> datetime:
    assert TIME.fullmatch(text), text
    return datetime.fromisoformat(text)


async def got(client: Client, path: str, *permissions: str, **options: Any) -> Any:
    answer = await client("GET", path, bearer=token(*(permissions or ("read",))), **options)
    assert answer.status == 200, answer.body
    return answer.json()


async def sent(client: Client, message: dict[str, Any], status: int = 200, **options: Any) -> Any:
    answer = await client("POST", "/message", bearer=token("write"), json=message, **options)
    assert answer.status == status, answer.body
    return answer.json()


async def test_health_is_public_and_complete(world: World) -> None:
    client = await world.serve(Sample())
    answer = await client("GET", "/health")
    body = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert a_time(body["updated_at"]) == a_time(body["timestamp"])
    assert type(body["id"]) is int
    assert type(body["cost_usd"]) is float
    assert type(body["yield_usd"]) is float
    assert {name: body[name] for name in ("id", "name", "steward", "status", "endpoint", "cost_usd", "yield_usd")} == {
        "id": ME,
        "name": "Sample",
        "steward": "test-team",
        "status": "active",
        "endpoint": "http://127.0.0.1:8014",
        "cost_usd": 0.0,
        "yield_usd": 0.0,
    }
    assert body["proof"] == hashlib.sha256(b"{}").hexdigest()
    union = {name: body[name] for name in ("service", "version", "uptime", "uptime_seconds", "ok", "udc_version")}
    assert union == {
        "service": "Sample",
        "version": "3.2.1",
        "uptime": 0,
        "uptime_seconds": 0,
        "ok": True,
        "udc_version": "1.0",
    }


async def test_health_shows_what_was_booked(world: World) -> None:
    client = await world.serve(Sample())
    for what in ("a", "b"):
        await sent(client, envelope("store", {"what": what}, message_type="command"))
    health = (await client("GET", "/health")).json()
    assert (health["cost_usd"], health["yield_usd"]) == (1.0, 4.0)


async def test_probes(world: World) -> None:
    client = await world.serve(Sample())
    live, ready = await client("GET", "/livez"), await client("GET", "/readyz")
    assert live.status == ready.status == 200
    assert live.json()["ok"] is True
    assert len(live.json()["instance_id"]) == 36
    assert ready.json() == {"ready": True, "phase": "ready", "presence": "unregistered", "reasons": []}


async def test_capabilities(world: World) -> None:
    client = await world.serve(Sample(config={"build.commit_hash": "abc", "build.build_date": "2026-01-01"}))
    body = await got(client, "/capabilities")
    assert body["version"] == "3.2.1"
    assert body["features"] == body["capabilities"] == ["sample", "test"]
    assert body["dependencies"] == ["15"]
    assert body["udc_version"] == "1.0"
    assert body["metadata"] == {"build_date": "2026-01-01", "commit_hash": "abc"}
    assert (body["service"], body["service_name"], body["droplet_id"]) == ("Sample", "Sample", ME)
    assert {"method": "GET", "path": "/health", "description": "Whether the droplet works"} in body[
        "integration_endpoints"
    ]
    actions = {(each["message_type"], each["name"]): each for each in body["actions"]}
    echo = actions["query", "echo"]
    assert set(echo) == {
        "name",
        "message_type",
        "description",
        "input_schema",
        "output_schema",
        "idempotent",
        "scope",
    }
    assert (echo["description"], echo["idempotent"], echo["scope"]) == ("Say it again.", True, None)
    assert actions["query", "guarded"]["scope"] == "sample:special"
    assert actions["command", "store"]["idempotent"] is False
    assert ("task", "work") in actions
    assert body["fingerprint"] == hashlib.sha256(canonical_json(body["actions"])).hexdigest()


async def test_state_counts_what_really_happened(world: World) -> None:
    client = await world.serve(Sample())
    before = await got(client, "/state")
    for name in ("memory_mb", "uptime_seconds", "requests_total", "requests_per_minute", "errors_last_hour"):
        assert type(before[name]) is int, name
    assert type(before["cpu_percent"]) is float
    a_time(before["last_restart"])
    assert before["errors_last_hour"] == 0
    await client("GET", "/health")
    await client("GET", "/nowhere")
    await client("GET", "/state")  # 401
    await sent(client, envelope("boom", {}), 500)
    await client("POST", "/message", bearer=token("write"), content=b"x" * (2**20 + 1))
    after = await got(client, "/state")
    # The /state before counts as well: it had been answered by then.
    assert after["requests_total"] - before["requests_total"] == 6
    assert after["requests_per_minute"] - before["requests_per_minute"] == 6
    assert after["errors_last_hour"] == 1
    assert after["metrics"]["requests_per_minute"] == after["requests_per_minute"]
    assert after["metrics"]["error_rate_percent"] == pytest.approx(100 / 6, abs=0.001)
    assert after["metrics"]["average_response_time_ms"] > 0
    assert (after["status"], after["mode"], after["uptime"]) == ("active", "normal", after["uptime_seconds"])
    assert after["current_load"] == 0


async def test_state_stays_json_whatever_the_droplet_measures(world: World) -> None:
    """A gauge may be NaN; JSON may not."""
    client = await world.serve(Sample())
    await sent(client, envelope("store", {"what": "nan"}, message_type="command"))
    answer = await client("GET", "/state", bearer=token("read"))
    assert b"NaN" not in answer.body
    assert answer.json()["custom_metrics"] == {"stored": 1.0, "temperature": None}
    metrics = await client("GET", "/metrics", bearer=token("read"))
    assert metrics.status == 200
    assert b"\ndroplet_temperature NaN\n" in metrics.body


async def test_dependencies_are_measured(world: World) -> None:
    client = await world.serve(Sample(config={"peers": served.dead_peer()}))
    body = await got(client, "/dependencies")
    assert body["required"] == [{"id": 15, "name": body["required"][0]["name"], "status": "disconnected"}]
    assert body["optional"] == [{"id": None, "name": "Nobody", "status": "unavailable"}]
    assert {"id": None, "name": "Nobody", "status": "unavailable"} in body["missing"]
    assert body["required_services"] == [body["required"][0]["name"]]
    assert (body["optional_services"], body["external_apis"], body["connected"]) == (["Nobody"], [], [])


async def test_version(world: World) -> None:
    client = await world.serve(Sample(config={"build.deployed_by": "ci", "environment": "staging"}))
    assert await got(client, "/version") == {
        "version": "3.2.1",
        "build_date": "",
        "commit_hash": "",
        "environment": "staging",
        "deployed_by": "ci",
    }


SAMPLE_LINE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\[\\"n]|[^"\\\n])*",?)*\})? '
    r"(-?\d+(\.\d+)?(e[+-]?\d+)?|NaN|[+-]Inf)"
)


def parsed_metrics(text: str) -> dict[str, float]:
    """Strict enough for what we write: HELP and TYPE before the samples of their family, nothing twice."""
    assert text.endswith("\n")
    family, found, typed = "", dict[str, float](), set[str]()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            continue
        if line.startswith("# TYPE "):
            assert line.split()[2] == family
            assert family not in typed
            typed.add(family)
            continue
        assert SAMPLE_LINE.fullmatch(line), line
        name, _, value = line.rpartition(" ")
        assert name.startswith(family)
        assert name not in found
        found[name] = float(value)
    return found


async def test_metrics_are_prometheus_text(world: World) -> None:
    client = await world.serve(Sample())
    await sent(client, envelope("store", {"what": "a"}, message_type="command"))
    await client("GET", "/nowhere")
    answer = await client("GET", "/metrics", bearer=token("read"))
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    metrics = parsed_metrics(answer.body.decode())
    assert metrics['udc_http_requests_total{method="POST",route="/message",status="200"}'] == 1
    assert metrics['udc_http_requests_total{method="GET",route="",status="404"}'] == 1
    assert metrics['udc_messages_total{message_type="command",action="store",code="ok"}'] == 1
    assert metrics["droplet_stored_total"] == 1
    assert metrics["droplet_temperature"] == 21.5
    assert metrics["udc_cost_usd_total"] == 0.5
    buckets = [
        value for name, value in metrics.items() if name.startswith('udc_http_request_seconds_bucket{route="/message"')
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == metrics['udc_http_request_seconds_count{route="/message"}'] == 1


async def test_metrics_and_openapi_can_be_public(world: World) -> None:
    client = await world.serve(Sample(config={"security.public_metrics": True, "security.public_openapi": True}))
    assert (await client("GET", "/metrics")).status == 200
    assert (await client("GET", "/openapi.json")).status == 200


JWT_LIKE = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkcm9wbGV0LTc3In0.c2lnbmF0dXJlc2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"token is {JWT_LIKE}", JWT_LIKE),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("connecting with password=hunter2!", "hunter2"),
        ('{"password": "two words, and more"}', "words"),
        ('{\\"client_secret\\": \\"s3cr3t\\"}', "s3cr3t"),
        ("secret_key=s3cr3t", "s3cr3t"),
        ("X-Registry-Key: s3cr3t", "s3cr3t"),
        ("opening postgres://sam:s3cr3t@db/prod", "s3cr3t"),
        ("sent my-own-droplet-secret along", "my-own-droplet-secret"),
    ],
)
async def test_logs_mask_secrets(world: World, line: str, secret: str) -> None:
    client = await world.serve(Sample(config={"droplet.secret": "my-own-droplet-secret"}))
    await sent(client, envelope("log", {"text": line}))
    body = await got(client, "/logs")
    row = next(row for row in body["logs"] if row["logger"] == "udc.handler")
    assert set(row) == {"timestamp", "level", "logger", "message", "trace_id"}
    assert secret not in json.dumps(body)
    assert "***" in row["message"]
    assert row["level"] == "WARNING"
    assert row["trace_id"] == envelope()["trace_id"]
    assert body["droplet_id"] == ME
    assert body["total"] >= 1


async def test_logs_are_limited_and_filtered(world: World) -> None:
    client = await world.serve(Sample())
    for number in range(3):
        await sent(client, envelope("log", {"text": f"line {number}"}))
    rows = (await got(client, "/logs?limit=2"))["logs"]
    assert [row["message"] for row in rows] == ["line 1", "line 2"]
    assert (await got(client, "/logs?level=error"))["logs"] == []
    assert len((await got(client, "/logs?level=warning"))["logs"]) == 3


async def test_logs_of_two_droplets_in_one_process_are_apart(world: World) -> None:
    class Other(Sample):
        id = 15
        needs = (99,)

    first = await world.serve(Sample())
    app = world.app
    second = await world.serve(Other())
    await sent(second, envelope("log", {"text": "of the second"}, target=15))
    if world.server is not None:
        world.server.switch.app = app
    await sent(first, envelope("log", {"text": "of the first"}))
    lines = {row["message"] for row in (await got(first, "/logs"))["logs"]}
    assert "of the first" in lines
    assert "of the second" not in lines


async def test_events_are_limited_and_filtered(world: World) -> None:
    client = await world.serve(Sample())
    await client("GET", "/state")
    await client("GET", "/state")
    body = await got(client, "/events")
    # Strangers can fail to authenticate as often as they like: that is counted, not kept here.
    kept = {row["event_type"] for row in body["events"]}
    assert "phase_changed" in kept
    assert kept.isdisjoint({"authentication_failed", "request_answered"})
    assert (body["droplet_id"], body["total"] >= 3) == (ME, True)
    a_time(body["events"][0]["timestamp"])
    phases = (await got(client, "/events?event_type=phase_changed&limit=1"))["events"]
    assert [row["detail"]["after"] for row in phases] == ["ready"]


@pytest.mark.parametrize(
    "path",
    [
        "/logs?limit=0",
        "/logs?limit=1001",
        "/events?limit=x",
        "/events?limit=",
        "/logs?limit=²",
        "/logs?level=loud",
        "/logs?limit=99999999999999999999",
    ],
)
async def test_bad_query_parameters_name_themselves(world: World, path: str) -> None:
    client = await world.serve(Sample())
    answer = await client("GET", path.replace("²", "%C2%B2"), bearer=token("read"))
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.json()["error"]["details"]["field"] in path


async def test_proof_is_signed_and_health_shows_its_hash(world: World) -> None:
    client = await world.serve(Sample())
    nothing = await client("GET", "/proof", bearer=token("read"))
    assert (nothing.status, nothing.code) == (404, "NOT_FOUND")
    await sent(client, envelope("echo"))  # a query changes no state
    assert (await client("GET", "/proof", bearer=token("read"))).status == 404
    await sent(client, envelope("store", {"what": "a"}, message_type="command"))
    proof = await got(client, "/proof")
    assert set(proof) == {"action", "timestamp", "trace_id", "droplet_id", "instance_id", "signature"}
    assert (proof["action"], proof["droplet_id"], proof["trace_id"]) == ("command:store", ME, envelope()["trace_id"])
    assert proof["instance_id"] == (await client("GET", "/livez")).json()["instance_id"]
    unsigned = {name: value for name, value in proof.items() if name != "signature"}
    public_key = world.placed[0].hosted.parts.proofs._key.public_key
    assert verify_signature(public_key, proof["signature"], canonical_json(unsigned))
    assert (await client("GET", "/health")).json()["proof"] == hashlib.sha256(canonical_json(proof)).hexdigest()


async def test_a_task_is_an_action_too(world: World) -> None:
    client = await world.serve(Sample())
    await client("POST", "/task", bearer=token("admin"), json={"id": "t-1", "type": "work", "payload": {"steps": 1}})
    assert (await got(client, "/proof"))["action"] == "task:work"


async def test_chat(world: World) -> None:
    client = await world.serve(Sample())
    answer = await client(
        "POST", "/handle-chat", bearer=token("write"), json={"message": "hi", "session_id": "s", "context": {"a": 1}}
    )
    assert answer.json() == {"response": "you said hi", "confidence": 1.0, "context": {"a": 1}}


async def test_no_chat_handler(world: World) -> None:
    class Mute(Sample):
        chat = None  # type: ignore[assignment]  # the way to remove a handler

    client = await world.serve(Mute())
    answer = await client("POST", "/handle-chat", bearer=token("write"), json={"message": "hi"})
    assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_receipt(world: World) -> None:
    client = await world.serve(Sample())
    body = await sent(client, envelope("echo", {"text": "hi"}, message_id="m-1"))
    a_time(body["processed_at"])
    assert {
        name: body[name] for name in ("received", "trace_id", "result", "data", "message_id", "handled", "status")
    } == {
        "received": True,
        "trace_id": envelope()["trace_id"],
        "result": "success",
        "data": "hi",
        "message_id": "m-1",
        "handled": True,
        "status": "completed",
    }
    assert body["timestamp"] == body["processed_at"]
    assert "duplicate" not in body


async def test_task_is_accepted_once_per_attempt(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    orchestrator = token("write", droplet_id=served.ORCHESTRATOR)
    asked = {"task_id": "t-1", "task_type": "work", "payload": {"steps": 3}, "attempt": 2}
    for _ in range(2):
        answer = await client("POST", "/task", bearer=orchestrator, json=asked)
        assert (answer.status, answer.json()) == (200, {"status": "accepted", "task_id": "t-1"})
    older = await client("POST", "/task", bearer=orchestrator, json={**asked, "attempt": 1})
    assert (older.status, older.code) == (409, "CONFLICT")
    await all_blocked()
    assert droplet.ran == ["work"]


async def test_tasks_come_from_the_orchestrator_or_an_admin(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    asked = {"id": 5, "type": "work", "payload": '{"steps": 1}'}
    refused = await client("POST", "/task", bearer=token("write"), json=asked)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert droplet.ran == []
    accepted = await client("POST", "/task", bearer=token("admin"), json=asked)
    assert accepted.json() == {"status": "accepted", "task_id": "5"}
    late = {**asked, "id": 6, "deadline": "2020-01-01T00:00:00"}
    answer = await client("POST", "/task", bearer=token("admin"), json=late)
    assert (answer.status, answer.code) == (408, "DEADLINE_EXCEEDED")
    unknown = await client("POST", "/task", bearer=token("admin"), json={**asked, "type": "play"})
    assert (unknown.status, unknown.code) == (404, "NO_HANDLER")


async def test_send_tells_of_a_failed_delivery_in_an_answer(world: World) -> None:
    client = await world.serve(Sample(config={"peers": served.dead_peer(), "security.token": token("write")}))
    asked = {"target": "Dead", "message_type": "event", "payload": {"event_type": "x"}, "retry_count": 0}
    for bearer in (token("admin"), token("read", scope="udc:send")):
        answer = await client("POST", "/send", bearer=bearer, json=asked)
        body = answer.json()
        assert answer.status == 200
        assert (body["sent"], body["result"], body["target"], body["data"]) == (False, "error", "Dead", None)
        assert body["error"]["code"] == "DEPENDENCY_UNAVAILABLE"
        a_time(body["timestamp"])


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"target": "http://169.254.169.254/latest"}, 400, "INVALID_REQUEST"),
        ({"target": "//evil.example"}, 404, "NOT_FOUND"),
        ({"target": "Nobody"}, 404, "NOT_FOUND"),
        ({"target": True}, 400, "INVALID_REQUEST"),
        ({"message_type": "response"}, 400, "INVALID_REQUEST"),
        ({"priority": "urgent"}, 400, "INVALID_REQUEST"),
        ({"retry_count": 11}, 400, "INVALID_REQUEST"),
        ({"payload": [1]}, 400, "INVALID_REQUEST"),
    ],
)
async def test_send_refuses_what_it_cannot_send(world: World, changes: dict[str, Any], status: int, code: str) -> None:
    client = await world.serve(Sample())
    asked = {"target": 15, "message_type": "event", "payload": {}, **changes}
    answer = await client("POST", "/send", bearer=token("admin"), json=asked)
    assert answer.status in ((status, 400) if status == 404 else (status,)), answer.body
    assert answer.code in (code, "INVALID_REQUEST")


@pytest.mark.parametrize(("method", "path", "access"), GUARDED)
async def test_permissions(world: World, method: str, path: str, access: str) -> None:
    client = await world.serve(Sample())
    none = await client(method, path)
    assert (none.status, none.code) == (401, "UNAUTHORIZED")
    assert none.headers["www-authenticate"] == 'Bearer realm="udc"'
    bad = await client(method, path, bearer="not.a.token")
    assert bad.status == 401
    assert bad.headers["www-authenticate"] == 'Bearer realm="udc", error="invalid_token"'
    for permission in ("read", "write", "admin"):
        answer = await client(method, path, bearer=token(permission), content=b"{broken" if method == "POST" else b"")
        if permission in GRANTS[access]:
            assert answer.status not in (401, 403) or path == "/task", (permission, answer.body)
        else:
            assert (answer.status, answer.code) == (403, "FORBIDDEN"), permission
            assert answer.json()["error"]["details"]["missing_permission"] == access
    nothing = await client(method, path, bearer=token())
    assert nothing.status == 403
    scope = await client(method, path, bearer=token(scope="udc:send"), content=b"{broken" if method == "POST" else b"")
    assert scope.status == (400 if path == "/send" else 403)


async def test_a_handlers_scope(world: World) -> None:
    client = await world.serve(Sample())
    answer = await client("POST", "/message", bearer=token("write"), json=envelope("guarded", {}))
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    for bearer in (token("write", scope="sample:special other"), token("admin")):
        answer = await client("POST", "/message", bearer=bearer, json=envelope("guarded", {}))
        assert answer.json()["data"] == "special"


async def test_an_unknown_path_is_404_before_any_token(world: World) -> None:
    client = await world.serve(Sample())
    for method in ("GET", "POST", "DELETE"):
        answer = await client(method, "/nowhere")
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
    assert (await client("POST", "/emergency-stop")).status == 404


async def test_a_wrong_method_is_405_with_allow(world: World) -> None:
    client = await world.serve(Extended())
    for method, path, allow in (
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("GET", "/message", "OPTIONS, POST"),
        ("HEAD", "/message", "OPTIONS, POST"),
        ("PUT", "/hello/ada", "DELETE, GET, HEAD, OPTIONS"),
    ):
        answer = await client(method, path)
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert method == "HEAD" or answer.code == "METHOD_NOT_ALLOWED"


async def test_head_is_get_without_a_body(world: World) -> None:
    client = await world.serve(Sample())
    got_, head = await client("GET", "/livez"), await client("HEAD", "/livez")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got_.headers["content-length"]
    assert (await client("HEAD", "/state")).status == 401
    assert (await client("HEAD", "/message")).status == 405


async def test_openapi_lists_every_endpoint(world: World) -> None:
    client = await world.serve(Extended())
    document = await got(client, "/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "Sample", "version": "3.2.1"}
    assert document["servers"] == [{"url": "http://127.0.0.1:8014"}]
    operations = {(method.upper(), path) for path, each in document["paths"].items() for method in each}
    assert {(method, path) for method, path, _ in GUARDED} <= operations
    assert {(row.method, row.path) for row in extra_rows()} <= operations
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)
    assert document["paths"]["/health"]["get"]["security"] == []
    assert document["paths"]["/hello/{name}"]["get"]["parameters"][0]["name"] == "name"
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


async def test_the_users_own_endpoints(world: World) -> None:
    client = await world.serve(Extended())
    assert await got(client, "/hello/ada") == {"hello": "ada", "caller": "77"}
    assert await got(client, "/hello/a%20b") == {"hello": "a b", "caller": "77"}
    assert (await client("GET", "/hello/a/b", bearer=token("read"))).status == 404
    assert (await client("GET", "/hello/", bearer=token("read"))).status == 404
    # The same template under another name: each row has its own.
    gone = await client("DELETE", "/hello/ada", bearer=token("admin"))
    assert (gone.status, gone.json()) == (200, {"gone": "ada"})
    empty = await client("GET", "/empty")
    assert (empty.status, empty.headers["x-kind"], empty.body) == (204, "empty", b"")
    assert "content-type" not in empty.headers
    failed = await client("POST", "/failing")
    assert (failed.status, failed.code) == (500, "INTERNAL_ERROR")
    assert b"hunter2" not in failed.body


@pytest.mark.parametrize("path", ["/health", "/message", "/hello/{other}"])
async def test_a_clash_of_endpoints_raises_at_start_naming_both(way: str, path: str) -> None:
    async def mine(request: HttpRequest) -> None: ...

    class Clashing(Extended):
        endpoints = (
            *extra_rows(),
            Endpoint(method="GET" if path != "/message" else "POST", path=path, access="read", handler=mine),
        )

    with pytest.raises(DefinitionError) as caught:
        Clashing()._host(Surroundings())
    text = str(caught.value)
    assert "mine" in text
    assert path in text
    assert {"/health": "Describe.health", "/message": "Messages", "/hello/{other}": "_hello"}[path] in text
    assert " at 0x" not in text


class Ticking(Droplet):
    """Streams."""

    id, name, steward = 16, "Ticking", "test-team"

    def __init__(self) -> None:
        super().__init__(config=served.settings())
        self.next = anyio.Event()
        self.closed = anyio.Event()
        self.started = 0

    async def ticks(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=self._parts(), media_type="text/event-stream")

    async def _parts(self) -> Any:
        self.started += 1
        try:
            for number in range(3):
                yield f"data: {number}\n\n".encode()
                await self.next.wait()
                self.next = anyio.Event()
        finally:
            self.closed.set()

    async def broken(self, _: HttpRequest) -> HttpResponse:
        async def parts() -> Any:
            yield b"first"
            raise RuntimeError(served.SECRET_TEXT)

        return HttpResponse(body=parts())

    @property
    def endpoints(self) -> Any:  # type: ignore[override]  # bound methods, so that the test sees the instance
        return [
            Endpoint(method="GET", path="/ticks", access="public", handler=self.ticks),
            Endpoint(method="GET", path="/broken", access="public", handler=self.broken),
        ]


async def test_a_stream_arrives_part_by_part(world: World, way: str) -> None:
    droplet = Ticking()
    await world.serve(droplet)
    got_: list[bytes] = []
    if world.server is not None:
        async with world.server.client.stream("GET", "/ticks") as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            async for part in answer.aiter_bytes():
                got_.append(part)
                droplet.next.set()
    else:
        connection = served.Connection(world.app, served.http_scope("GET", "/ticks"), [{"type": "http.request"}])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            for number in range(1, 4):
                got_ = await connection.until_parts(number)
                assert len(got_) == number
                droplet.next.set()
        assert connection.sent[-1] == {"type": "http.response.body", "body": b""}
    assert got_ == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]
    assert droplet.closed.is_set()


async def test_a_caller_that_leaves_closes_the_stream(world: World) -> None:
    droplet = Ticking()
    await world.serve(droplet)
    if world.server is not None:
        async with world.server.client.stream("GET", "/ticks") as answer:
            async for _ in answer.aiter_bytes():
                break
    else:
        connection = served.Connection(world.app, served.http_scope("GET", "/ticks"), [{"type": "http.request"}])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await connection.until_parts(1)
            connection.left.set()
    with anyio.fail_after(5):
        await droplet.closed.wait()


async def test_head_of_a_stream_sends_nothing_and_closes_it(world: World) -> None:
    droplet = Ticking()
    client = await world.serve(droplet)
    with anyio.fail_after(5):
        answer = await client("HEAD", "/ticks")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "text/event-stream")
    assert droplet.closed.is_set() or droplet.started == 0
