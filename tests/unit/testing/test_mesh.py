"""`mesh` itself: who is in it, how it begins and ends, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import threading

import anyio.lowlevel
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, PeerError, command, on_start, on_stop, query
from udc.errors import ConfigError, LifecycleError, PeerUnreachable, UnknownPeer
from udc.instrument import MessageHandled, SendFinished
from udc.testing import FakeOrchestrator, FakeRegistry, mesh


class Echo(Droplet):
    id, name, steward = 14, "Echo", "tests"

    def __init__(self, number: int = 14) -> None:
        super().__init__(config={"droplet.id": number, "droplet.name": f"Echo{number}" if number != 14 else "Echo"})
        self.kept: list[str] = []

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

    @query("thread")
    def thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    @query("other")
    async def other(self, number: int, ctx: Context) -> object:
        return await ctx.query(number, "echo", {"text": "over"})

    @command("keep")
    async def keep(self, text: str) -> list[str]:
        self.kept.append(text)
        return self.kept

    @on_stop
    async def bye(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.kept.append("stopped")

    @query("wait")
    async def wait(self) -> None:
        await anyio.sleep(1000)


class Namesake(Droplet):
    id, name, steward = 16, "ECHO", "tests"


class Broken(Droplet):
    id, name, steward = 15, "Broken", "tests"

    @on_start
    async def fail(self) -> None:
        raise ValueError("my own start failed")


async def test_names_ids_and_droplets_find_each_other() -> None:
    echo = Echo()
    async with mesh(echo, Echo(15)) as world:
        for who in ("Echo", "echo", 14):
            assert await world.client.query(who, "echo", {"text": "a"}) == "a"
        assert await world.client.query("Echo15", "other", {"number": 14}) == "over"
        assert world.droplet("Echo") is world.droplet(14) is world.droplet(echo) is echo
        assert (await world.request("GET", echo, "/health")).json()["endpoint"] == world.endpoint(14)
        with pytest.raises(UnknownPeer, match="no droplet of this mesh is 'Nobody'; there are: 'Echo'"):
            world.droplet("Nobody")
        with pytest.raises(UnknownPeer, match="known: 'Echo' \\(14\\)"):
            await world.client.query("Nobody", "echo")


async def test_nothing_is_left_behind() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    root, own = logging.getLogger(), logging.getLogger("udc")
    handlers, level = list(root.handlers), own.level

    async with mesh(Echo(), Echo(15)) as world:
        assert await world.client.query("Echo", "other", {"number": 15}) == "over"
        world.faults.crash("Echo15")
        await world.faults.restart("Echo")
        await world.faults.restart("Registry")
        world.faults.crash("Registry")

    assert {task.id for task in anyio.get_running_tasks()} == before
    assert root.handlers == handlers
    assert own.level == level
    with pytest.raises(LifecycleError):
        _ = world.droplet("Echo").mesh


async def test_nothing_is_left_behind_by_a_failure() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    with pytest.raises(ZeroDivisionError):
        async with mesh(Echo()):
            raise ZeroDivisionError
    with pytest.raises(ValueError, match="my own start failed"):
        async with mesh(Echo(), Broken()):
            pytest.fail("the mesh must not start")
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_a_cancelled_test_still_stops_everybody() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    echo = Echo()
    with anyio.CancelScope() as scope:
        async with mesh(echo):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert echo.kept == ["stopped"]
    assert {task.id for task in anyio.get_running_tasks()} == before


@virtual_time
async def test_a_handler_that_hangs_does_not_hang_the_test() -> None:
    began = anyio.current_time()
    async with mesh(Echo()) as world, anyio.create_task_group() as tasks:

        async def hang() -> None:
            with pytest.raises(PeerError, match="CANCELLED"):
                await world.client.query("Echo", "wait", timeout_seconds=900, retries=0)

        tasks.start_soon(hang)
        await anyio.sleep(1)
        tasks.start_soon(world.stop, "Echo")
    assert anyio.current_time() - began < 7


async def test_clashes_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        async with mesh(Echo(), Namesake(), foreign=["Nobody"]):
            pass
    assert caught.value.problems == (
        "foreign: no droplet of this mesh is 'Nobody'",
        "'Echo' (14) and 'ECHO' (16) share an id or name, but not both",
    )
    with pytest.raises(ConfigError, match="Droplet: a droplet needs an id and a name"):
        async with mesh(Droplet()):
            pass


async def test_the_mesh_takes_your_own_registry_and_orchestrator() -> None:
    registry, orchestrator = FakeRegistry(token_seconds=60), FakeOrchestrator()
    async with mesh(Echo(), registry, orchestrator) as world:
        assert world.registry is registry
        assert world.orchestrator is orchestrator


async def test_a_class_makes_a_new_object_at_each_restart() -> None:
    async with mesh(Echo) as world:
        first = world.droplet("Echo")
        assert await world.client.command("Echo", "keep", {"text": "a"}) == ["a"]
        world.faults.crash("Echo")
        with pytest.raises(PeerUnreachable):
            await world.client.query("Echo", "echo", {"text": "a"}, retries=0)
        await world.faults.restart("Echo")

        assert world.droplet("Echo") is not first
        assert await world.client.command("Echo", "keep", {"text": "b"}) == ["b"]


async def test_settings_for_everybody() -> None:
    async with mesh(Echo(), config={"environment": "rehearsal"}) as world:
        assert (await world.request("GET", "Echo", "/version")).json()["environment"] == "rehearsal"


@pytest.mark.parametrize("seed", [0, 7])
@virtual_time
async def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    async def run(seed: int) -> list[object]:
        async with mesh(Echo(), Echo(15), seed=seed) as world:
            await world.client.query("Echo", "other", {"number": 15})
            world.faults.refuse("Echo15")
            with pytest.raises(PeerError):
                await world.client.query("Echo", "other", {"number": 15})
            return [*world.events.of(MessageHandled), *world.events.of(SendFinished)]

    first = await run(seed)

    assert first == await run(seed)
    assert first != await run(seed + 1)


@virtual_time
async def test_wall_time_follows_the_loop() -> None:
    async with mesh(Echo()) as world:
        began = world.now()
        await anyio.sleep(3600)
        assert (world.now() - began).total_seconds() == pytest.approx(3600)
        health = (await world.request("GET", "Echo", "/health")).json()
        assert health["updated_at"].startswith("2026-01-01T01:00:00")


@virtual_time
async def test_sync_handlers_run_in_line_in_virtual_time() -> None:
    async with mesh(Echo()) as world:
        assert await world.client.query("Echo", "thread") is True


async def test_sync_handlers_run_in_threads_in_real_time() -> None:
    async with mesh(Echo()) as world:
        assert await world.client.query("Echo", "thread") is False


def test_it_needs_no_plugin() -> None:
    """As under pytest-asyncio: a task of asyncio's own, and nothing of anyio's around it."""

    async def body() -> object:
        async with mesh(Echo()) as world:
            return await world.client.query("Echo", "echo", {"text": "a"})

    assert asyncio.run(body()) == "a"


async def test_a_mesh_is_used_once() -> None:
    running = mesh(Echo())
    async with running:
        with pytest.raises(LifecycleError, match="open already"):
            async with running:
                pass


async def test_request_sends_what_it_is_told() -> None:
    async with mesh(Echo()) as world:
        answer = await world.request("POST", "Echo", "/message", content=b"{", headers=[("x-trace-id", "t")])
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["code"] == "INVALID_REQUEST"
        assert "INVALID_REQUEST" in answer.text
        with pytest.raises(ValueError, match="either"):
            await world.request("POST", "Echo", "/message", json={}, content=b"")
