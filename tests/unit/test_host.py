"""A droplet's life in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

from udc._host import Life, living

asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Stub:
    """A droplet that does as it is told."""

    grace_seconds = 1.0
    surface: Any = None

    def __init__(self, *, start: Exception | None = None, stop: Exception | None = None, slow: bool = False) -> None:
        self.errors = {"start": start, "stop": stop}
        self.slow = slow
        self.asked = anyio.Event()
        self.crash = anyio.Event()
        self.at_once = False
        self.notes: list[str] = []

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        self.notes.append("begun")
        try:
            if self.slow:
                await anyio.sleep_forever()
            if self.errors["start"]:
                raise self.errors["start"]
            task_status.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._crash)
                await self.asked.wait()
                tasks.cancel_scope.cancel()
            if self.errors["stop"]:
                raise self.errors["stop"]
        finally:
            self.notes.append("ended")

    async def _crash(self) -> None:
        await self.crash.wait()
        raise ValueError("boom")

    async def over(self) -> None:
        await self.asked.wait()

    def request_stop(self, *, at_once: bool = False) -> None:
        self.at_once = self.at_once or at_once
        self.asked.set()


async def test_a_life() -> None:
    stub = Stub()
    life = Life(stub, name="Stub")
    async with living(life):
        assert stub.notes == ["begun"]
    assert stub.notes == ["begun", "ended"]
    assert not stub.at_once
    life.check_started()


async def test_a_failed_start_is_kept_for_who_asks() -> None:
    life = Life(Stub(start=ExceptionGroup("one", [ExceptionGroup("of one", [OSError("no disk")])])), name="Stub")
    async with living(life):
        assert isinstance(life.failure, OSError)
    with pytest.raises(OSError, match="no disk"):
        life.check_started()


async def test_a_group_of_several_stays_one() -> None:
    life = Life(Stub(start=ExceptionGroup("two", [OSError(), ValueError()])), name="Stub")
    async with living(life):
        pass
    with pytest.raises(ExceptionGroup):
        life.check_started()


@pytest.mark.parametrize(("when", "said"), [("crash", "has crashed"), ("stop", "stopped, but not as it should")])
async def test_what_goes_wrong_later_is_logged(when: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    stub = Stub(stop=OSError("busy") if when == "stop" else None)
    life = Life(stub, name="Stub")
    async with living(life):
        if when == "crash":
            stub.crash.set()
            while len(stub.notes) < 2:
                await anyio.lowlevel.checkpoint()
    (record,) = caplog.records
    assert said in record.message
    assert (record.levelno, record.droplet) == (logging.CRITICAL, "Stub")  # type: ignore[attr-defined]  # by `extra`
    life.check_started()


@asyncio_only
async def test_started_and_stopped_in_different_tasks() -> None:
    stub = Stub()
    life = Life(stub, name="Stub")
    await asyncio.create_task(life.start())
    assert stub.notes == ["begun"]
    await asyncio.create_task(life.stop())
    await asyncio.create_task(life.stop())
    assert stub.notes == ["begun", "ended"]


@asyncio_only
async def test_a_cancelled_start_ends_it() -> None:
    stub = Stub(slow=True)
    with anyio.move_on_after(0.02) as scope:
        await Life(stub, name="Stub").start()
    assert scope.cancelled_caught
    assert stub.notes == ["begun", "ended"]


@asyncio_only
async def test_a_cancelled_stop_gives_no_grace() -> None:
    class Lingering(Stub):
        async def serve(self, *, task_status: TaskStatus[None]) -> None:
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self.notes.append("ended")

    stub = Lingering()
    life = Life(stub, name="Stub")
    await life.start()
    with anyio.move_on_after(0.02):
        await life.stop()
    assert (stub.at_once, stub.notes) == (True, ["ended"])


@asyncio_only
async def test_the_end_of_the_event_loop_ends_it() -> None:
    """`asyncio.run` cancels what is left: an application that never said goodbye leaves nothing behind."""
    stub = Stub()
    life = Life(stub, name="Stub")
    await life.start()
    assert life._task is not None
    life._task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life._task
    assert stub.notes == ["begun", "ended"]
    await life.stop()
