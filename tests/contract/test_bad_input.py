"""What is wrong, hostile or cut off: refused with the right code, nothing runs, nothing leaks, the droplet lives."""

from __future__ import annotations

import json
import uuid
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from tests.contract import served
from tests.contract.served import ME, Answer, Client, Sample, World, all_blocked, envelope, settings, token, until
from udc import Droplet, asgi, command
from udc._types import UNSET
from udc.errors import ConfigError

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world

LEAKS = (
    b"hunter2",
    b"/var/lib",
    b"Traceback",
    b"RuntimeError",
    b"site-packages",
    b"/src/udc",
    b"Error(",
    b"eyJ",
    b".py",
)


def refused(answer: Answer, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """It is the contract's error and says nothing that is nobody's business."""
    assert (answer.status, answer.code) == (status, code), answer.body[:300]
    body = answer.json()
    assert body["status"] == "error"
    assert set(body) == {"status", "error", "timestamp", "trace_id"}
    assert {"code", "message", "details", "retryable"} <= set(body["error"])
    for leak in LEAKS:
        assert leak not in answer.body, answer.body
    if field is not None:
        assert body["error"]["details"]["field"] == field
        assert field in body["error"]["message"]
    return dict(body)


async def lives(client: Client, droplet: Sample, *before: str) -> None:
    """Nothing ran but what was meant to, and a good call is answered."""
    assert droplet.ran == list(before)
    answer = await client("POST", "/message", bearer=token("write"), json=envelope())
    assert (answer.status, answer.json()["data"]) == (200, "hi")


async def message(client: Client, content: Any = None, **changes: Any) -> Answer:
    if isinstance(content, bytes):
        return await client("POST", "/message", bearer=token("write"), content=content, **changes)
    return await client("POST", "/message", bearer=token("write"), json=content)


NOT_JSON = {
    "empty": b"",
    "blank": b"  ",
    "cut off": json.dumps(envelope()).encode()[:-5],
    "trailing garbage": json.dumps(envelope()).encode() + b"}",
    "two values": b"{}{}",
    "single quotes": b"{'a': 1}",
    "invalid UTF-8": b'{"message_type": "query", "payload": {"type": "\xff\xfe"}}',
    "UTF-16": json.dumps(envelope()).encode("utf-16"),
    "NaN": b'{"message_type": "query", "payload": {"type": "echo", "x": NaN}}',
    "infinity": b'{"message_type": "query", "payload": {"type": "echo", "x": -Infinity}}',
    "lone surrogate": b'{"message_type": "query", "payload": {"type": "\\ud800"}}',
    "deep arrays": b'{"payload": ' + b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a comment": b"{} // hi",
    "control characters": b'{"a": "\x00"}',
}


@pytest.mark.parametrize("name", NOT_JSON)
async def test_what_is_not_json(world: World, name: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for path in ("/message", "/send", "/task", "/handle-chat", "/shutdown", "/reload-config"):
        answer = await client("POST", path, bearer=token("admin"), content=NOT_JSON[name])
        if name == "empty" and path in ("/shutdown", "/reload-config"):
            continue
        refused(answer, 400, "INVALID_REQUEST")
    if name != "empty":
        await lives(client, droplet)


@pytest.mark.parametrize("value", [b"[]", b"[{}]", b'"text"', b"1", b"null", b"true"])
async def test_a_body_that_is_no_object(world: World, value: bytes) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for path in ("/message", "/send", "/task"):
        refused(await client("POST", path, bearer=token("admin"), content=value), 400, "INVALID_REQUEST")
    await lives(client, droplet)


WRONG = [
    ("message_type", 1),
    ("message_type", None),
    ("message_type", ["query"]),
    ("message_type", "shout"),
    ("message_type", "QUERY"),
    ("payload", "text"),
    ("payload", [1]),
    ("payload", None),
    ("payload", 5),
    ("trace_id", "not-a-uuid"),
    ("trace_id", 5),
    ("trace_id", "0b9f8f5e7c2e4f7e9d551f2f6d1f8f01"),
    ("trace_id", {"$ne": 1}),
    ("source", True),
    ("source", 7.5),
    ("source", []),
    ("source", {}),
    ("source", 0),
    ("source", -1),
    ("target", False),
    ("target", {}),
    ("timestamp", "yesterday"),
    ("timestamp", {}),
    ("timestamp", True),
    ("timestamp", 1e300),
    ("message_id", 5),
    ("message_id", ""),
    ("message_id", "x" * 129),
    ("correlation_id", []),
    ("timeout_ms", "5"),
    ("timeout_ms", 1.5),
    ("timeout_ms", True),
    ("timeout_ms", -1),
    ("timeout_ms", 10**400),
    ("deadline", "soon"),
    ("deadline", []),
    ("attempt", 0),
    ("attempt", "1"),
    ("hops", -1),
    ("hops", 10**30),
    ("on_behalf_of", True),
    ("priority", "urgent"),
    ("priority", 1),
    ("reply_to", 5),
    ("signature", 5),
    ("udc_version", 1.0),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:20])
async def test_a_field_of_the_wrong_kind_is_named(world: World, field: str, value: Any) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    refused(await message(client, envelope(**{field: value})), 400, "INVALID_REQUEST", field)
    await lives(client, droplet)


async def test_a_missing_payload_is_named(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    refused(await message(client, envelope(payload=UNSET)), 400, "INVALID_REQUEST", "payload")
    await lives(client, droplet)


async def test_unknown_actions_list_the_known_ones(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for kind, known in (("query", "echo"), ("command", "store")):
        body = refused(await message(client, envelope("nothing", {}, message_type=kind)), 404, "NO_HANDLER")
        assert known in body["error"]["details"]["known"]
        assert repr(known) in body["error"]["message"]
    for kind in ("event", "status", "response"):
        answer = await message(client, envelope("nothing", {}, message_type=kind))
        assert (answer.status, answer.json()["handled"]) == (200, False)
    await lives(client, droplet)


async def test_of_duplicate_keys_the_last_wins(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    answer = await message(
        client,
        b'{"message_type":"nonsense","message_type":"query","payload":1,"payload":{"type":"echo","data":{"text":"b"}}}',
    )
    assert answer.json()["data"] == "b"
    task = b'{"task_id":"a","task_id":"b","type":"play","type":"work","payload":{"steps":1}}'
    assert (await client("POST", "/task", bearer=token("admin"), content=task)).json()["task_id"] == "b"


@pytest.mark.parametrize("path", ["/send", "/task", "/handle-chat"])
async def test_numbers_that_json_does_not_know_stay_out_everywhere(world: World, path: str) -> None:
    bodies = {
        "/send": '{"target": 15, "message_type": "event", "payload": {"x": %s}}',
        "/task": '{"id": "t", "type": "work", "payload": {"steps": 1, "x": %s}}',
        "/handle-chat": '{"message": "hi", "context": {"x": %s}}',
    }
    droplet = Sample()
    client = await world.serve(droplet)
    for number in ("NaN", "Infinity", "1e999"):
        content = (bodies[path] % number).encode()
        refused(await client("POST", path, bearer=token("admin"), content=content), 400, "INVALID_REQUEST")
    await lives(client, droplet)


async def test_huge_integers(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for number in ("1" + "0" * 400, "9" * 5000):
        content = b'{"message_type":"query","payload":{"type":"echo","data":{"text":%s}}}' % number.encode()
        answer = await message(client, content)
        assert answer.status == 400, answer.body
        answer = await client(
            "POST", "/shutdown", bearer=token("admin"), content=b'{"delay_seconds":%s}' % number.encode()
        )
        refused(answer, 400, "INVALID_REQUEST")
    await lives(client, droplet)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/task", {"type": "work"}, "task_id"),
        ("/task", {"id": "", "type": "work"}, "task_id"),
        ("/task", {"id": True, "type": "work"}, "task_id"),
        ("/task", {"id": "x" * 129, "type": "work"}, "task_id"),
        ("/task", {"id": "a"}, "task_type"),
        ("/task", {"id": "a", "type": "work", "attempt": True}, "attempt"),
        ("/task", {"id": "a", "type": "work", "attempt": 0}, "attempt"),
        ("/task", {"id": "a", "type": "work", "priority": 11}, "priority"),
        ("/task", {"id": "a", "type": "work", "deadline": "soon"}, "deadline"),
        ("/task", {"id": "a", "type": "work", "payload": 5}, "payload"),
        ("/handle-chat", {"message": 5}, "message"),
        ("/handle-chat", {"message": "a", "context": []}, "context"),
        ("/shutdown", {"delay_seconds": True}, "delay_seconds"),
        ("/shutdown", {"delay_seconds": 301}, "delay_seconds"),
        ("/shutdown", {"delay_seconds": -1}, "delay_seconds"),
        ("/shutdown", {"delay_seconds": 1.5}, "delay_seconds"),
        ("/reload-config", {"config_path": 5}, "config_path"),
    ],
)
async def test_fields_of_the_other_bodies_are_named(world: World, path: str, body: Any, field: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    answer = await client("POST", path, bearer=token("admin"), json=body)
    refused(answer, 400, "INVALID_REQUEST")
    assert {"task_id": ("task_id", "id"), "task_type": ("task_type", "type")}.get(field, (field,)).count(
        answer.json()["error"]["details"]["field"]
    )
    await lives(client, droplet)


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "x" * 300,
    ],
)
async def test_a_wrong_content_type(world: World, media_type: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for path in ("/message", "/send", "/task", "/handle-chat", "/shutdown", "/reload-config"):
        headers = {"content-type": media_type}
        answer = await client("POST", path, bearer=token("admin"), content=b"{}", headers=headers)
        refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    await lives(client, droplet)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"]
)
async def test_content_types_that_are_json(world: World, media_type: str) -> None:
    client = await world.serve(Sample())
    answer = await message(client, json.dumps(envelope()).encode(), headers={"content-type": media_type})
    assert answer.status == 200


async def test_a_body_of_two_megabytes(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    body = refused(
        await message(client, json.dumps(envelope("echo", {"text": "x" * 2**21})).encode()), 413, "PAYLOAD_TOO_LARGE"
    )
    assert body["error"]["details"] == {"limit_bytes": 2**20}
    refused(await client("POST", "/message", content=b"x" * 2**21), 401, "UNAUTHORIZED")  # nobody's: not even read
    await lives(client, droplet)


async def test_a_body_of_two_megabytes_without_its_length(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    bearer = {"authorization": f"Bearer {token('write')}"}
    if world.server is None:
        parts = [{"type": "http.request", "body": b"x" * 65536, "more_body": True} for _ in range(32)]
        connection = served.Connection(world.app, served.http_scope("POST", "/message", bearer), parts)
        refused(await connection.run(), 413, "PAYLOAD_TOO_LARGE")
        assert len(parts) > 10  # the rest was never read
    else:

        async def parts_() -> Any:
            for _ in range(32):
                yield b"x" * 65536

        got = await world.server.client.post("/message", content=parts_(), headers=bearer)
        refused(Answer(got.status_code, dict(got.headers), got.content), 413, "PAYLOAD_TOO_LARGE")
    await lives(client, droplet)


async def test_somebody_elses_source(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for source in (78, "78", "droplet-78", "admin"):
        body = refused(await message(client, envelope(source=source)), 403, "FORBIDDEN")
        assert body["error"]["details"]["field"] == "source"
    for source in (77, "77", "droplet-77"):
        assert (await message(client, envelope(source=source))).status == 200
    droplet.ran.clear()
    await lives(client, droplet)


async def test_somebody_elses_target(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    body = refused(await message(client, envelope(target=15)), 404, "NOT_FOUND")
    assert body["error"]["details"] == {"target": 15}
    for target in (ME, str(ME), "droplet-14", "Sample"):
        assert (await message(client, envelope(target=target))).status == 200
    droplet.ran.clear()
    await lives(client, droplet)


async def test_a_deadline_that_has_passed(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for late in ({"deadline": "2020-01-01T00:00:00Z"}, {"deadline": 5}, {"timeout_ms": 0}):
        refused(await message(client, envelope(**late)), 408, "DEADLINE_EXCEEDED")
    await lives(client, droplet)


async def test_seventeen_hops(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    refused(await message(client, envelope(hops=17)), 400, "HOP_LIMIT")
    await lives(client, droplet)
    assert (await message(client, envelope(hops=16))).status == 200


class Gathering(Droplet):
    id, name, steward = ME, "Gathering", "tests"

    def __init__(self) -> None:
        super().__init__(config=settings())
        self.runs = 0

    @command("gather")
    async def gather(self, data: dict[str, Any]) -> dict[str, Any]:
        self.runs += 1
        return data


async def test_a_message_id_with_another_payload(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    store = envelope("store", {"what": "a"}, message_type="command", message_id="m-1")
    first = await message(client, store)
    again = await message(client, {**store, "trace_id": str(uuid.uuid4())})
    assert (first.json()["data"], again.json()["data"], again.json()["duplicate"]) == (1, 1, True)
    assert again.json()["trace_id"] != first.json()["trace_id"]
    for other in ({"payload": {"type": "store", "data": {"what": "b"}}}, {"message_type": "event"}):
        refused(await message(client, {**store, **other}), 409, "CONFLICT")
    await lives(client, droplet, "store a")


async def test_a_message_id_with_its_keys_in_another_order_is_the_same_message(world: World) -> None:
    droplet = Gathering()
    client = await world.serve(droplet)
    told = []
    for payload in (
        {"type": "gather", "data": {"a": 1, "b": [{"x": 1, "y": None}], "c": "\u00e9"}},
        {"data": {"c": "\u00e9", "b": [{"y": None, "x": 1}], "a": 1}, "type": "gather"},
    ):
        body = {"message_type": "command", "message_id": "one", "payload": payload}
        told.append((await client("POST", "/message", bearer=token("write"), json=body)).json())
    assert [each["duplicate"] for each in told[1:]] == [True]
    assert told[0]["data"] == told[1]["data"]
    assert droplet.runs == 1
    for changed in (
        {"a": 1.5, "b": [{"x": 1, "y": None}], "c": "\u00e9"},
        {"a": 1, "b": [{"y": 1, "x": None}], "c": "\u00e9"},
    ):
        body = {"message_type": "command", "message_id": "one", "payload": {"type": "gather", "data": changed}}
        refused(await client("POST", "/message", bearer=token("write"), json=body), 409, "CONFLICT")


async def test_the_trace_is_no_identity(world: World) -> None:
    """Trap 20: two commands of one trace are two commands."""
    droplet = Sample()
    client = await world.serve(droplet)
    for number in (1, 2):
        store = envelope("store", {"what": "a"}, message_type="command", message_id=f"m-{number}")
        assert (await message(client, store)).json()["data"] == number
    await message(client, envelope("store", {"what": "a"}, message_type="command"))
    await lives(client, droplet, *["store a"] * 3)


async def test_one_message_id_of_two_senders_is_two_messages(world: World) -> None:
    """Trap 36: nothing that is remembered for one caller is shown to another."""
    droplet = Sample()
    client = await world.serve(droplet)
    for sender in (77, 78):
        store = envelope("store", {"what": str(sender)}, message_type="command", message_id="m", source=sender)
        answer = await client("POST", "/message", bearer=token("write", droplet_id=sender), json=store)
        assert answer.status == 200
        assert "duplicate" not in answer.json()
    await lives(client, droplet, "store 77", "store 78")


@pytest.mark.parametrize(
    ("action", "status", "code"),
    [
        ("boom", 500, "INTERNAL_ERROR"),
        ("thing", 500, "INTERNAL_ERROR"),
        ("hang", 504, "TIMEOUT"),
        ("dead", 503, "DEPENDENCY_UNAVAILABLE"),
        ("refuse", 409, "QUOTA_SPENT"),
    ],
)
async def test_a_handler_that_fails(world: World, action: str, status: int, code: str) -> None:
    droplet = Sample(config={"peers": served.dead_peer(), "security.token": token("write")})
    client = await world.serve(droplet)
    with anyio.fail_after(3):
        body = refused(await message(client, envelope(action, {})), status, code)
    assert body["trace_id"] == envelope()["trace_id"]
    assert body["error"]["retryable"] is False
    if code == "QUOTA_SPENT":
        assert (body["error"]["message"], body["error"]["details"]) == ("no images left", {"left": 0})
    droplet.ran.clear()
    await lives(client, droplet)


async def test_data_that_does_not_fit_the_handler(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for data in ({}, {"text": 5}, {"text": None}, [1], {"wrong": "x"}):
        refused(await message(client, envelope("echo", data)), 400, "INVALID_REQUEST")
    await lives(client, droplet)


@pytest.mark.parametrize("trace", ["a\tb", "x" * 5000, "<script>", "%0d%0aSet-Cookie: a=1"])
async def test_headers_are_not_echoed(world: World, trace: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for path in ("/nowhere", "/message"):
        answer = await client("POST", path, headers={"X-Trace-Id": trace, "X-Source": trace})
        assert trace.encode("latin-1") not in answer.body
        assert all(trace not in value for value in answer.headers.values())
    await lives(client, droplet)


@pytest.mark.parametrize(
    "path",
    [
        "/%00",
        "/..%2f..%2fetc%2fpasswd",
        "/health//",
        "/health/",
        "/HEALTH",
        "/%ff%fe",
        "/message;a=b",
        "/" + "a" * 5000,
    ],
)
async def test_strange_paths_are_nowhere(world: World, path: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    answer = await client("GET", path)
    refused(answer, 404, "NOT_FOUND")
    assert b"passwd" not in answer.body
    await lives(client, droplet)


async def test_a_method_of_ones_own(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    refused(await client("PROPFIND", "/health"), 405, "METHOD_NOT_ALLOWED")
    text = (await client("GET", "/metrics", bearer=token("read"))).body
    assert b'method="OTHER"' in text
    assert b"PROPFIND" not in text


async def test_a_hundred_and_one_bad_tokens(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for number in range(100):
        answer = await client("GET", "/state", bearer=f"bad.{number}.token" if number % 2 else None)
        assert answer.status == 401
    answer = await client("GET", "/state", bearer="bad.token.again")
    body = refused(answer, 429, "RATE_LIMITED")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert body["error"]["retryable"] is True
    assert (await client("GET", "/health")).status == 200
    assert (await client("GET", "/nowhere")).status == 404
    assert (await client("GET", "/state", bearer=token("read"))).status == 200
    if world.server is None:
        assert (await client("GET", "/state", address="10.9.9.9")).status == 401
    await lives(client, droplet)


async def test_a_caller_that_leaves_does_not_end_accepted_work(world: World) -> None:
    """Trap 26."""
    droplet = Sample()
    client = await world.serve(droplet)
    if world.server is None:
        content = json.dumps(envelope("wait", {}, message_type="command")).encode()
        headers = {"authorization": f"Bearer {token('write')}"}
        connection = served.Connection(
            world.app, served.http_scope("POST", "/message", headers), [{"type": "http.request", "body": content}]
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.run)
            await all_blocked()
            tasks.cancel_scope.cancel()  # as some servers do when the caller leaves
            droplet.go_on.set()
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(message, client, envelope("wait", {}, message_type="command"))
            await until(lambda: droplet.ran == ["wait"])
            tasks.cancel_scope.cancel()
        droplet.go_on.set()
        await until(lambda: "waited" in droplet.ran)
    await lives(client, droplet, "wait", "waited")


FIVE_MISTAKES = {
    "droplet.id": -4,
    "droplet.steward": "",
    "droplet.url": "not a url",
    "limits.in_flight": 0,
    "log_level": "LOUD",
    "security.public_key": "no key s3cr3t",
}


async def test_five_mistakes_of_a_configuration_are_told_at_once() -> None:
    droplet = Sample(config=FIVE_MISTAKES)
    life = served.Life(asgi.app(droplet))
    with pytest.raises(ConfigError) as caught:
        await life.run()
    (failed,) = life.messages
    assert failed["type"] == "lifespan.startup.failed"
    for name in FIVE_MISTAKES:
        if name != "droplet.steward":
            assert name in failed["message"], failed
    assert len(caught.value.problems) >= 5
    assert "s3cr3t" not in failed["message"]


async def _raw(port: int, *sends: bytes, end: bool = False) -> bytes:
    """Everything that comes back until the server closes, or has nothing more to say."""
    stream: SocketStream = await anyio.connect_tcp("127.0.0.1", port)
    got = b""
    async with stream:
        for part in sends:
            await stream.send(part)
        if end:
            await stream.send_eof()
        with anyio.move_on_after(0.15):
            try:
                while True:
                    got += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
    return got


def _post(body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST /message HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('write')}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


async def test_half_a_body_runs_nothing(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    whole = json.dumps(envelope()).encode()
    if world.server is None:
        incoming: list[Any] = [{"type": "http.request", "body": whole, "more_body": True}, {"type": "http.disconnect"}]
        scope = served.http_scope("POST", "/message", {"authorization": f"Bearer {token('write')}"})
        connection = served.Connection(world.app, scope, incoming)
        await world.app(connection.scope, connection.receive, connection.send)
        assert connection.sent == []
    else:
        assert await _raw(world.server.port, _post(whole, length=len(whole) + 10), end=True) == b""
    await lives(client, droplet)


@served.socket_only
async def test_a_slow_body_is_waited_for(world: World) -> None:
    assert world.server is not None
    port = world.server.port
    droplet = Sample()
    client = await world.serve(droplet)
    whole = _post(json.dumps(envelope()).encode())
    got = await _raw(port, *(whole[at : at + 97] for at in range(0, len(whole), 97)))
    assert got.startswith(b"HTTP/1.1 200")
    await lives(client, droplet, "echo")


@served.socket_only
async def test_garbage_on_the_socket(world: World) -> None:
    assert world.server is not None
    port = world.server.port
    droplet = Sample()
    client = await world.serve(droplet)
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n", b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n"):
        got = await _raw(port, garbage)
        assert got == b"" or got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
        assert b"Traceback" not in got
    await lives(client, droplet)


@served.socket_only
async def test_pipelined_garbage_after_a_good_request(world: World) -> None:
    assert world.server is not None
    port = world.server.port
    droplet = Sample()
    client = await world.serve(droplet)
    got = await _raw(port, _post(json.dumps(envelope()).encode()) + b"\x00\x01\x02 nonsense\r\n\r\n")
    assert got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    assert got.count(b'"data":"hi"') <= 1
    droplet.ran.clear()
    await lives(client, droplet)


@served.socket_only
@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: abc",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip",
        "X-Trace-Id: \xff\xfe",
        "X-Trace-Id: a\x00b",
    ],
)
async def test_contradictory_framing_runs_nothing(world: World, headers: str) -> None:
    assert world.server is not None
    port = world.server.port
    droplet = Sample()
    client = await world.serve(droplet)
    head = f"POST /message HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('write')}\r\n{headers}\r\n\r\n"
    got = await _raw(port, head.encode("latin-1") + b"{}")
    assert b" 200 " not in got[:20]
    await lives(client, droplet)


async def test_a_droplet_without_keys_lets_nobody_in(world: World) -> None:
    droplet = Sample(config={**settings(), "security.public_key": None})
    client = await world.serve(droplet)
    answer = await client("POST", "/message", bearer=token("write"), json=envelope())
    refused(answer, 503, "KEYS_UNAVAILABLE")
    assert droplet.ran == []
