"""Work that gets done: a task with progress, and how the tour follows one."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from udc.cli.demo.steps import Stage, Told, expect, took
from udc.cli.task_tables import line_of
from udc.cli.tasking import SHORT
from udc.cli.watching import to_the_end
from udc.clients.orchestrator_records import NewTask, TaskRecord, TaskState

_LOAVES: Final = 4
GRAMS: Final = {"rye": 500, "brioche": 300, "pretzel": 80}
"""What a loaf takes, as Pantry has it."""


class Order:
    """Loaves ordered as one task; made by `placed`.

    Attributes:
        task: as last seen.
        begun: set when its first progress has been told.
        told: every progress, in percent.
    """

    def __init__(self, stage: Stage, task: TaskRecord, *, item: str, loaves: int, flour: int) -> None:
        self._stage = stage
        self._item, self._loaves, self._flour = item, loaves, flour
        self.task: TaskRecord = task
        self.begun: anyio.Event = anyio.Event()
        self.told: list[float] = []

    @classmethod
    async def placed(cls, stage: Stage, item: str, loaves: int) -> Order:
        """Give the task to the Orchestrator."""
        flour = await _flour(stage)
        new = NewTask(task_type="bake", payload={"item": item, "loaves": loaves}, title=f"{loaves} {item}")
        task = await stage.mesh.tasks.create(new)
        stage.say(f"the Orchestrator took task {task.task_id[:SHORT]}: {task.title}")
        return cls(stage, task, item=item, loaves=loaves, flour=flour)

    async def follow(self) -> None:
        """Tell every change until the task has ended."""
        self._stage.wait_for(f"task {self.task.task_id[:SHORT]} to end")
        self.task = await to_the_end(self._stage.mesh.tasks, self.task.task_id, self._note)

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """Follow it beside what is done inside; that is left when the task has ended."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.follow)
            yield

    def _note(self, task: TaskRecord) -> None:
        if task.status == TaskState.IN_PROGRESS and task.progress is not None:
            self.told.append(task.progress.percent)
            self.begun.set()
        if not task.terminal:
            self._stage.say(f"  {line_of(task)}")

    async def check(self, *, attempts: int) -> None:
        """Check that it was done, and done once: by its result, its history, and the flour that is left.

        Raises:
            StepFailed: it was not.
        """
        task = self.task
        expect(task.status == TaskState.COMPLETED, f"the task ended as {line_of(task)}, not completed")
        wanted = {"item": self._item, "loaves": self._loaves}
        expect(task.result == wanted, f"the task's result is {task.result}, not {wanted}")
        expect(task.attempt == attempts, f"the task took {task.attempt} attempts, not {attempts}")
        ends = [change.status for change in task.state_history if change.status == TaskState.COMPLETED]
        expect(len(ends) == 1, f"the task's history tells of {len(ends)} ends")
        used = self._flour - await _flour(self._stage)
        expect(
            used == GRAMS[self._item] * self._loaves, f"{used} g of flour were taken for {self._loaves} {self._item}"
        )
        self._stage.say(
            f"completed at attempt {task.attempt}: {json.dumps(task.result)}; {used} g of flour were taken, once"
        )


async def bake(stage: Stage) -> Told:
    """A task to its completion, with the progress that Oven tells on the way."""
    began = anyio.current_time()
    order = await Order.placed(stage, "rye", _LOAVES)
    await order.follow()
    seconds = anyio.current_time() - began
    await order.check(attempts=1)
    between = [percent for percent in order.told if 0 < percent < 100]
    expect(between, f"no progress was told on the way, only {order.told}")
    return Told(
        gist=f"completed in {took(seconds)}, progress told {len(order.told)} times",
        facts={**facts_of(order), "seconds": seconds, "progress": order.told},
    )


def facts_of(order: Order) -> dict[str, Any]:  # Any: JSON values
    """A task that has ended, for programs."""
    task = order.task
    return {"task_id": task.task_id, "status": task.status, "result": task.result, "attempt": task.attempt}


async def _flour(stage: Stage) -> int:
    return await stage.mesh.client.query("Pantry", "flour", returns=int)
