"""The network without sockets: addresses, crashes, faults, streams; and plain HTTP over it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from tests.unit.outgoing.droplets import AMBIENT, Droplet, Purse
from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc.errors import ConnectionLost, ContractError, LifecycleError, PeerUnreachable
from udc.messages import MessageType, Peer
from udc.surface._base import HttpRequest, HttpResponse
from udc.transports.http import audiences
from udc.transports.memory import MemoryNetwork, MemoryTransport
from udc.wire.envelope import compose


@pytest.fixture
async def network() -> AsyncIterator[MemoryNetwork]:
    async with MemoryNetwork() as opened:
        yield opened


class Page:
    """A surface that says what it was asked, or does as told."""

    max_body_bytes = 100
    express: None = None
    body_timeout_seconds = 30.0

    def __init__(self, response: HttpResponse | None = None) -> None:
        self.response = response
        self.requests: list[HttpRequest] = []
        self.begun = anyio.Event()
        self.go = anyio.Event()
        self.go.set()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        self.begun.set()
        await self.go.wait()
        return self.response or HttpResponse(body=request.path.encode())

    def refuse_late(self, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError

    def refuse_unread(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        raise NotImplementedError

    def turned_away(self, request: HttpRequest) -> HttpResponse | None:
        raise NotImplementedError

    def refuse_body(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=413)


async def get(network: MemoryNetwork, url: str) -> HttpAnswer:
    return await network.exchange("GET", url, (), b"")


@pytest.mark.parametrize(
    ("endpoint", "url", "path", "query"),
    [
        ("memory://billing", "memory://billing/message", "/message", ""),
        ("memory://billing/", "memory://billing", "/", ""),
        ("http://billing.test", "http://BILLING.test:80/a%20b/c?d=%20e&f", "/a b/c", "d=%20e&f"),
        ("http://h:8000/api", "http://h:8000/api/x/", "/x/", ""),
        ("http://h:8000/api", "http://h:8000/api", "/", ""),
        ("https://h:443", "https://h/x", "/x", ""),
    ],
)
async def test_an_address_leads_to_its_surface(
    network: MemoryNetwork, endpoint: str, url: str, path: str, query: str
) -> None:
    page = Page()
    network.register(endpoint, page)
    await get(network, url)
    assert (page.requests[0].path, page.requests[0].query_string) == (path, query)


@pytest.mark.parametrize("url", ["memory://billings", "memory://bill", "http://h:8000/apis", "https://h:8000/api/x"])
async def test_an_address_that_only_begins_alike_is_nobodys(network: MemoryNetwork, url: str) -> None:
    network.register("memory://billing", Page())
    network.register("http://h:8000/api", Page())
    with pytest.raises(ConnectionRefusedError, match="nobody listens at"):
        await get(network, url)


async def test_the_longest_endpoint_has_the_url(network: MemoryNetwork) -> None:
    outer, inner = Page(), Page()
    network.register("http://h", outer)
    network.register("http://h/api", inner)
    await get(network, "http://h/api/x")
    assert (len(outer.requests), len(inner.requests)) == (0, 1)


async def test_the_request_is_as_a_server_makes_it(network: MemoryNetwork) -> None:
    page = Page(HttpResponse(status=201, body=b"made", headers=(("X-A", "1"), ("x-a", "2")), media_type="text/plain"))
    network.register("memory://p", page)
    answer = await network.exchange("POST", "memory://p/x", (("X-B", "1"), ("x-b", "2")), b"body")
    request = page.requests[0]
    assert (request.method, request.body, request.headers["x-b"], request.client) == (
        "POST",
        b"body",
        "1, 2",
        "127.0.0.1",
    )
    assert answer == HttpAnswer(201, {"x-a": "1, 2", "content-length": "4", "content-type": "text/plain"}, b"made")


async def test_a_body_over_the_limit_is_refused_as_the_surface_says(network: MemoryNetwork) -> None:
    page = Page()
    network.register("memory://p", page)
    assert (await network.exchange("POST", "memory://p/x", (), b"a" * 101)).status == 413
    assert not page.requests


async def test_two_cannot_listen_at_one_address(network: MemoryNetwork) -> None:
    network.register("http://h:80/", Page())
    with pytest.raises(LifecycleError, match="somebody listens at http://h already"):
        network.register("http://h", Page())


async def test_unregistering_refuses_new_requests_and_finishes_the_old(network: MemoryNetwork) -> None:
    page = Page()
    page.go = anyio.Event()
    network.register("memory://p", page)
    answers: list[HttpAnswer] = []

    async def ask() -> None:
        answers.append(await get(network, "memory://p/x"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await page.begun.wait()
        network.unregister("memory://p")
        network.unregister("memory://p")
        with pytest.raises(ConnectionRefusedError):
            await get(network, "memory://p/x")
        page.go.set()
    assert answers[0].status == 200


async def test_a_crash_breaks_off_both_sides_at_once(network: MemoryNetwork) -> None:
    ended = anyio.Event()

    class Stubborn(Page):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            self.begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
                with anyio.CancelScope(shield=True):
                    await self.go.wait()
            return HttpResponse()

    page = Stubborn()
    page.go = anyio.Event()
    network.register("memory://p", page)
    network.crash("memory://nobody")
    async with anyio.create_task_group() as tasks:

        async def crash() -> None:
            await page.begun.wait()
            network.crash("memory://p")

        tasks.start_soon(crash)
        with pytest.raises(ConnectionResetError, match="memory://p died before it answered"):
            await get(network, "memory://p/x")
        with anyio.fail_after(5):
            await ended.wait()
    page.go.set()
    network.register("memory://p", Page())
    assert (await get(network, "memory://p/x")).status == 200


async def test_a_crash_before_the_first_step_runs_nothing(network: MemoryNetwork) -> None:
    done = False

    class Working(Page):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            nonlocal done
            await anyio.lowlevel.checkpoint()
            done = True
            return HttpResponse()

    class CrashOnTheWay:
        async def going(self, endpoint: str, request: HttpRequest) -> None:
            tasks.start_soon(crash)

        async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
            raise AssertionError("it died")

    async def crash() -> None:
        network.crash("memory://p")

    network.register("memory://p", Working())
    network.faults = CrashOnTheWay()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ConnectionResetError):
            await get(network, "memory://p/x")
    assert not done


async def test_who_goes_while_a_request_is_on_its_way_does_not_get_it(network: MemoryNetwork) -> None:
    class Going(Gate):
        async def going(self, endpoint: str, request: HttpRequest) -> None:
            network.unregister(endpoint)

    page = Page()
    network.register("memory://p", page)
    network.faults = Going()
    with pytest.raises(ConnectionRefusedError):
        await get(network, "memory://p/x")
    assert not page.requests


async def test_a_surface_that_raises_breaks_only_its_own_connection(
    network: MemoryNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Page):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            raise RuntimeError("bug")

    network.register("memory://broken", Broken())
    network.register("memory://p", Page())
    with pytest.raises(ConnectionResetError):
        await get(network, "memory://broken/x")
    assert (await get(network, "memory://p/x")).status == 200
    assert [record.message for record in caplog.records] == ["a surface raised"]


async def test_a_streamed_body_is_collected(network: MemoryNetwork) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await anyio.lowlevel.checkpoint()
        yield b"b"

    network.register("memory://p", Page(HttpResponse(body=parts(), media_type=None)))
    answer = await get(network, "memory://p/x")
    assert (answer.body, answer.headers) == (b"ab", {"content-length": "2"})


async def test_a_stream_ends_when_its_caller_is_gone(network: MemoryNetwork) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            begun.set()
            await anyio.sleep_forever()
        finally:
            ended.set()

    network.register("memory://p", Page(HttpResponse(body=parts())))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, network, "memory://p/x")
        await begun.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await ended.wait()


async def test_a_stream_that_its_caller_never_saw_is_closed(network: MemoryNetwork) -> None:
    """As a server's adapter does it: what it holds, a seat for one, is given back."""
    closed = anyio.Event()

    class Stream:
        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> bytes:
            raise AssertionError("nobody reads it")

        async def aclose(self) -> None:
            closed.set()

    class Patient(Page):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            self.begun.set()
            assert request.disconnected is not None
            await request.disconnected()
            return HttpResponse(body=Stream())

    page = Patient()
    network.register("memory://p", page)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, network, "memory://p/x")
        await page.begun.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await closed.wait()


async def test_the_receiver_sees_its_caller_gone(network: MemoryNetwork) -> None:
    seen = anyio.Event()

    class Waiting(Page):
        async def handle(self, request: HttpRequest) -> HttpResponse:
            self.begun.set()
            assert request.disconnected is not None
            await request.disconnected()
            seen.set()
            return HttpResponse()

    page = Waiting()
    network.register("memory://p", page)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, network, "memory://p/x")
        await page.begun.wait()
        assert not seen.is_set()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await seen.wait()


async def test_closing_the_network_ends_all_work() -> None:
    page = Page()
    page.go = anyio.Event()
    network = MemoryNetwork()

    async def ask() -> None:
        with pytest.raises(ConnectionResetError):
            await get(network, "memory://p/x")

    async with anyio.create_task_group() as tasks:
        async with network:
            network.register("memory://p", page)
            tasks.start_soon(ask)
            await page.begun.wait()


async def test_an_error_inside_the_block_comes_out_unwrapped() -> None:
    with pytest.raises(KeyError):
        async with MemoryNetwork():
            raise KeyError("x")


async def test_a_network_closed_under_a_scope_that_was_cancelled() -> None:
    with anyio.CancelScope() as scope:
        async with MemoryNetwork():
            scope.cancel()
            await anyio.sleep(1)
    assert scope.cancelled_caught


async def test_a_network_that_is_not_open_says_so() -> None:
    network = MemoryNetwork()
    with pytest.raises(LifecycleError, match="async with"):
        await get(network, "memory://p/x")
    async with network:
        with pytest.raises(LifecycleError, match="already open"):
            await network.__aenter__()


class Gate:
    """Faults as `udc.testing` makes them."""

    def __init__(self, *, refuse: bool = False, lose: bool = False) -> None:
        self.refuse = refuse
        self.lose = lose
        self.seen: list[str] = []

    async def going(self, endpoint: str, request: HttpRequest) -> None:
        self.seen.append(f"{request.method} {endpoint} {request.path}")
        if self.refuse:
            raise ConnectionRefusedError("crashed")

    async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
        if self.lose:
            raise ConnectionResetError("cut")


async def test_faults_come_between(network: MemoryNetwork) -> None:
    droplet = Droplet()
    network.register("memory://p", droplet)
    transport = MemoryTransport(network, Purse(), audience_of=audiences("mesh"))
    peer = Peer(id=14, name="billing", endpoint="memory://p", ours=True)
    sent = compose(MessageType.QUERY, "x", {}, trace_id=AMBIENT.new_id(), timestamp=AMBIENT.now())
    network.faults = gate = Gate(refuse=True)
    with pytest.raises(PeerUnreachable, match="billing is not reachable: crashed; nothing was sent"):
        await transport.deliver(peer, sent)
    assert (gate.seen, droplet.requests) == (["POST memory://p /message"], [])
    network.faults = Gate(lose=True)
    with pytest.raises(ConnectionLost, match="billing broke: cut; the request may have reached it"):
        await transport.deliver(peer, sent)
    assert len(droplet.requests) == 1


async def test_plain_http_runs_over_the_network(network: MemoryNetwork) -> None:
    page = Page()
    network.register("https://registry.test", page)
    async with HttpClient(transport_factory=lambda: FunctionTransport(network.exchange)) as client:
        answer = await client.request(
            "POST", "https://registry.test/register?x=1", headers=[("X-Droplet-Secret", "s")], content=b"{}", peer=1
        )
        assert (answer.status, answer.body) == (200, b"/register")
        request = page.requests[0]
        assert (request.method, request.body, request.query_string) == ("POST", b"{}", "x=1")
        assert request.headers["x-droplet-secret"] == "s"
        with pytest.raises(PeerUnreachable, match="nobody listens"):
            await client.request("GET", "https://elsewhere.test/", peer=1)
        network.faults = Gate(lose=True)
        with pytest.raises(ConnectionLost):
            await client.request("GET", "https://registry.test/", peer=1)
