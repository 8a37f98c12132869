"""What `world.faults` breaks, and how it heals. In virtual time."""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, command, query, task
from udc.errors import CallTimeout, ConnectionLost, PeerUnreachable
from udc.instrument import MessageHandled
from udc.testing import mesh

pytestmark = virtual_time


class Bell(Droplet):
    id, name, steward = 14, "Bell", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.rung = 0
        self.began = anyio.Event()
        self.told: list[str] = []

    @query("ring")
    async def ring(self) -> int:
        self.rung += 1
        return self.rung

    @command("hold")
    async def hold(self, ctx: Context) -> None:
        self.began.set()
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await ctx.event("Orchestrator", "last_words", retries=0)
                except Exception as error:
                    self.told.append(type(error).__name__)
                    raise

    @task("long")
    async def long(self) -> None:
        await anyio.sleep(100)


async def test_slow() -> None:
    async with mesh(Bell()) as world:
        world.faults.slow("Bell", 3)
        began = anyio.current_time()
        assert await world.client.query("Bell", "ring") == 1
        assert anyio.current_time() - began == pytest.approx(3)
        world.faults.slow("Bell", 30)
        with pytest.raises(CallTimeout):
            await world.client.query("Bell", "ring")
        world.faults.heal("Bell")
        assert await world.client.query("Bell", "ring") == 2


async def test_pause() -> None:
    async with mesh(Bell()) as world, anyio.create_task_group() as tasks:
        world.faults.pause("Bell")
        tasks.start_soon(world.client.query, "Bell", "ring")
        await anyio.sleep(5)
        assert world.events.of(MessageHandled) == []
        world.faults.heal()
        await world.events.wait_for(MessageHandled)


async def test_refuse() -> None:
    async with mesh(Bell()) as world:
        world.faults.refuse("Bell")
        with pytest.raises(PeerUnreachable):
            await world.client.query("Bell", "ring")
        world.faults.heal("Bell")
        assert await world.client.query("Bell", "ring") == 1, "nothing had reached it"


async def test_lost_answers_are_counted() -> None:
    async with mesh(Bell()) as world:
        world.faults.lose_answers("Bell", 2)
        assert (await world.request("GET", "Bell", "/health")).status == 200
        with pytest.raises(ConnectionLost):
            await world.client.query("Bell", "ring", retries=1)
        assert await world.client.query("Bell", "ring", retries=0) == 3
        world.faults.lose_answers("Bell", 1, path=None)
        with pytest.raises(ConnectionLost):
            await world.request("GET", "Bell", "/health")


async def test_a_crash_breaks_what_is_in_hand_and_lets_nothing_out() -> None:
    bell = Bell()
    async with mesh(bell) as world, anyio.create_task_group() as tasks:
        handle = await world.orchestrator.assign("Bell", "long")
        await handle.heard("task_acknowledged")

        async def hold() -> None:
            with pytest.raises(ConnectionLost):
                await world.client.command("Bell", "hold", retries=0)

        tasks.start_soon(hold)
        await bell.began.wait()
        began = anyio.current_time()

        world.faults.crash("Bell")
        world.faults.crash("Bell")
        await world.faults.restart("Bell")

        assert anyio.current_time() - began < 0.1, "a killed droplet does not take its grace"
        assert bell.told == ["Killed"]
        assert "last_words" not in [message.get("event_type") for message in world.orchestrator.messages]
        assert handle.kinds == ["task_acknowledged"]
        assert await world.client.query("Bell", "ring") == 1


async def test_a_request_under_way_does_not_reach_a_dead_droplet() -> None:
    bell = Bell()
    async with mesh(bell) as world, anyio.create_task_group() as tasks:
        world.faults.slow("Bell", 3)

        async def call() -> None:
            with pytest.raises(PeerUnreachable):
                await world.client.query("Bell", "ring", retries=0)

        tasks.start_soon(call)
        await anyio.sleep(1)
        world.faults.crash("Bell")
    assert bell.rung == 0
