"""Pools by origin: bounded in number, idle ones closed, never one that is in use."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import httpx2
import looptime
import pytest
import trio.testing

from udc._http import HttpClient


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": looptime.new_event_loop}


class Line(httpx2.AsyncBaseTransport):
    """One origin's connections, without sockets; answers when it is let."""

    def __init__(self) -> None:
        self.closed = False
        self.requests = 0
        self.go = anyio.Event()
        self.go.set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        assert not self.closed
        await self.go.wait()
        assert not self.closed
        return httpx2.Response(200)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed = True


@pytest.fixture
def lines() -> list[Line]:
    return []


@pytest.fixture
def factory(lines: list[Line]) -> Callable[[], Line]:
    def make() -> Line:
        lines.append(Line())
        return lines[-1]

    return make


async def get(client: HttpClient, url: str) -> None:
    await client.request("GET", url, peer=1)


async def test_one_pool_per_origin(lines: list[Line], factory: Callable[[], Line]) -> None:
    async with HttpClient(transport_factory=factory) as client:
        for url in ["http://a/1", "http://a/2", "http://a:80/3", "https://a/4", "http://a:81/", "http://b/"]:
            await get(client, url)
    assert [line.requests for line in lines] == [3, 1, 1, 1]
    assert all(line.closed for line in lines)


async def test_the_least_recently_used_goes_first(lines: list[Line], factory: Callable[[], Line]) -> None:
    async with HttpClient(transport_factory=factory, max_pools=2) as client:
        for host in "abac":
            await get(client, f"http://{host}/")
        assert [line.closed for line in lines] == [False, True, False]


async def test_a_pool_in_use_is_neither_evicted_nor_aged_out(lines: list[Line], factory: Callable[[], Line]) -> None:
    async with HttpClient(transport_factory=factory, max_pools=1) as client, anyio.create_task_group() as tasks:
        await get(client, "http://a/")
        lines[0].go = anyio.Event()
        tasks.start_soon(get, client, "http://a/")
        await anyio.wait_all_tasks_blocked()
        await get(client, "http://b/")
        await anyio.sleep(1000)
        await get(client, "http://c/")
        assert [line.closed for line in lines] == [False, True, False]
        lines[0].go.set()


async def test_idle_pools_are_closed_by_the_next_request_to_anybody(
    lines: list[Line], factory: Callable[[], Line]
) -> None:
    async with HttpClient(transport_factory=factory) as client:
        await get(client, "http://a/")
        for _ in range(9):
            await anyio.sleep(10)
            await get(client, "http://registry/")
        assert [line.closed for line in lines] == [True, False]


async def test_idle_pools_are_closed_on_demand(lines: list[Line], factory: Callable[[], Line]) -> None:
    async with HttpClient(transport_factory=factory) as client:
        await get(client, "http://a/")
        await client.close_idle()
        assert not lines[0].closed
        await anyio.sleep(61)
        await client.close_idle()
        assert lines[0].closed
        await get(client, "http://a/")
        assert len(lines) == 2


async def test_closing_survives_cancellation(lines: list[Line], factory: Callable[[], Line]) -> None:
    with anyio.CancelScope() as scope:
        async with HttpClient(transport_factory=factory) as client:
            await get(client, "http://a/")
            scope.cancel()
    assert lines[0].closed
