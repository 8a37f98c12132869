"""How `FakeRegistry` tells what has changed: as ours does, from which the same questions get the same answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Droplet
from udc.mesh.registry import Registry
from udc.testing import Answer, FakeRegistry, World, mesh
from udc.testing.keys import _made

pytestmark = virtual_time

SECRET = "a-secret-of-both-of-them"
ALONE = {"registry.auto_register": False}


def ours() -> Registry:
    return Registry(secret=SECRET, signing_keys=[_made("registry", 1)], lease_seconds=30)


@pytest.fixture(params=[lambda: FakeRegistry(secret=SECRET), ours], ids=["fake", "ours"])
def make(request: pytest.FixtureRequest) -> Callable[[], Droplet]:
    """One object, which is the same over all its lives."""
    made: Droplet = request.param()
    return lambda: made


@asynccontextmanager
async def alone(make: Callable[[], Droplet]) -> AsyncIterator[World]:
    """Nobody is registered but whom the test registers; the Registry has been there for some time."""
    async with mesh(make, config=ALONE) as world:
        await anyio.sleep(100)
        yield world


async def change(world: World, path: str, number: int = 14, **more: Any) -> Answer:
    body = {"droplet_id": number, "instance_id": f"i-{number}", **more}
    return await world.request("POST", "Registry", path, json=body, headers=[("x-droplet-secret", SECRET)], token=None)


async def register(world: World, number: int = 14, **more: Any) -> None:
    record = {
        "id": number,
        "name": f"Droplet{number}",
        "steward": "tests",
        "endpoint": f"https://d{number}.example.org",
        "capabilities": [],
        "version": "1",
        "status": "active",
        "phase": "ready",
        **more,
    }
    assert (await change(world, "/register", number, **record)).status == 200


async def ask(world: World, query: str = "") -> Answer:
    answer = await world.request("GET", "Registry", f"/droplets{query}")
    assert answer.status == 200
    return answer


async def revision(world: World) -> str:
    return (await ask(world)).headers["x-udc-revision"]


def changes(answer: Answer) -> list[tuple[str, Any]]:
    return [(each["op"], each["record"]["id"]) for each in answer.json()["changes"]]


async def test_what_changed_since_a_revision(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world:
        await register(world, 14)
        await register(world, 15)
        start = await revision(world)
        assert changes(await ask(world, f"?since={start}")) == []
        await register(world, 15, version="2")
        await register(world, 16)
        await change(world, "/deregister", 14)

        told = await ask(world, f"?since={start}")

        assert sorted(changes(told)) == [("put", 15), ("put", 16), ("remove", 14)]
        assert told.json()["snapshot"] is False
        assert told.json()["revision"] == told.headers["x-udc-revision"] == await revision(world) != start
        assert changes(await ask(world, f"?since={start}&name=Droplet16")) == [("put", 16)]


@pytest.mark.parametrize("since", ["other.0", "nonsense", "REV0", "-1"])
async def test_an_unknown_revision_gets_a_snapshot(make: Callable[[], Droplet], since: str) -> None:
    async with alone(make) as world:
        await register(world, 14)
        told = await ask(world, f"?since={since.replace('REV', await revision(world))}&wait=50&name=Droplet14")
        assert changes(told) == [("put", 14)]
        assert told.json()["snapshot"] is True


async def test_a_poll_waits_for_what_it_wants(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world, anyio.create_task_group() as tasks:
        since, began = await revision(world), anyio.current_time()

        async def later() -> None:
            await anyio.sleep(10)
            await register(world, 14)
            await anyio.sleep(10)
            await register(world, 15)

        tasks.start_soon(later)
        told = await ask(world, f"?since={since}&wait=60&name=Droplet15")
        assert changes(told) == [("put", 15)]
        assert anyio.current_time() - began == pytest.approx(20)


async def test_a_poll_that_sees_nothing_ends_when_it_said(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world:
        since, began = await revision(world), anyio.current_time()
        told = await ask(world, f"?since={since}&wait=20")
        assert (changes(told), told.json()["revision"]) == ([], since)
        assert anyio.current_time() - began == pytest.approx(20)
        refused = await world.request("GET", "Registry", f"/droplets?since={since}&wait=soon")
        assert refused.status == 400


async def test_a_beat_is_news_when_it_says_something_new(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world:
        await register(world, 14)
        since = await revision(world)
        await change(world, "/heartbeat", status="active", phase="ready", in_flight=7)
        assert changes(await ask(world, f"?since={since}")) == []
        await change(world, "/heartbeat", status="active", phase="stopping", in_flight=7)
        (told,) = (await ask(world, f"?since={since}")).json()["changes"]
        assert (told["record"]["phase"], told["record"]["instances"][0]["state"]) == ("stopping", "draining")
        assert told["record"]["instances"][0]["in_flight"] == 7


async def test_leases_that_end_are_news_by_themselves(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world:
        await register(world, 14)
        since, began = await revision(world), anyio.current_time()

        told = await ask(world, f"?since={since}&wait=60")
        (suspect,) = told.json()["changes"]
        assert (suspect["record"]["status"], suspect["record"]["instances"][0]["state"]) == ("inactive", "suspect")
        assert 30 <= anyio.current_time() - began <= 31
        gone = await ask(world, f"?since={told.json()['revision']}&wait=60")
        assert changes(gone) == [("remove", 14)]
        assert 60 <= anyio.current_time() - began <= 61
        assert (await change(world, "/heartbeat")).status == 404


async def test_a_restart_is_another_epoch_and_warms(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world:
        since = await revision(world)
        await world.faults.restart("Registry")
        told = await ask(world, f"?since={since}")
        assert told.json()["snapshot"] is True
        assert told.headers["x-udc-warming"] == "1"
        await anyio.sleep(61)
        assert "x-udc-warming" not in (await ask(world)).headers


async def test_who_waits_does_not_hold_up_the_end(make: Callable[[], Droplet]) -> None:
    async with alone(make) as world, anyio.create_task_group() as tasks:
        since, began = await revision(world), anyio.current_time()
        tasks.start_soon(ask, world, f"?since={since}&wait=60")
        await anyio.sleep(1)
        await world.stop("Registry")
        assert anyio.current_time() - began < 2


async def test_changes_are_streamed(make: Callable[[], Droplet]) -> None:
    """A memory network hands a stream over when it ends: here with the Registry."""
    async with alone(make) as world, anyio.create_task_group() as tasks:
        found: list[Answer] = []

        async def listen() -> None:
            found.append(await world.request("GET", "Registry", "/droplets/watch?name=Droplet14&name=Droplet15"))

        tasks.start_soon(listen)
        await anyio.sleep(1)
        await register(world, 14)
        await anyio.sleep(16)
        await register(world, 15)
        await anyio.sleep(0.1)
        await world.stop("Registry")
        events = [each.split("\n") for each in found[0].text.split("\n\n") if each.startswith("id:")]
        told = [json.loads(lines[2].removeprefix("data: ")) for lines in events]
        assert found[0].headers["content-type"].startswith("text/event-stream")
        assert [each["snapshot"] for each in told] == [True, False, False]
        assert [[one["record"]["id"] for one in each["changes"]] for each in told] == [[], [14], [15]]
        assert [lines[0] for lines in events] == [f"id: {each['revision']}" for each in told]
        assert ": still here" in found[0].text


async def test_down_while_somebody_waits() -> None:
    async with mesh(config=ALONE) as world, anyio.create_task_group() as tasks:
        since, answers = await revision(world), list[int]()

        async def wait() -> None:
            answers.append((await world.request("GET", "Registry", f"/droplets?since={since}&wait=60")).status)

        tasks.start_soon(wait)
        await anyio.sleep(1)
        world.registry.down()
        await anyio.sleep(0.1)
        assert answers == [503]


async def test_forgotten_records_are_another_epoch() -> None:
    async with mesh(config=ALONE) as world:
        since = await revision(world)
        world.registry.forget()
        told = await ask(world, f"?since={since}&wait=60")
        assert (told.json()["snapshot"], told.json()["changes"]) == (True, [])
        assert told.headers["x-udc-warming"] == "1"
