"""Start, hooks, jobs, drain and stop of droplets in a mesh. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, PeerError, command, every, on_ready, on_start, on_stop, query
from udc.instrument import PhaseChanged
from udc.lifecycle import Phase
from udc.testing import mesh

pytestmark = virtual_time


class Diary(Droplet):
    """Writes down what happens to it."""

    id, name, steward = 80, "Diary", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.began = anyio.Event()
        self.breaks: list[str] = []

    def _line(self, line: str) -> None:
        self.lines.append(line)
        if line in self.breaks:
            raise RuntimeError(f"broken: {line}")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self._line("open")
        yield
        self._line("close")

    @on_start
    async def first(self) -> None:
        self._line("start 1")

    @on_start
    async def second(self) -> None:
        self._line("start 2")

    @on_ready
    async def greet(self, ctx: Context) -> None:
        self._line(f"ready, in trace {bool(ctx.trace_id)}")

    @on_stop
    async def last(self) -> None:
        self._line("stop 1")

    @on_stop
    async def sooner(self) -> None:
        self._line("stop 2")

    @every(seconds=60, jitter=0)
    async def tick(self) -> None:
        self._line("tick")

    @command("work")
    async def work(self, seconds: float) -> str:
        self.began.set()
        await anyio.sleep(seconds)
        return "done"

    @query("lines")
    async def read(self) -> list[str]:
        return self.lines


async def test_hooks_and_jobs_run_in_order() -> None:
    diary = Diary()
    async with mesh(diary) as world:
        await anyio.sleep(150)
        assert await world.client.query("Diary", "lines") == [
            "open", "start 1", "start 2", "ready, in trace True", "tick", "tick",
        ]  # fmt: skip
    assert diary.lines[-3:] == ["stop 2", "stop 1", "close"]
    phases = [event.after for event in world.events.of(PhaseChanged, droplet="Diary")]
    assert phases == [Phase.INITIALIZING, Phase.STARTING, Phase.READY, Phase.STOPPING, Phase.STOPPED]


async def test_a_failing_start_is_raised_as_it_is() -> None:
    diary = Diary()
    diary.breaks = ["start 2"]
    with pytest.raises(RuntimeError, match="broken: start 2"):
        async with mesh(diary):
            pytest.fail("the mesh must not start")
    assert diary.lines == ["open", "start 1", "start 2"], "what had not started is not stopped"


async def test_what_failed_in_stopping_is_collected() -> None:
    diary = Diary()
    diary.breaks = ["stop 1", "stop 2"]
    with pytest.raises(ExceptionGroup) as caught:
        async with mesh(diary):
            pass
    assert [str(error) for error in caught.value.exceptions] == ["broken: stop 2", "broken: stop 1"]
    assert diary.lines[-1] == "close"


async def test_the_tests_own_failure_wins_over_that_of_the_stop() -> None:
    diary = Diary()
    diary.breaks = ["stop 1"]
    with pytest.raises(LookupError, match=r"^'mine'$"):
        async with mesh(diary):
            raise KeyError("mine")


async def test_drain_finishes_what_is_in_flight_and_takes_no_more() -> None:
    diary = Diary()
    results: list[object] = []
    async with mesh(diary) as world, anyio.create_task_group() as tasks:

        async def work() -> None:
            results.append(await world.client.command("Diary", "work", {"seconds": 3}))

        tasks.start_soon(work)
        await diary.began.wait()
        tasks.start_soon(world.stop, "Diary")
        await world.events.wait_for(PhaseChanged, where=lambda event: event.after is Phase.STOPPING)

        with pytest.raises(PeerError, match="503 DRAINING"):
            await world.client.query("Diary", "lines", retries=0)
        cancelled = await world.client.send("Diary", "command", {"type": "cancel_trace", "trace_id": "none"})
        ready = await world.request("GET", "Diary", "/readyz", token=None)

        assert cancelled.data == {"cancelled": 0}
        assert ready.status == 503
        assert results == []
    assert results == ["done"]


async def test_what_is_longer_than_the_grace_is_cut() -> None:
    diary = Diary()
    async with mesh(diary) as world, anyio.create_task_group() as tasks:

        async def work() -> None:
            with pytest.raises(PeerError, match="503 CANCELLED"):
                await world.client.command("Diary", "work", {"seconds": 1000}, timeout_seconds=2000, retries=0)

        tasks.start_soon(work)
        await diary.began.wait()
        began = anyio.current_time()
        await world.stop("Diary")

        assert 5 <= anyio.current_time() - began < 6


async def test_shutdown_over_http_is_graceful() -> None:
    diary = Diary()
    async with mesh(diary) as world:
        answer = await world.request("POST", "Diary", "/shutdown", json={"delay_seconds": 3, "reason": "test"})
        assert answer.json()["shutdown_scheduled"] is True
        await world.events.wait_for(PhaseChanged, where=lambda event: event.after is Phase.STOPPED)
        assert diary.lines[-1] == "close"
