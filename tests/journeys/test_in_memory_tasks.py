"""Tasks through a whole mesh: progress, failure, cancellation, drain, an Orchestrator that is away. Virtual time."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from tests.conftest import virtual_time
from udc import BusinessError, Context, Droplet, PeerError, task
from udc.instrument import TaskMoved
from udc.testing import mesh

pytestmark = virtual_time


class Worker(Droplet):
    id, name, steward = 60, "Worker", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    @task("count")
    async def count(self, to: int, ctx: Context) -> dict[str, int]:
        self.runs.append(ctx.message.attempt)
        for number in range(to):
            await anyio.sleep(10)
            await ctx.progress(100 * number / to, f"{number} of {to}")
        return {"counted": to}

    @task("fail")
    async def fail(self, how: str) -> None:
        if how == "business":
            raise BusinessError("NO_PAPER", "the tray is empty")
        raise ValueError("a secret detail")


async def test_a_task_with_progress_completes() -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 3})

        last = await handle.finished(timeout_seconds=31)

        assert last == {"type": "task_completed", "task_id": handle.task_id, "attempt": 1, "result": {"counted": 3}}
        assert handle.kinds[0] == "task_acknowledged"
        assert handle.kinds.count("task_progress") >= 2
        assert (await handle.heard("task_progress"))["percent"] == 0
        assert [event.state for event in world.events.of(TaskMoved)] == ["accepted", "completed"]


@pytest.mark.parametrize(("how", "error"), [("business", "NO_PAPER: the tray is empty"), ("bug", "INTERNAL_ERROR: ")])
async def test_a_failing_task_says_so(how: str, error: str) -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign("Worker", "fail", {"how": how})

        last = await handle.finished()

        assert last["type"] == "task_failed"
        assert last["error"].startswith(error)
        assert "secret detail" not in str(handle.messages)


async def test_a_task_is_cancelled() -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 100})
        await handle.heard("task_progress")

        await handle.cancel()

        assert (await handle.finished())["type"] == "task_cancelled"
        await handle.cancel()  # twice is harmless
        assert handle.kinds.count("task_cancelled") == 1


async def test_a_task_longer_than_the_grace_is_handed_back() -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 100})
        await handle.heard("task_acknowledged")
        began = anyio.current_time()

        await world.stop("Worker")

        assert 5 <= anyio.current_time() - began < 6
        last = await handle.finished()
        assert last["type"] == "task_failed"
        assert last["error"].startswith("DRAINING: ")


async def test_the_same_attempt_again_runs_once_and_a_later_one_joins() -> None:
    worker = Worker()
    async with mesh(worker) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 2})
        again = await world.orchestrator.assign("Worker", "count", {"to": 2}, task_id=handle.task_id)
        later = await world.orchestrator.assign("Worker", "count", {"to": 2}, task_id=handle.task_id, attempt=2)

        last = await handle.finished()

        assert handle is again is later
        assert worker.runs == [1]
        assert last["attempt"] == 2
        with pytest.raises(PeerError, match="409 CONFLICT"):
            await world.orchestrator.assign("Worker", "count", {"to": 2}, task_id=handle.task_id, attempt=1)
        await world.orchestrator.assign("Worker", "count", {"to": 2}, task_id=handle.task_id, attempt=3)
        await world.events.wait_for(
            TaskMoved, where=lambda event: event.state == "completed", count=2, timeout_seconds=60
        )
        assert worker.runs == [1, 3]


async def test_the_last_word_waits_for_the_orchestrator() -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign("Worker", "count", {"to": 1})
        await handle.heard("task_acknowledged")
        world.faults.refuse("Orchestrator")
        await anyio.sleep(600)
        assert "task_completed" not in handle.kinds
        world.faults.heal("Orchestrator")

        assert (await handle.finished(timeout_seconds=31))["result"] == {"counted": 1}
        await anyio.sleep(120)
        assert handle.kinds.count("task_completed") == 1


async def test_a_deadline_ends_a_task() -> None:
    async with mesh(Worker()) as world:
        handle = await world.orchestrator.assign(
            "Worker", "count", {"to": 100}, deadline=world.now() + timedelta(seconds=25)
        )

        last = await handle.finished()

        assert last["error"].startswith("TIMEOUT: ")
        with pytest.raises(PeerError, match="408 DEADLINE_EXCEEDED"):
            await world.orchestrator.assign("Worker", "count", {"to": 1}, deadline=world.now())


async def test_only_the_orchestrator_gives_tasks() -> None:
    async with mesh(Worker()) as world:
        token = world.token(droplet_id=61, permissions=["write"])
        answer = await world.request(
            "POST", "Worker", "/task", json={"task_id": "t", "task_type": "count", "payload": {"to": 1}}, token=token
        )

        assert answer.status == 403
        with pytest.raises(PeerError, match="404 NO_HANDLER"):
            await world.orchestrator.assign("Worker", "paint")
