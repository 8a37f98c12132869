"""`ctx.request`: endpoints of a peer's own. A whole mesh in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, command, query
from udc.dispatch.declare import endpoint
from udc.errors import (
    CallTimeout,
    ConnectionLost,
    InvalidReply,
    PeerError,
    PeerUnreachable,
    UdcError,
    UnknownPeer,
)
from udc.surface._base import HttpRequest, HttpResponse
from udc.testing import World, mesh
from udc.wire.json_text import parse_object

pytestmark = virtual_time


class Shop(Droplet):
    """Has endpoints of its own."""

    id, name, steward = 41, "Shop", "tests"
    capabilities = ("shop",)

    def __init__(self, label: str = "one") -> None:
        super().__init__()
        self.label = label
        self.seen: list[HttpRequest] = []

    @endpoint("GET", "/orders/{id}", "read")
    async def order(self, request: HttpRequest) -> Any:
        self.seen.append(request)
        return {"id": int(request.params["id"]), "query": request.query, "at": self.label}

    @endpoint("POST", "/orders", "write")
    async def place(self, request: HttpRequest) -> Any:
        self.seen.append(request)
        return HttpResponse(status=201, body=request.body, headers=())

    @endpoint("DELETE", "/orders/{id}", "write")
    async def drop(self, request: HttpRequest) -> Any:
        return HttpResponse(status=204, media_type=None)

    @endpoint("GET", "/page", "read")
    async def page(self, request: HttpRequest) -> Any:
        return HttpResponse(body=b"<html>", media_type="text/html")

    @endpoint("GET", "/slow", "read")
    async def slow(self, request: HttpRequest) -> Any:
        await anyio.sleep(100)
        return {}


class Buyer(Droplet):
    """Makes requests in its handlers."""

    id, name, steward = 42, "Buyer", "tests"

    @command("make")
    async def make(self, ctx: Context, arguments: list[Any], options: dict[str, Any]) -> Any:
        return await ctx.request(*arguments, **options)

    @query("typed")
    async def typed(self, ctx: Context) -> str:
        found = await ctx.request("Shop", "GET", "/orders/7", returns=dict[str, Any])
        return str(found["id"])

    @query("mistyped")
    async def mistyped(self, ctx: Context) -> int:
        return await ctx.request("Shop", "GET", "/orders/7", returns=int)

    @query("hurry", timeout_seconds=3)
    async def hurry(self, ctx: Context) -> Any:
        try:
            return await ctx.request("Shop", "GET", "/slow")
        except CallTimeout:
            return "late"


def buyer(world: World) -> Context:
    return world.droplet("Buyer").mesh


async def test_the_answers_json_is_returned() -> None:
    shop = Shop()
    async with mesh(shop, Buyer()) as world:
        ctx = buyer(world)
        assert await ctx.request("Shop", "GET", "/orders/7?full=1") == {"id": 7, "query": {"full": ["1"]}, "at": "one"}
        assert await ctx.request("shop", "POST", "/orders", {"tea": 2}) == {"tea": 2}
        assert await ctx.request(41, "DELETE", "/orders/7") is None
        assert await world.client.query("Buyer", "typed") == "7"

    request = shop.seen[1]
    assert parse_object(request.body) == {"tea": 2}
    assert request.caller.droplet_id == 42
    assert request.caller.audience.endswith("/41")


async def test_the_tests_own_client_makes_them_too() -> None:
    async with mesh(Shop()) as world:
        assert (await world.client.request("Shop", "GET", "/orders/7"))["id"] == 7


async def test_the_trace_goes_with_it() -> None:
    shop = Shop()
    async with mesh(shop, Buyer()) as world:
        made = {"arguments": ["Shop", "GET", "/orders/7"], "options": {}}
        reply = await world.client.call("Buyer", "make", made, message_type="command")
    [request] = shop.seen
    assert request.headers["x-trace-id"] == reply.trace_id
    assert reply.trace_id.replace("-", "") in request.headers["traceparent"]


async def test_a_refusal_is_raised_with_its_code() -> None:
    async with mesh(Shop(), Buyer()) as world:
        with pytest.raises(PeerError) as raised:
            await buyer(world).request("Shop", "GET", "/nowhere")
        assert (raised.value.status, raised.value.code, raised.value.peer) == (404, "NOT_FOUND", "Shop")


async def test_a_401_is_answered_with_a_new_token_once() -> None:
    shop = Shop()
    async with mesh(shop, Buyer()) as world:
        await buyer(world).request("Shop", "GET", "/orders/1")
        await anyio.sleep(3)  # tokens of one second cannot be told apart
        world.registry.revoke(droplet_id=42)
        await anyio.sleep(15)  # a beat brings the news
        assert (await buyer(world).request("Shop", "GET", "/orders/2"))["id"] == 2


@pytest.mark.parametrize(
    ("path", "expected"), [("/page", "no JSON"), ("/orders/7", "something other than int: data: ")]
)
async def test_an_answer_that_was_not_asked_for(path: str, expected: str) -> None:
    async with mesh(Shop(), Buyer()) as world:
        with pytest.raises(InvalidReply, match=expected):
            await buyer(world).request("Shop", "GET", path, returns=int)


async def test_it_has_a_time_limit() -> None:
    async with mesh(Shop(), Buyer()) as world:
        began = world.now()
        with pytest.raises(CallTimeout, match="Shop did not answer GET /slow in time"):
            await buyer(world).request("Shop", "GET", "/slow", timeout_seconds=2)
        assert (world.now() - began).total_seconds() == pytest.approx(2)
        with pytest.raises(CallTimeout):
            await buyer(world).request("Shop", "GET", "/slow")
        assert (world.now() - began).total_seconds() == pytest.approx(12)


async def test_the_handlers_deadline_counts() -> None:
    async with mesh(Shop(), Buyer()) as world:
        began = world.now()
        with pytest.raises(UdcError):
            await world.client.query("Buyer", "hurry")
        assert (world.now() - began).total_seconds() == pytest.approx(3, abs=0.2)


async def test_one_instance_and_no_other() -> None:
    async with mesh(lambda: Shop("one"), lambda: Shop("two"), Buyer()) as world:
        await anyio.sleep(1)
        ctx = buyer(world)
        for instance in world.instances("Shop"):
            label = instance.droplet.label  # type: ignore[attr-defined]
            places = {
                (await ctx.request("Shop", "GET", "/orders/7", instance_id=instance.instance_id))["at"]
                for _ in range(8)
            }
            assert places == {label}
        assert {(await ctx.request("Shop", "GET", "/orders/7"))["at"] for _ in range(20)} == {"one", "two"}
        with pytest.raises(PeerUnreachable, match="instance gone of Shop is not there"):
            await ctx.request("Shop", "GET", "/orders/7", instance_id="gone")


async def test_where_one_refuses_the_next_is_asked() -> None:
    async with mesh(lambda: Shop("one"), lambda: Shop("two"), Buyer()) as world:
        await anyio.sleep(1)
        world.faults.refuse(world.instances("Shop")[0])
        assert {(await buyer(world).request("Shop", "GET", "/orders/7"))["at"] for _ in range(9)} == {"two"}
        world.faults.refuse(world.instances("Shop")[1])
        with pytest.raises(PeerUnreachable):
            await buyer(world).request("Shop", "GET", "/orders/7")


async def test_what_may_have_run_is_not_repeated() -> None:
    shop = Shop()
    async with mesh(shop, Buyer()) as world:
        world.faults.lose_answers("Shop", path="/orders")
        with pytest.raises(ConnectionLost):
            await buyer(world).request("Shop", "POST", "/orders", {"tea": 2})
    assert len(shop.seen) == 1


async def test_nobody_is_asked_by_address() -> None:
    async with mesh(Buyer()) as world:
        with pytest.raises(UnknownPeer):
            await buyer(world).request("https://elsewhere.test", "GET", "/")


@pytest.mark.parametrize(
    ("path", "options"), [("orders", {}), ("", {}), ("/orders", {"timeout_seconds": 0}), ("/", {"timeout_seconds": -1})]
)
async def test_what_makes_no_sense_is_refused(path: str, options: dict[str, Any]) -> None:
    async with mesh(Shop(), Buyer()) as world:
        with pytest.raises(ValueError, match="is "):
            await buyer(world).request("Shop", "GET", path, **options)
