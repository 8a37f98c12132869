"""A mesh of fifty: droplets that are killed or stopped, alone or one of two instances. Their callers do not notice."""

from __future__ import annotations

import anyio
import pytest

from tests.journeys.many import (
    FIRST,
    Calls,
    Worker,
    background,
    registry,
    rows,
    seconds_until,
    settled,
    states,
    workers,
)
from udc import Droplet
from udc.testing import virtual_time

pytestmark = [
    pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["asyncio-virtual"]),
    pytest.mark.timeout(60),
]

PAIR = 90


def pair() -> Worker:
    return Worker(PAIR, "pair")


@pytest.mark.parametrize(("count", "lease"), [(40, 9.0), (50, 30.0)])
async def test_a_killed_droplet_is_out_of_rotation_within_its_lease(count: int, lease: float) -> None:
    """Others offer the same: calls by capability never fail. The leases are those that users have."""
    able = [Worker(number, "resize") for number in (91, 92, 93)]
    callers = workers(count)
    async with settled(registry(), *callers, *able) as world:
        calls = Calls(world)
        async with background() as tasks:
            tasks.start_soon(lambda: calls.queries(callers[:10], "resize", every=1.0, seconds=0.05))
            await anyio.sleep(2)
            world.faults.crash(91)

            async def out() -> bool:
                return "ready" not in (await states(world, 91)).values()

            async def gone() -> bool:
                return 91 not in await rows(world)

            left = await seconds_until(out, limit=lease + 2)
            removed = left + await seconds_until(gone, limit=lease + 2)
            before = [each.mesh for each in callers[:10]]
            await anyio.sleep(1)
            heard = [list((await each.broadcast("news", capability="resize")).replies) for each in before]
        assert calls.failures == []
        assert calls.made > 100
        assert left <= lease + 1
        assert removed <= 2 * lease + 1
        assert all(sorted(each) == [92, 93] for each in heard), "and everybody knows"


async def test_of_two_instances_one_is_killed_and_the_other_stopped() -> None:
    """One after the other, with a fresh start between: no call fails, and each command is done once."""
    callers = workers(48)
    async with settled(registry(), *callers, pair, pair) as world:
        first, second = world.instances(f"Worker{PAIR}")
        calls = Calls(world)
        async with background() as tasks:
            tasks.start_soon(lambda: calls.queries(callers[:20], f"Worker{PAIR}", every=2.0, seconds=0.2))
            await anyio.sleep(5)
            world.faults.crash(first)
            await anyio.sleep(35)
            await world.faults.restart(first)
            await anyio.sleep(5)
            tasks.start_soon(lambda: calls.commands(callers[20:28], f"Worker{PAIR}", seconds=0.5))
            await anyio.sleep(5)
            began = anyio.current_time()
            await world.stop(second)
            stopped = anyio.current_time() - began
            await anyio.sleep(5)
            assert await states(world, PAIR) == {first.instance_id: "ready"}
        done = [number for each in (first, second) if isinstance(each.droplet, Worker) for number in each.droplet.done]
        assert calls.failures == []
        assert stopped < 1.5, "what was in flight took 0.5 s"
        assert set(calls.answered) <= set(done)
        assert len(done) == len(set(done)), "each is done once"
        assert min(len(done), len(calls.answered)) > 100


async def test_who_is_stopped_with_work_in_flight_loses_none_of_it() -> None:
    """Ten of fifty are told to stop at one moment, each with commands and queries in flight."""
    people = workers(50)
    stopping, callers = people[:10], people[10:]
    async with settled(registry(), *people) as world:
        calls = Calls(world)

        async def work(target: int, caller: Droplet, number: int) -> None:
            async def command() -> None:
                data = {"number": number, "seconds": 0.5 + number % 7 / 2}
                calls.answered.append(await caller.mesh.command(target, "note", data))

            await calls.one(command)

        async with anyio.create_task_group() as tasks:
            for number in range(400):
                target, caller = FIRST + number % 10, callers[number % 40]
                tasks.start_soon(work, target, caller, number)
            await anyio.sleep(0.3)
            for leaving in stopping:
                tasks.start_soon(world.stop, leaving)
        done = [number for each in stopping if isinstance(each, Worker) for number in each.done]
        assert calls.failures == []
        assert sorted(done) == sorted(calls.answered) == list(range(400))
        assert set(await rows(world)) == {1, 10, *range(111, 151)}, "they have left"
