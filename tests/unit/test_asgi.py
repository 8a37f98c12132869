"""The ASGI adapter: a server's events in, the surface's answers out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

from tests.conftest import virtual_time
from tests.contract.served import Connection, Life, http_scope
from udc import asgi
from udc.errors import ConfigError, ContractError
from udc.surface._base import HttpRequest, HttpResponse


class Echo:
    """A surface that keeps what it was asked."""

    max_body_bytes = 10
    express: None = None
    body_timeout_seconds = 30.0
    closed_paths = frozenset({"/closed"})

    def __init__(self, response: HttpResponse | None = None) -> None:
        self.response = response or HttpResponse(body=b"{}")
        self.seen: list[HttpRequest] = []

    async def handle(self, request: HttpRequest) -> HttpResponse:
        self.seen.append(request)
        return self.response

    def refuse_body(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=413, body=b"too large")

    def refuse_unread(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=415, body=b"unreadable")

    def refuse_late(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=408, body=b"too late")

    def turned_away(self, request: HttpRequest) -> HttpResponse | None:
        return HttpResponse(status=401, body=b"go away") if request.path in self.closed_paths else None


class Stub:
    """Hosts a surface; each life may go wrong in a way of its own."""

    def __init__(self, surface: Echo | None = None, *, start: Any = None, run: Any = None, stop: Any = None) -> None:
        self.surface = surface or Echo()
        self.errors = {"start": start, "run": run, "stop": stop}
        self.lives = 0
        self.asked = anyio.Event()
        self.crash = anyio.Event()
        self.ended = False

    grace_seconds = 1.0

    def _host(self) -> Stub:
        self.lives += 1
        return self

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        if self.errors["start"]:
            raise self.errors["start"]
        task_status.started()
        if self.errors["run"]:
            await self.crash.wait()
            raise self.errors["run"]
        await self.asked.wait()
        if self.errors["stop"]:
            raise self.errors["stop"]
        self.ended = True

    async def over(self) -> None:
        await self.asked.wait()

    def request_stop(self) -> None:
        self.asked.set()


def started(surface: Echo) -> asgi.App:
    app = asgi.app(Stub(surface))
    app._hosted = Stub(surface)
    return app


async def ask(app: Any, method: str = "GET", path: str = "/", *, parts: Any = (b"",), **scope: Any) -> Connection:
    incoming = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    incoming[-1]["more_body"] = False
    connection = Connection(app, http_scope(method, path, **scope), incoming)
    await connection.run()
    return connection


async def test_lifespan_starts_and_stops() -> None:
    hosted = Stub()
    life = Life(asgi.app(hosted))
    async with anyio.create_task_group() as tasks:
        await tasks.start(life.run)
        assert life.messages == [{"type": "lifespan.startup.complete"}]
        assert not hosted.ended
        life.stop.set()
    assert hosted.ended
    assert life.messages[-1] == {"type": "lifespan.shutdown.complete"}


async def test_each_lifespan_is_a_life() -> None:
    hosted = Stub()
    app = asgi.app(hosted)
    for _ in range(2):
        life = Life(app)
        life.stop.set()
        await life.run()
    assert hosted.lives == 2


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError(["droplet.id: missing", "peers: none"]), "the configuration has 2 problems:\n  - droplet.id: m"),
        (RuntimeError(), "RuntimeError"),
        (ExceptionGroup("two", [ValueError("a"), ValueError()]), "a; ValueError"),
    ],
)
async def test_a_failed_start_is_told_with_its_reason(error: Exception, message: str) -> None:
    life = Life(asgi.app(Stub(start=error)))
    with pytest.raises(ExceptionGroup):
        await life.run()
    assert [each["type"] for each in life.messages] == ["lifespan.startup.failed"]
    assert life.messages[0]["message"].startswith(message)


async def test_a_droplet_that_cannot_be_made_is_a_failed_start() -> None:
    class Broken:
        def _host(self) -> Any:
            raise ConfigError(["droplet.id: missing"])

    life = Life(asgi.app(Broken()))
    with pytest.raises(ConfigError):
        await life.run()
    assert [each["type"] for each in life.messages] == ["lifespan.startup.failed"]


@pytest.mark.parametrize("when", ["run", "stop"])
async def test_a_failure_after_the_start_is_a_failed_shutdown(when: str) -> None:
    error = ValueError("no disk")
    hosted = Stub(run=error) if when == "run" else Stub(stop=error)
    life = Life(asgi.app(hosted))
    hosted.crash.set()
    if when == "stop":
        life.stop.set()
    with pytest.raises(ExceptionGroup):
        await life.run()
    assert life.messages[-1] == {"type": "lifespan.shutdown.failed", "message": "no disk"}


async def test_without_a_lifespan_every_request_is_told_the_remedy() -> None:
    answer = (await ask(asgi.app(Stub()), path="/health")).answer()
    body = answer.json()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert set(body) == {"status", "error", "timestamp", "trace_id"}
    assert (body["error"]["code"], body["error"]["retryable"]) == ("NOT_READY", True)
    assert "--lifespan on" in body["error"]["hint"]


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi.app(Stub())({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_another_kind_of_connection_is_left_alone() -> None:
    await asgi.app(Stub())({"type": "quic"}, None, None)  # type: ignore[arg-type]  # not touched


@pytest.mark.parametrize(
    ("root_path", "path", "seen"),
    [
        ("", "/health", "/health"),
        ("/api", "/api/health", "/health"),
        ("/api/", "/api/health", "/health"),
        ("/api", "/api", "/"),
        ("/api", "/health", "/health"),
        ("/api", "/apihealth", "/apihealth"),
        ("/", "/health", "/health"),
    ],
)
async def test_the_prefix_is_taken_off(root_path: str, path: str, seen: str) -> None:
    surface = Echo()
    await ask(started(surface), path=path, root_path=root_path)
    assert surface.seen[0].path == seen


async def test_what_the_surface_is_told() -> None:
    surface = Echo()
    headers = [(b"X-A", b"1"), (b"x-a", b"2"), (b"Cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-b", b"\xe9")]
    await ask(started(surface), "POST", "/a b?q=%20", parts=(b"ab", b"", b"cd"), scheme="https", client=None)
    connection = Connection(
        started(surface), {**http_scope("POST", "/a"), "headers": headers}, [{"type": "http.request", "body": b"x"}]
    )
    del connection.scope["query_string"], connection.scope["client"]
    await connection.run()
    first, second = surface.seen
    assert (first.method, first.path, first.query_string, first.body) == ("POST", "/a b", "q=%20", b"abcd")
    assert (first.scheme, first.client, first.query) == ("https", None, {"q": [" "]})
    assert second.headers == {"x-a": "1, 2", "cookie": "a=1; b=2", "x-b": "é"}
    assert (second.query_string, second.client, second.scheme, second.body) == ("", None, "http", b"x")


async def test_what_the_server_is_told() -> None:
    response = HttpResponse(status=201, body=b"abc", media_type="text/plain", headers=(("X-Kind", "a"),))
    connection = await ask(started(Echo(response)))
    assert connection.sent[0] == {
        "type": "http.response.start",
        "status": 201,
        "headers": [(b"x-kind", b"a"), (b"content-type", b"text/plain"), (b"content-length", b"3")],
    }
    assert connection.sent[1] == {"type": "http.response.body", "body": b"abc"}


@pytest.mark.parametrize("response", [HttpResponse(status=204), HttpResponse(media_type=None)])
async def test_nothing_has_no_media_type(response: HttpResponse) -> None:
    assert "content-type" not in (await ask(started(Echo(response)))).answer().headers


async def test_head_has_the_headers_of_get() -> None:
    answer = (await ask(started(Echo(HttpResponse(body=b"abc"))), "HEAD")).answer()
    assert (answer.headers["content-length"], answer.body) == ("3", b"")


@pytest.mark.parametrize(("parts", "status"), [((b"x" * 10,), 200), ((b"x" * 11,), 413), ((b"x" * 6, b"x" * 5), 413)])
async def test_a_body_over_the_limit_never_reaches_the_surface(parts: Any, status: int) -> None:
    surface = Echo()
    assert (await ask(started(surface), "POST", parts=parts)).answer().status == status
    assert len(surface.seen) == (status == 200)


async def test_a_caller_that_leaves_within_its_body_causes_nothing() -> None:
    surface = Echo()
    incoming: list[Any] = [{"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"}]
    connection = Connection(started(surface), http_scope("POST", "/"), incoming)
    await connection.app(connection.scope, connection.receive, connection.send)
    assert (surface.seen, connection.sent) == ([], [])


async def test_the_surface_can_wait_for_the_caller_to_leave() -> None:
    class Waiting(Echo):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            assert request.disconnected is not None
            await request.disconnected()
            return HttpResponse(body=b"left")

    incoming: list[Any] = [{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}]
    answer = await Connection(started(Waiting()), http_scope("GET", "/"), incoming).run()
    assert answer.body == b"left"


class Parts:
    """An iterator that is no generator."""

    def __init__(self, *parts: bytes, hang: bool = False) -> None:
        self.parts = list(parts)
        self.hang = hang
        self.closed = 0

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.hang:
            await anyio.sleep_forever()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed += 1


def streaming(body: AsyncIterator[bytes]) -> asgi.App:
    return started(Echo(HttpResponse(body=body, media_type="text/event-stream")))


async def test_a_stream_is_sent_in_parts_and_closed() -> None:
    body = Parts(b"a", b"b")
    connection = await ask(streaming(body))
    assert connection.sent[1:] == [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b", "more_body": True},
        {"type": "http.response.body", "body": b""},
    ]
    assert "content-length" not in connection.answer().headers
    assert body.closed == 1


async def test_a_stream_without_aclose_will_do() -> None:
    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    assert (await ask(streaming(Bare()))).answer().body == b""


async def test_a_caller_that_leaves_closes_the_stream() -> None:
    body = Parts(b"a", hang=True)
    connection = Connection(streaming(body), http_scope("GET", "/"), [{"type": "http.request"}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.until_parts(1)
        assert body.closed == 0
        connection.left.set()
    assert body.closed == 1


async def test_a_droplet_whose_work_is_over_ends_its_streams() -> None:
    """Trap 6: an open stream keeps neither the droplet nor its server."""
    body = Parts(b"a", hang=True)
    app = streaming(body)
    connection = Connection(app, http_scope("GET", "/"), [{"type": "http.request"}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.until_parts(1)
        assert app._hosted is not None
        app._hosted.request_stop()
    assert body.closed == 1
    assert connection.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_cancelled_server_closes_the_stream() -> None:
    body = Parts(b"a", hang=True)
    connection = Connection(streaming(body), http_scope("GET", "/"), [{"type": "http.request"}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.until_parts(1)
        tasks.cancel_scope.cancel()
    assert body.closed == 1


async def test_head_closes_a_stream_that_never_began() -> None:
    body = Parts(b"a", hang=True)
    connection = await ask(streaming(body), "HEAD")
    assert connection.sent[1:] == [{"type": "http.response.body", "body": b""}]
    assert (body.closed, body.parts) == (1, [b"a"])


async def test_a_server_that_cannot_send_closes_the_stream() -> None:
    body = Parts(b"a")

    async def send(_: Any) -> None:
        raise OSError("gone")

    connection = Connection(None, http_scope("GET", "/"), [{"type": "http.request"}])
    with pytest.raises(OSError, match="gone"):
        await streaming(body)(connection.scope, connection.receive, send)
    assert body.closed == 1


async def test_a_stream_that_breaks_is_not_ended_as_if_it_were_whole() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("broken")

    connection = Connection(streaming(parts()), http_scope("GET", "/"), [{"type": "http.request"}])
    with pytest.raises(ExceptionGroup) as caught:
        await connection.run()
    assert caught.group_contains(ValueError, match="broken")
    assert connection.sent[-1].get("more_body") is True


@virtual_time
async def test_a_stream_that_does_not_close_is_given_up() -> None:
    class Stuck(Parts):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    with anyio.fail_after(6):
        connection = await ask(streaming(Stuck(b"a")))
    assert connection.answer().body == b"a"
