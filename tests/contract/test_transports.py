"""What a transport does, stated once and run over memory and over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, Protocol

import anyio
import pytest
from anyio.abc import ByteStream

from tests.unit.outgoing.droplets import AMBIENT, Droplet, Purse
from tests.unit.outgoing.sockets import answer, free_origin, listening, read_request
from udc._http import HttpAnswer, HttpClient
from udc.errors import (
    BusinessError,
    ConnectionLost,
    InvalidReply,
    PeerError,
    PeerUnreachable,
    TokenError,
)
from udc.messages import Message, MessageType, Peer
from udc.surface._base import HttpRequest, HttpResponse, Surface
from udc.transports._base import Transport
from udc.transports.http import HttpTransport, audiences
from udc.transports.memory import MemoryNetwork, MemoryTransport
from udc.wire.envelope import compose


class World(Protocol):
    """A place where droplets listen, and the transport that reaches them."""

    @property
    def transport(self) -> Transport: ...

    async def listen(self, surface: Surface) -> str: ...
    async def nowhere(self) -> str: ...
    def lose_answers(self) -> None: ...


class MemoryWorld:
    def __init__(self, network: MemoryNetwork, purse: Purse) -> None:
        self.network = network
        self.transport = MemoryTransport(network, purse, audience_of=audiences("mesh"))

    async def listen(self, surface: Surface) -> str:
        self.network.register("memory://peer", surface)
        return "memory://peer"

    async def nowhere(self) -> str:
        return "memory://nobody"

    def lose_answers(self) -> None:
        self.network.faults = Losing()


class Losing:
    async def going(self, endpoint: str, request: HttpRequest) -> None:
        pass

    async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
        raise ConnectionResetError("cut")


class SocketWorld:
    def __init__(self, client: HttpClient, stack: AsyncExitStack, purse: Purse) -> None:
        self.transport = HttpTransport(client, purse, audience_of=audiences("mesh"))
        self._stack = stack
        self._losing = False

    async def listen(self, surface: Surface) -> str:
        async def talk(stream: ByteStream) -> None:
            while True:
                response = await surface.handle(parsed(await read_request(stream)))
                if self._losing:
                    return
                assert isinstance(response.body, bytes)
                headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
                await stream.send(answer(response.body, status=f"{response.status} X", headers=headers))

        return await self._stack.enter_async_context(listening(talk))

    async def nowhere(self) -> str:
        return await free_origin()

    def lose_answers(self) -> None:
        self._losing = True


def parsed(data: bytes) -> HttpRequest:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(headers) == len(lines), "a header came twice"
    return HttpRequest(method=method, path=path, headers=headers, body=body)


@pytest.fixture
def purse() -> Purse:
    return Purse()


@pytest.fixture(params=["memory", "sockets"])
async def world(request: pytest.FixtureRequest, purse: Purse) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryWorld(await stack.enter_async_context(MemoryNetwork()), purse)
        else:
            yield SocketWorld(await stack.enter_async_context(HttpClient()), stack, purse)


def message(kind: MessageType = MessageType.QUERY, data: object = None, **more: object) -> Message:
    fields: dict[str, Any] = {"trace_id": AMBIENT.new_id(), "timestamp": AMBIENT.now(), "source": 7, **more}
    return compose(kind, "balance", {"steward": "ada"} if data is None else data, **fields)


def ours(endpoint: str, **more: object) -> Peer:
    return Peer(id=14, name="billing", endpoint=endpoint, ours=True, **more)  # type: ignore[arg-type]


async def test_the_message_arrives_and_the_reply_comes_back(world: World) -> None:
    droplet = Droplet()
    sent = message(MessageType.COMMAND, message_id=AMBIENT.new_id(), timeout_ms=500, attempt=2, hops=3)
    reply = await world.transport.deliver(ours(await world.listen(droplet)), sent)
    assert (reply.data, reply.handled, reply.result) == ({"steward": "ada"}, True, "success")
    assert (reply.trace_id, reply.message_id, reply.peer.id) == (sent.trace_id, sent.message_id, 14)
    got = droplet.messages[0]
    for name in ("message_type", "action", "data", "trace_id", "source", "message_id", "timeout_ms", "attempt", "hops"):
        assert getattr(got, name) == getattr(sent, name), name


async def test_the_headers_are_the_contracts(world: World) -> None:
    droplet = Droplet()
    sent = message()
    await world.transport.deliver(ours(await world.listen(droplet)), sent)
    headers = droplet.requests[0].headers
    assert headers["authorization"] == "Bearer mesh/14#1"
    assert headers["content-type"] == "application/json"
    assert headers["x-trace-id"] == sent.trace_id
    assert sent.trace_id.replace("-", "") in headers["traceparent"]


@pytest.mark.parametrize(
    ("more", "audience"),
    [
        ({"id": 14, "ours": True}, "mesh/14"),
        ({"id": 14, "ours": False}, "mesh"),
        ({"id": None, "ours": True}, "mesh"),
        ({"id": 14, "ours": True, "without_audience": True}, None),
    ],
)
async def test_each_peer_is_shown_a_token_of_its_own(
    world: World, purse: Purse, more: dict[str, object], audience: str | None
) -> None:
    peer = Peer(endpoint=await world.listen(Droplet()), **more)  # type: ignore[arg-type]
    await world.transport.deliver(peer, message())
    assert purse.asked == [audience]


async def test_a_foreign_peer_that_wants_the_bearer_in_the_envelope_gets_it(world: World) -> None:
    droplet = Droplet()
    endpoint = await world.listen(droplet)
    await world.transport.deliver(Peer(id=14, endpoint=endpoint, wants_signature=True), message())
    await world.transport.deliver(Peer(id=14, endpoint=endpoint), message())
    assert b"mesh#1" in droplet.requests[0].body
    assert b"mesh#1" not in droplet.requests[1].body


async def test_the_peers_error_is_a_peer_error(world: World) -> None:
    async def refuse(_: Message) -> None:
        raise BusinessError("QUOTA_SPENT", "no more today", status=422, details={"left": 0})

    endpoint = await world.listen(Droplet(refuse))
    with pytest.raises(PeerError, match="billing answered 422 QUOTA_SPENT: no more today") as caught:
        await world.transport.deliver(ours(endpoint), message())
    error = caught.value
    assert (error.peer, error.code, error.details, error.retryable) == ("billing", "QUOTA_SPENT", {"left": 0}, False)


async def test_what_is_no_receipt_is_an_invalid_reply(world: World) -> None:
    async def rubbish(_: Message) -> HttpResponse:
        return HttpResponse(body=b"<html>", media_type="text/html")

    endpoint = await world.listen(Droplet(rubbish))
    with pytest.raises(InvalidReply, match="billing"):
        await world.transport.deliver(ours(endpoint), message())


async def test_where_nobody_listens_nothing_was_sent(world: World) -> None:
    with pytest.raises(PeerUnreachable, match=r"billing is not reachable.*nothing was sent") as caught:
        await world.transport.deliver(ours(await world.nowhere()), message())
    assert caught.value.peer == "billing"


async def test_a_lost_answer_may_have_been_work_done(world: World) -> None:
    droplet = Droplet()
    world.lose_answers()
    endpoint = await world.listen(droplet)
    with pytest.raises(ConnectionLost, match=r"billing.*may have reached it") as caught:
        await world.transport.deliver(ours(endpoint), message())
    assert caught.value.peer == "billing"
    assert len(droplet.messages) == 1


async def test_a_refused_token_is_renewed_once(world: World, purse: Purse) -> None:
    droplet = Droplet()
    droplet.refused_tokens = {"mesh/14#1"}
    await world.transport.deliver(ours(await world.listen(droplet)), message())
    assert purse.renewed == ["mesh/14#1"]
    assert [request.headers["authorization"] for request in droplet.requests] == [
        "Bearer mesh/14#1",
        "Bearer mesh/14#2",
    ]
    assert len(droplet.messages) == 1


async def test_a_second_refusal_is_the_answer(world: World, purse: Purse) -> None:
    droplet = Droplet()
    droplet.refused_tokens = {"mesh/14#1", "mesh/14#2"}
    endpoint = await world.listen(droplet)
    with pytest.raises(PeerError, match="401 UNAUTHORIZED"):
        await world.transport.deliver(ours(endpoint), message())
    assert (len(droplet.requests), purse.generation) == (2, 2)


async def test_where_there_is_no_newer_token_the_refusal_is_the_answer(world: World, purse: Purse) -> None:
    droplet = Droplet()
    droplet.refused_tokens = {"mesh/14#1"}
    purse.stuck = True
    endpoint = await world.listen(droplet)
    with pytest.raises(PeerError, match="401 UNAUTHORIZED") as caught:
        await world.transport.deliver(ours(endpoint), message())
    assert isinstance(caught.value.__context__, TokenError)
    assert len(droplet.requests) == 1


async def test_without_a_token_nothing_is_sent(world: World, purse: Purse) -> None:
    droplet = Droplet()
    purse.empty = True
    endpoint = await world.listen(droplet)
    with pytest.raises(TokenError, match="mesh/14"):
        await world.transport.deliver(ours(endpoint), message())
    assert not droplet.requests


async def test_the_receivers_work_outlives_its_caller(world: World) -> None:
    begun, go, done = anyio.Event(), anyio.Event(), anyio.Event()

    async def work(_: Message) -> None:
        begun.set()
        await go.wait()
        done.set()

    endpoint = await world.listen(Droplet(work))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.transport.deliver, ours(endpoint), message())
        await begun.wait()
        tasks.cancel_scope.cancel()
    go.set()
    with anyio.fail_after(5):
        await done.wait()


_secret: ContextVar[str] = ContextVar("_secret", default="")


async def test_the_callers_context_variables_stay_with_the_caller(world: World) -> None:
    async def look(_: Message) -> str:
        return _secret.get()

    endpoint = await world.listen(Droplet(look))
    _secret.set("the caller's")
    assert (await world.transport.deliver(ours(endpoint), message())).data == ""


async def test_many_at_once_get_each_their_own_reply(world: World) -> None:
    peer = ours(await world.listen(Droplet()))
    replies: dict[int, object] = {}

    async def one(number: int) -> None:
        replies[number] = (await world.transport.deliver(peer, message(data={"n": number}))).data

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(one, number)
    assert replies == {number: {"n": number} for number in range(100)}
