"""Droplets that know nobody but the Registry: calls, broadcasts, and the Registry's absence. In virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, PeerError, command, event, query
from udc.errors import UnknownPeer
from udc.instrument import DiscoveryFresh, DiscoveryStale, PeersChanged
from udc.testing import World, mesh

pytestmark = virtual_time

STRANGERS: dict[str, Any] = {"peers": []}
"""Nobody is configured: everybody is found at the Registry."""


class Caller(Droplet):
    id, name, steward = 30, "Caller", "tests"
    needs = ("Billing",)
    wants = ("Nobody",)

    @query("ask")
    async def ask(self, target: str, ctx: Context) -> object:
        answer: object = await ctx.query(target, "who", timeout_seconds=5)
        return answer

    @command("tell")
    async def tell(self, ctx: Context, capability: str | None = None) -> dict[str, list[object]]:
        result = await ctx.broadcast("news", {"n": 1}, capability=capability)
        return {"taken": list(result.replies), "failed": list(result.errors)}


class Worker(Droplet):
    steward = "tests"

    def __init__(self, number: int, name: str, *capabilities: str) -> None:
        super().__init__(config={"droplet.id": number, "droplet.name": name})
        self.capabilities = capabilities
        self.number = number
        self.heard: list[int] = []

    @query("who")
    async def who(self) -> int:
        return self.number

    @event("news")
    async def news(self, n: int) -> None:
        self.heard.append(n)


def town() -> list[Droplet]:
    return [Caller(), Worker(31, "Billing", "bill"), Worker(32, "Scaler", "resize"), Worker(33, "Shrinker", "resize")]


async def ask(world: World, target: str) -> object:
    answer: object = await world.client.query("Caller", "ask", {"target": target})
    return answer


async def test_by_id_by_name_and_by_capability() -> None:
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(5)  # until all have registered
        assert await ask(world, "Billing") == 31
        assert await ask(world, "billing") == 31
        assert await ask(world, "32") == 32
        assert await ask(world, "resize") in (32, 33)
        with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
            await ask(world, "Biling")


async def test_with_the_registry_down_calls_go_on_and_all_are_back_soon_after() -> None:
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(5)  # until all have registered
        assert await ask(world, "Billing") == 31
        world.registry.down()
        for _ in range(58):
            await anyio.sleep(30)
            assert await ask(world, "Billing") == 31
        assert len(world.events.of(DiscoveryStale, droplet="Caller")) == 1
        world.registry.up()
        await anyio.sleep(60)
        assert len(world.events.of(DiscoveryFresh, droplet="Caller")) == 1
        assert await ask(world, "Billing") == 31


async def test_a_broadcast_reaches_each_once_and_those_who_can() -> None:
    people = town()
    async with mesh(*people, config=STRANGERS) as world:
        await anyio.sleep(40)
        everybody = await world.client.command("Caller", "tell", {})
        able = await world.client.command("Caller", "tell", {"capability": "resize"})
        nobody = await world.client.command("Caller", "tell", {"capability": "fly"})
        at_once = await people[1].mesh.broadcast("news", {"n": 2}, capability="resize")
    assert set(everybody["taken"]) == {1, 10, 31, 32, 33}
    assert everybody["failed"] == nobody["taken"] == nobody["failed"] == []
    assert able == {"taken": [32, 33], "failed": []}
    assert list(at_once.replies) == [32, 33]
    assert [worker.heard for worker in people[1:] if isinstance(worker, Worker)] == [[1], [1, 1, 2], [1, 1, 2]]


async def test_dependencies_are_measured_where_the_registry_says() -> None:
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(40)
        told = (await world.request("GET", "Caller", "/dependencies")).json()
    assert told["required"] == [{"id": 31, "name": "Billing", "status": "connected"}]
    assert told["optional"] == [{"id": None, "name": "Nobody", "status": "unavailable"}]
    assert [row["name"] for row in told["missing"]] == ["Nobody"]


async def test_send_takes_the_registrys_names() -> None:
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(5)
        body = {"target": "Billing", "message_type": "query", "payload": {"type": "who"}}
        told = await world.request("POST", "Caller", "/send", json=body)
        assert (told.json()["sent"], told.json()["data"]) == (True, 31)
        unknown = await world.request("POST", "Caller", "/send", json={**body, "target": "No"})
        assert unknown.status == 404
        address = await world.request("POST", "Caller", "/send", json={**body, "target": "http://x"})
        assert address.status == 400


async def test_changes_are_told() -> None:
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(40)
        told = world.events.of(PeersChanged, droplet="Caller")
    assert {31, 32, 33} <= {each for one in told for each in one.added}


async def test_an_unknown_name_says_who_there_is() -> None:
    people = town()
    async with mesh(*people, config=STRANGERS):
        await anyio.sleep(5)
        with pytest.raises(UnknownPeer, match="did you mean 'Billing'"):
            await people[2].mesh.query("Biling", "who")


@pytest.mark.parametrize("status", [401, 500])
async def test_a_registry_that_hears_nobody_does_not_make_everybody_disappear(status: int) -> None:
    """It takes no beats, so it gives up all of them and tells who watches: nobody may believe that."""
    async with mesh(*town(), config=STRANGERS) as world:
        await anyio.sleep(5)
        assert await ask(world, "Billing") == 31
        world.registry.answer_with(status, path="/heartbeat")
        for _ in range(90):
            await anyio.sleep(1)
            assert await ask(world, "Billing") == 31
            assert await ask(world, "resize") in (32, 33)
        assert (await world.request("GET", "Registry", "/droplets")).json() == [], "it has given up everybody"
        world.registry.answer_with(None)
        for _ in range(100):
            await anyio.sleep(1)
            assert await ask(world, "Billing") == 31
        await world.stop("Billing")
        with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
            await ask(world, "Billing")
        told = world.events.of(PeersChanged, droplet="Caller")
        assert [each.removed for each in told if each.removed] == [(31,)], (
            "and who leaves then is believed to have left"
        )
