"""A mesh with an Orchestrator, in virtual time, and droplets that work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from udc import Context, Droplet, task
from udc.mesh.orchestrator import Orchestrator, Terms
from udc.testing import World, mesh


class Worker(Droplet):
    """Works for as long as it is told to; notes what it began, what it did, and what was cancelled under it."""

    id, name, steward = 31, "Worker", "tests"
    capabilities: Sequence[str] = ("work",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.began: list[str] = []
        self.done: list[str] = []
        self.cancelled: list[str] = []

    @task("work")
    async def work(self, ctx: Context, label: str = "", seconds: float = 1.0, fail: int = 0) -> str:
        self.began.append(label)
        if len(self.began) <= fail:
            raise ValueError("as it was told")
        try:
            await anyio.sleep(seconds / 2)
            await ctx.progress(50, "half way")
            await anyio.sleep(seconds / 2)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(label)
            raise
        self.done.append(label)
        return f"{label} by {self.id}"


class Second(Worker):
    id, name = 32, "Second"


@dataclass
class Tasks:
    """Tasks of a world's Orchestrator, in few words."""

    world: World

    async def create(self, label: str = "x", **options: Any) -> str:
        fields: dict[str, Any] = {name: options.pop(name) for name in ("seconds", "fail") if name in options}
        body = {"task_type": "work", "payload": {"label": label, **fields}, **options}
        answer = await self.world.request("POST", "Orchestrator", "/tasks", json=body)
        assert answer.status == 201, answer.content
        return str(answer.json()["task_id"])

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.world.request(method, "Orchestrator", path, **options)
        assert answer.status == 200, answer.content
        return answer.json()

    async def get(self, task_id: str) -> Any:
        return await self.ask("GET", f"/tasks/{task_id}")

    async def cancel(self, task_id: str) -> Any:
        return await self.ask("DELETE", f"/tasks/{task_id}")

    async def until(self, task_id: str, *states: str, seconds: float = 300.0) -> Any:
        """The record once it is in one of these states."""
        record = await self.get(task_id)
        with anyio.move_on_after(seconds):
            while record["status"] not in states:
                await anyio.sleep(0.25)
                record = await self.get(task_id)
        assert record["status"] in states, record
        return record

    async def end(self, task_id: str, **options: Any) -> Any:
        return await self.until(task_id, "completed", "failed", "cancelled", **options)

    def deadline(self, seconds: float) -> str:
        return (self.world.now() + timedelta(seconds=seconds)).astimezone(UTC).isoformat()


def states(record: Any) -> list[str]:
    return [step["status"] for step in record["state_history"]]


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


@asynccontextmanager
async def tasks(
    *droplets: Any, terms: Terms | None = None, orchestrator: Any = None, **options: Any
) -> AsyncIterator[Tasks]:
    """A mesh of these and an Orchestrator."""
    made = orchestrator or (lambda: Orchestrator(terms=terms))
    async with mesh(*droplets, made, **options) as world:
        yield Tasks(world)
