"""Task events over real sockets: read as they come, gone on after a break, ended where they end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from tests.unit.clients.kit import AMBIENT, Fixed
from tests.unit.outgoing.sockets import answer, listening, read_request
from udc._http import HttpClient
from udc.clients.orchestrator import OrchestratorClient, orchestrator_at
from udc.clients.orchestrator_events import Missed, TaskEvent
from udc.clients.peer_http import PeerHttp
from udc.errors import ConnectionLost, PeerError
from udc.identity._base import Token
from udc.identity.tokens import TokenKeeper
from udc.instrument import Instrument
from udc.transports.http import audiences

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def told(seq: int, status: str = "pending") -> bytes:
    data = json.dumps({"seq": seq, "task": {"task_id": "t", "status": status}})
    return f"id: {seq}\r\nevent: task\r\ndata: {data}\r\n\r\n".encode()


class Scripted:
    """Answers each connection with the next piece of a script; what was asked is kept."""

    def __init__(self, *scripts: bytes) -> None:
        self.scripts = list(scripts)
        self.asked: list[str] = []
        self.open = 0

    async def talk(self, stream: ByteStream) -> None:
        self.asked.append((await read_request(stream)).decode().lower())
        script = self.scripts.pop(0)
        await stream.send(script)
        self.open += 1
        try:
            if script.startswith(HEAD) and not script.endswith(b"BREAK"):
                await stream.receive()  # until the client goes
        finally:
            self.open -= 1


@asynccontextmanager
async def watching(server: Scripted, *tokens: str) -> AsyncGenerator[OrchestratorClient]:
    async with listening(server.talk) as origin, HttpClient() as client:
        keeper = TokenKeeper(Fixed(*(tokens or ("t",))), ambient=AMBIENT, instrument=Instrument())
        http = PeerHttp(client, keeper, audience_of=audiences("mesh"))
        yield OrchestratorClient(http, orchestrator_at(origin, 10), ambient=AMBIENT)


async def seen(orchestrator: OrchestratorClient, count: int, **asked: Any) -> list[Any]:
    found: list[Any] = []
    async with orchestrator.events(**asked) as events:
        async for event in events:
            found.append((event.seq, event.task.status) if isinstance(event, TaskEvent) else event)
            if len(found) == count:
                break
    return found


async def test_events_come_one_by_one_however_they_are_cut() -> None:
    first, second = told(1), told(2, "assigned")
    server = Scripted(HEAD + chunk(b": hello\n\n" + first[:9]) + chunk(first[9:-1]) + chunk(first[-1:] + second))
    async with watching(server) as orchestrator:
        assert await seen(orchestrator, 2, status="pending", task_type="a b") == [(1, "pending"), (2, "assigned")]
    assert server.asked[0].startswith("get /tasks/events?status=pending&task_type=a+b http/1.1")
    assert "last-event-id" not in server.asked[0]
    assert "authorization: bearer t" in server.asked[0]


async def test_one_task_ends_with_its_terminal_state() -> None:
    server = Scripted(HEAD + chunk(told(1)) + chunk(told(2, "completed")) + chunk(told(3)))
    async with watching(server) as orchestrator:
        assert await seen(orchestrator, 99, task_id="t") == [(1, "pending"), (2, "completed")]


async def test_after_a_break_it_goes_on_where_it_was() -> None:
    server = Scripted(
        HEAD + chunk(told(7)) + chunk(told(8)[:10]) + b"BREAK",
        answer(b"", status="503 Service Unavailable"),
        HEAD + chunk(b"event: reset\ndata:\n\n") + chunk(told(40)),
    )
    async with watching(server) as orchestrator:
        assert await seen(orchestrator, 3, after=5) == [(7, "pending"), Missed(), (40, "pending")]
    resumed = [line for asked in server.asked for line in asked.split("\r\n") if line.startswith("last-event-id")]
    assert resumed == ["last-event-id: 5", "last-event-id: 7", "last-event-id: 7"]


async def test_a_no_is_raised_at_once() -> None:
    body = b'{"error": {"code": "NOT_FOUND", "message": "no such task"}}'
    server = Scripted(answer(body, status="404 Not Found"))
    async with watching(server) as orchestrator:
        with pytest.raises(PeerError, match="404 NOT_FOUND: no such task"):
            await seen(orchestrator, 1, task_id="t")


async def test_a_refused_token_is_renewed_once() -> None:
    server = Scripted(answer(b"{}", status="401 Unauthorized"), HEAD + chunk(told(1)))
    async with watching(server, "old", "new") as orchestrator:
        assert await seen(orchestrator, 1) == [(1, "pending")]
    assert "bearer new" in server.asked[1]


async def test_leaving_closes_the_connection() -> None:
    server = Scripted(HEAD + chunk(told(1)))
    async with watching(server) as orchestrator:
        assert await seen(orchestrator, 1) == [(1, "pending")]
        with anyio.fail_after(5):
            while server.open:
                await anyio.lowlevel.checkpoint()


async def test_an_answer_can_be_read_to_its_end_as_it_comes() -> None:
    server = Scripted(HEAD + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n")
    async with listening(server.talk) as origin, HttpClient() as client:
        async with await client.stream("GET", f"{origin}/x", peer="billing") as stream:
            assert await stream.rest(max_bytes=6) == b"onetwo"
            assert await stream.part() == b""


async def test_a_stream_that_was_refused_is_closed_when_nobody_waits_for_a_new_token() -> None:
    """Its answer has begun and does not end, as that of a proxy may."""

    class Slow(Fixed):
        async def fetch(self, audience: str | None) -> Token:
            if self.asked:
                renewing.set()
                await anyio.sleep_forever()
            return await super().fetch(audience)

    renewing, left = anyio.Event(), anyio.Event()

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(HEAD.replace(b"200 OK", b"401 Unauthorized"))
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await stream.receive()
        left.set()

    async with listening(talk) as origin, HttpClient() as client:
        keeper = TokenKeeper(Slow("t"), ambient=AMBIENT, instrument=Instrument())
        http = PeerHttp(client, keeper, audience_of=audiences("mesh"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(http.stream, orchestrator_at(origin, 10), "GET", "/tasks/events")
            await renewing.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await left.wait()


async def test_a_stream_that_breaks_off_says_so() -> None:
    server = Scripted(HEAD + chunk(b"one") + b"BREAK")
    async with listening(server.talk) as origin, HttpClient() as client:
        async with await client.stream("GET", f"{origin}/x", peer="billing") as stream:
            assert await stream.part() == b"one"
            with pytest.raises(ConnectionLost, match="billing"):
                await stream.part()
