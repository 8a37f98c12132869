"""Answers that come in parts, and callers that leave: the same through every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import KINDS, BrokenOff, Host, Kind, Stream, Streamed, hosting
from tests.contract.served import Connection, all_blocked, envelope, http_scope, token, until


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
async def host(kind: Kind, anyio_backend: Any) -> AsyncIterator[Host]:
    async with hosting(kind, Everything()) as host:
        yield host


async def test_parts_arrive_one_by_one(host: Host) -> None:
    droplet: Everything = host.droplet
    async with host.stream("/ticks") as streamed:
        assert (streamed.status, streamed.headers["content-type"]) == (200, "text/event-stream")
        assert "content-length" not in streamed.headers
        for number in range(3):
            assert await anext(streamed.parts) == b"data: %d\n\n" % number
            assert droplet.watching == 1
            droplet.next.set()
    await until(lambda: droplet.watching == 0)


async def test_a_stream_ends_by_itself(host: Host) -> None:
    async with host.stream("/three") as streamed:
        assert b"".join([part async for part in streamed.parts]) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert (await host.client("GET", "/livez")).status == 200


async def test_a_caller_that_leaves_ends_a_stream_that_waits(host: Host) -> None:
    droplet: Everything = host.droplet
    async with host.stream("/ticks") as streamed:
        assert await anext(streamed.parts) == b"data: 0\n\n"
        assert droplet.watching == 1
    await until(lambda: droplet.watching == 0)
    assert (await host.client("GET", "/livez")).status == 200


async def test_many_streams_at_once(host: Host) -> None:
    droplet: Everything = host.droplet

    async def watch() -> None:
        async with host.stream("/ticks") as streamed:
            await anext(streamed.parts)
            await gone.wait()

    gone = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(watch)
        await until(lambda: droplet.watching == 5)
        assert (await host.client("GET", "/livez")).status == 200
        gone.set()
    await until(lambda: droplet.watching == 0)


async def test_a_broken_stream_is_not_ended_as_if_it_were_whole(host: Host) -> None:
    async with host.stream("/broken") as streamed:
        assert streamed.status == 200
        got, broken = await _read(streamed)
    assert broken
    assert got in (b"first", b"")  # what was buffered may be lost with the connection
    assert (await host.client("GET", "/livez")).status == 200


async def test_an_endpoint_can_wait_for_its_caller_to_leave(host: Host) -> None:
    droplet: Everything = host.droplet
    droplet.waiting, droplet.left = anyio.Event(), anyio.Event()
    async with _left(host, "GET", "/patient", b"", droplet.waiting):
        with anyio.fail_after(5):
            await droplet.left.wait()


async def test_a_caller_that_leaves_does_not_end_accepted_work(host: Host) -> None:
    """Trap 26."""
    droplet: Everything = host.droplet
    droplet.ran.clear()
    droplet.go_on = anyio.Event()
    began = anyio.Event()

    async def watch() -> None:
        await until(lambda: droplet.ran == ["wait"])
        began.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        async with _left(host, "POST", "/message", _command("wait"), began):
            droplet.go_on.set()
            await until(lambda: droplet.ran == ["wait", "waited"])


async def test_half_a_request_runs_nothing(host: Host) -> None:
    droplet: Everything = host.droplet
    droplet.ran.clear()
    whole = _command("store")
    if host.connect is None:
        incoming: list[Any] = [{"type": "http.request", "body": whole, "more_body": True}]
        connection = Connection(host.app, http_scope("POST", "/message", _headers()), incoming)
        connection.left.set()
        with anyio.fail_after(5):
            await host.app(connection.scope, connection.receive, connection.send)
        assert connection.sent == []
    else:
        stream = await host.connect()
        await stream.send(_request("POST", "/message", whole, length=len(whole) + 10))
        await stream.aclose()
        assert (await host.client("GET", "/livez")).status == 200
    assert droplet.ran == []


async def test_a_slow_body_is_waited_for(host: Host) -> None:
    whole = _command("store")
    halves = (whole[:20], whole[20:60], whole[60:])
    if host.connect is None:
        incoming = [{"type": "http.request", "body": part, "more_body": part is not halves[-1]} for part in halves]
        connection = Connection(host.app, http_scope("POST", "/message", _headers()), incoming)
        assert (await connection.run()).status == 200
        return
    stream = await host.connect()
    await stream.send(_request("POST", "/message", b"", length=len(whole)))
    for part in halves:
        await all_blocked()
        await stream.send(part)
    assert (await _answer_on(stream)).startswith(b"HTTP/1.1 200")


async def _read(streamed: Streamed) -> tuple[bytes, bool]:
    """What came, and whether it broke off."""
    got = b""
    try:
        async for part in streamed.parts:
            got += part
    except (httpx2.TransportError, BrokenOff):
        return got, True
    return got, False


@asynccontextmanager
async def _left(host: Host, method: str, path: str, body: bytes, when: anyio.Event) -> AsyncIterator[None]:
    """A caller that asked, and closed the connection without having read the answer."""
    if host.connect is not None:
        stream = await host.connect()
        await stream.send(_request(method, path, body))
        with anyio.fail_after(5):
            await when.wait()
        await stream.aclose()
        yield
        return
    incoming = [{"type": "http.request", "body": body}]
    connection = Connection(host.app, http_scope(method, path, _headers()), incoming)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.app, connection.scope, connection.receive, connection.send)
        with anyio.fail_after(5):
            await when.wait()
        connection.left.set()
        yield


def _headers() -> dict[str, str]:
    return {"authorization": f"Bearer {token('write')}", "content-type": "application/json"}


def _command(action: str) -> bytes:
    return httpx2.Request("POST", "http://a", json=envelope(action, {"what": "a"}, message_type="command")).read()


def _request(method: str, path: str, body: bytes, *, length: int | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token('write')}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


async def _answer_on(stream: Stream) -> bytes:
    """What came first; closes the connection."""
    try:
        with anyio.fail_after(5):
            return await stream.receive()
    finally:
        await stream.aclose()
