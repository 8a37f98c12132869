"""A mesh of fifty whole droplets whose Registry is away, out of order, slow or has forgotten everybody: calls go on.

What is told here of whole droplets with the real Registry, `test_presence_outages` tells of their presence alone.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.journeys.many import (
    FIRST,
    STRANGERS,
    Calls,
    Rate,
    background,
    registry,
    rows,
    seconds_until,
    settled,
    workers,
)
from udc import Droplet
from udc.datadir import DataDirectory
from udc.instrument import BeatFailed, PresenceChanged
from udc.testing import FakeRegistry, World, mesh, virtual_time

pytestmark = [
    pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["asyncio-virtual"]),
    pytest.mark.timeout(60),
]

N = 50
BACK_SECONDS = 60.0
HIGHEST_RATE = 0.05 * N
EVERYBODY = range(FIRST, FIRST + N)


def presence(world: World, who: int) -> str:
    return world.instances(who)[0].presence


async def present(world: World) -> set[int]:
    """Those whom the Registry knows, ready, and who know it."""
    ready = {each for each, row in (await rows(world)).items() if row["instances"][0]["state"] == "ready"}
    return {each for each in EVERYBODY if each in ready and presence(world, each) == "registered"}


async def back(world: World) -> float:
    """Wait until everybody is present; returns how long it took."""

    async def all_back() -> bool:
        return await present(world) == set(EVERYBODY)

    return await seconds_until(all_back, limit=BACK_SECONDS)


async def met(world: World, people: list[Droplet]) -> None:
    """Each knows where the others are: one that asked once can go on asking."""
    for place, each in enumerate(people[:10]):
        assert await each.mesh.query(FIRST + place + 10, "echo", {"text": "a"}) == "a"


async def test_droplets_that_were_there_before_their_registry() -> None:
    people = workers(N)
    async with mesh(registry(), config=STRANGERS) as world:
        world.faults.crash("Registry")
        for each in people:
            await world.start(each)
        await anyio.sleep(120)
        async with background() as tasks:
            await world.faults.restart("Registry")
            tasks.start_soon((rate := Rate(world)).watch)
            assert await back(world) <= BACK_SECONDS
        await met(world, people)
        assert rate.peak() <= HIGHEST_RATE


@pytest.mark.parametrize("empty", [False, True], ids=["on its data", "empty"])
async def test_a_registry_killed_for_29_minutes_stops_no_call(tmp_path: Path, *, empty: bool) -> None:
    """Back on its data it forgets nobody; back empty it hears of all again, and not of all at once."""
    people = workers(N)
    data = None if empty else DataDirectory(tmp_path / "data")
    async with settled(registry(data), *people) as world:
        await met(world, people)
        calls = Calls(world)
        async with background() as tasks:
            tasks.start_soon(lambda: calls.queries(people[:10], f"Worker{FIRST + 20}", every=30.0))
            await anyio.sleep(30)
            world.faults.crash("Registry")
            await anyio.sleep(29 * 60)
            assert {presence(world, each) for each in EVERYBODY} == {"lost"}
            world.events.clear()
            await world.faults.restart("Registry")
            tasks.start_soon((rate := Rate(world)).watch)
            await back(world)
            await anyio.sleep(70)
        assert calls.failures == []
        assert calls.made > 500
        assert sum(rate.seconds) == (N + 1 if empty else 0), "fifty and the Orchestrator"
        assert rate.peak() <= HIGHEST_RATE


async def test_tokens_end_while_the_registry_is_away(tmp_path: Path) -> None:
    """Calls go on until the last token has ended, then say why not, and go on again soon after the Registry is back."""
    people = workers(N)
    make = registry(DataDirectory(tmp_path / "data"), token_seconds=300)
    async with settled(make, *people) as world:
        await met(world, people)
        calls = Calls(world)
        async with background() as tasks:
            tasks.start_soon(lambda: calls.queries(people[:10], f"Worker{FIRST + 20}", every=30.0))
            await anyio.sleep(30)
            world.faults.crash("Registry")
            crashed = anyio.current_time()
            await anyio.sleep(900)
            assert calls.failures[0][0] - crashed > 0.5 * 300
            assert "token" in calls.failures[0][1]
            await world.faults.restart("Registry")
            returned = anyio.current_time()
            await back(world)
            await anyio.sleep(60)
        assert max(at for at, _ in calls.failures) < returned + BACK_SECONDS


@pytest.mark.parametrize("mood", [500, 401, 404, 409, 5.0])
async def test_a_registry_out_of_order_or_slow_stops_no_call(mood: float) -> None:
    """Answers of a wrong status for a minute, or right ones that take five seconds."""
    people = workers(N)
    async with settled(FakeRegistry, *people) as world:
        await met(world, people)
        calls = Calls(world)
        async with background() as tasks:
            tasks.start_soon(lambda: calls.queries(people[:10], f"Worker{FIRST + 20}", every=5.0))
            await anyio.sleep(10)
            if isinstance(mood, int):
                world.registry.answer_with(mood)
                await anyio.sleep(70)
                assert {presence(world, each) for each in EVERYBODY} == {"lost"}
                world.registry.answer_with(None)
            else:
                world.faults.slow("Registry", mood)
                await anyio.sleep(70)
                assert world.events.of(BeatFailed) == []
                assert [each for each in world.events.of(PresenceChanged) if each.after == "lost"] == []
                world.faults.heal("Registry")
            await back(world)
            await anyio.sleep(10)
        assert calls.failures == []
        assert calls.made > 150
