"""A droplet is killed while it works on tasks, and started again on its data: one terminal message per attempt."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import VIRTUAL, virtual_time
from udc import Context, Droplet, PeerError, task
from udc.errors import DeliveryError
from udc.instrument import TaskMoved, TaskReported
from udc.testing import FakeOrchestrator, World, mesh
from udc.testing.orchestrator import TERMINAL, TaskHandle

SEEDS = range(20)

twenty_seeds = pytest.mark.parametrize(
    ("anyio_backend", "seed"), [(VIRTUAL[seed % 2], seed) for seed in SEEDS], indirect=["anyio_backend"]
)


class Worker(Droplet):
    id, name, steward = 60, "Worker", "tests"
    runs: Counter[tuple[str, int]]

    @task("count")
    async def count(self, to: int, ctx: Context) -> dict[str, int]:
        self.runs[str(ctx.message.payload["task_id"]), ctx.message.attempt] += 1
        for number in range(to):
            await anyio.sleep(1)
            await ctx.progress(100 * number / to, f"{number} of {to}")
        return {"counted": to}


def worker(runs: Counter[tuple[str, int]]) -> Any:
    def make() -> Worker:
        made = Worker()
        made.runs = runs
        return made

    make.__name__ = "Worker"
    return make


def terminals(orchestrator: FakeOrchestrator) -> Counter[tuple[str, int]]:
    """How many terminal messages came, by task and attempt."""
    return Counter(
        (str(each["task_id"]), int(each["attempt"])) for each in orchestrator.messages if each["type"] in TERMINAL
    )


async def restarted(world: World) -> None:
    world.faults.crash("Worker")
    await world.faults.restart("Worker")


async def assign(world: World, **options: Any) -> TaskHandle:
    return await world.orchestrator.assign("Worker", "count", {"to": 5}, **options)


@pytest.mark.parametrize("step", ["accepted", "task_acknowledged", "task_progress"])
@twenty_seeds
async def test_killed_at_work_it_says_so_after_its_restart(tmp_path: Path, step: str, seed: int) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), seed=seed, data=tmp_path) as world:
        handle = await assign(world)
        if step != "accepted":
            await handle.heard(step)
        await restarted(world)

        last = await handle.finished(timeout_seconds=60)
        assert (last["type"], last["error"].partition(":")[0]) == ("task_failed", "INTERRUPTED")
        await assign(world, task_id=handle.task_id)  # the same attempt again: the same answer, and no second run
        await anyio.sleep(60)
        assert terminals(world.orchestrator) == {(handle.task_id, 1): 1}
        assert runs[handle.task_id, 1] <= 1
        assert len(world.events.of(TaskReported)) == 1

        await assign(world, task_id=handle.task_id, attempt=2)  # as the Orchestrator does with such a task
        await world.events.wait_for(TaskReported, count=2, timeout_seconds=60)
        assert terminals(world.orchestrator) == {(handle.task_id, 1): 1, (handle.task_id, 2): 1}
        assert handle.messages[-1]["result"] == {"counted": 5}


@twenty_seeds
async def test_what_was_done_but_not_told_is_told_after_the_restart(tmp_path: Path, seed: int) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), seed=seed, data=tmp_path) as world:
        handle = await assign(world)
        await handle.heard("task_acknowledged")
        world.faults.refuse("Orchestrator")
        await world.events.wait_for(TaskMoved, where=lambda event: event.state == "completed", timeout_seconds=10)
        await anyio.sleep(random.Random(seed).uniform(0, 40))
        for _ in range(2):
            await restarted(world)
        world.faults.heal("Orchestrator")

        assert (await handle.finished(timeout_seconds=60))["result"] == {"counted": 5}
        await world.events.wait_for(TaskReported)
        await anyio.sleep(1)
        await restarted(world)
        await anyio.sleep(60)
        assert len(world.events.of(TaskReported)) == 1
        assert terminals(world.orchestrator) == {(handle.task_id, 1): 1}
        assert runs == {(handle.task_id, 1): 1}


@twenty_seeds
async def test_what_was_told_but_not_answered_is_the_same_message_again(tmp_path: Path, seed: int) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), seed=seed, data=tmp_path) as world:
        handle = await assign(world)
        world.faults.lose_answers("Orchestrator", times=10**6)
        await handle.finished()
        await restarted(world)
        await anyio.sleep(random.Random(seed).uniform(0, 60))
        world.faults.heal("Orchestrator")

        await world.events.wait_for(TaskReported, timeout_seconds=120)
        assert terminals(world.orchestrator) == {(handle.task_id, 1): 1}
        assert runs == {(handle.task_id, 1): 1}


@twenty_seeds
async def test_killed_again_and_again_at_random(tmp_path: Path, seed: int) -> None:
    """Ten tasks, six kills at any moment, and an Orchestrator that gives each attempt until it knows the answer."""
    runs: Counter[tuple[str, int]] = Counter()
    chance = random.Random(seed)
    async with mesh(worker(runs), seed=seed, data=tmp_path) as world:
        given: list[str] = [world.orchestrator.new_task_id() for _ in range(10)]

        async def give(task_id: str) -> None:
            while True:
                try:
                    await assign(world, task_id=task_id)
                except DeliveryError:
                    await anyio.sleep(1)
                else:
                    return

        async with anyio.create_task_group() as tasks:
            for task_id in given:
                await anyio.sleep(chance.uniform(0, 2))
                tasks.start_soon(give, task_id)
                if chance.random() < 0.6:
                    await anyio.sleep(chance.uniform(0, 4))
                    await restarted(world)

        await anyio.sleep(120)
        assert terminals(world.orchestrator) == {(task_id, 1): 1 for task_id in given}
        assert max(runs.values()) == 1


@virtual_time
async def test_a_task_that_is_handed_back_to_nobody_is_handed_back_after_the_restart(tmp_path: Path) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), data=tmp_path) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 100})
        await handle.heard("task_progress")
        world.faults.refuse("Orchestrator")
        await world.stop("Worker")
        world.faults.heal("Orchestrator")
        await world.faults.restart("Worker")

        assert (await handle.finished())["error"].startswith("DRAINING: ")
        assert len(terminals(world.orchestrator)) == 1


@virtual_time
async def test_a_stop_does_not_wait_for_what_is_on_the_disk(tmp_path: Path) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), data=tmp_path, config={"limits.grace_seconds": 100}) as world:
        handle = await assign(world)
        await handle.heard("task_acknowledged")
        world.faults.refuse("Orchestrator")
        await world.events.wait_for(TaskMoved, where=lambda event: event.state == "completed", timeout_seconds=10)
        began = anyio.current_time()
        await world.stop("Worker")
        assert anyio.current_time() - began < 10


@virtual_time
async def test_a_task_is_cancelled_while_its_droplet_drains(tmp_path: Path) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs), data=tmp_path, config={"limits.grace_seconds": 60}) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 100})
        await handle.heard("task_progress")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.stop, "Worker")
            await anyio.sleep(3)
            with pytest.raises(PeerError, match="503 DRAINING"):
                await assign(world)
            began = anyio.current_time()
            await handle.cancel()
        assert anyio.current_time() - began < 10
        assert handle.kinds[-1] == "task_cancelled"
        assert len(terminals(world.orchestrator)) == 1


@virtual_time
async def test_without_a_directory_all_goes_on_in_memory(tmp_path: Path) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    async with mesh(worker(runs)) as world:
        handle = await assign(world)
        await handle.heard("task_acknowledged")
        await restarted(world)
        await anyio.sleep(60)
        assert len(terminals(world.orchestrator)) == 0
        await assign(world, task_id=handle.task_id)
        await handle.finished()
        assert runs == {(handle.task_id, 1): 2}
