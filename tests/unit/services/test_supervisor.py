"""A crash is an event and a restart; health is down until the service says that it works again."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import TaskStatus

from tests.conftest import virtual_time
from udc._ids import seeded
from udc.instrument import Event, Instrument, ServiceCrashed, ServiceRecovered
from udc.services.jobs import Job, ReadyHooks
from udc.services.supervisor import Supervisor

pytestmark = virtual_time


class Flaky:
    """Crashes as often as it is told to, then works."""

    name = "flaky"

    def __init__(self, crashes: int, *, before_start: bool = False) -> None:
        self.crashes = crashes
        self.before_start = before_start
        self.starts: list[float] = []

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self.starts.append(anyio.current_time())
        if not self.before_start:
            task_status.started()
        await anyio.sleep(1)
        if len(self.starts) <= self.crashes:
            raise RuntimeError("no disk")
        task_status.started()
        await anyio.sleep_forever()


class Watch:
    """A supervisor with its events kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.downs: list[tuple[str, ...]] = []
        self.supervisor = Supervisor(
            ambient=seeded(7, lambda: 0.0),
            instrument=Instrument([self.events.append]),
            on_change=lambda: self.downs.append(self.supervisor.down),
        )


async def test_a_crashed_service_is_down_until_its_next_start() -> None:
    watch, flaky = Watch(), Flaky(crashes=2)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, flaky)
        await anyio.sleep(60)
        assert len(flaky.starts) == 3
        assert watch.downs == [("flaky",), (), ("flaky",), ()]
        assert [type(event) for event in watch.events] == [ServiceCrashed, ServiceRecovered] * 2
        assert watch.events[0] == ServiceCrashed(
            service="flaky",
            error="RuntimeError: no disk",
            restart_in_seconds=watch.events[0].restart_in_seconds,  # type: ignore[attr-defined]
        )
        tasks.cancel_scope.cancel()


async def test_a_service_that_crashes_before_it_works_does_not_hold_up_the_start() -> None:
    watch, flaky = Watch(), Flaky(crashes=3, before_start=True)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, flaky)
        assert watch.supervisor.down == ("flaky",)
        await anyio.sleep(60)
        assert watch.downs == [("flaky",), ("flaky",), ("flaky",), ()]
        tasks.cancel_scope.cancel()


async def test_waits_between_restarts_grow_and_stay_under_thirty_seconds() -> None:
    watch, flaky = Watch(), Flaky(crashes=200)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, flaky)
        await anyio.sleep(1500)
        tasks.cancel_scope.cancel()
    waits = [event.restart_in_seconds for event in watch.events if isinstance(event, ServiceCrashed)]
    assert all(wait <= 0.5 * 2**turn for turn, wait in enumerate(waits[:6]))
    assert max(waits) <= 30
    assert max(waits[8:]) > 10, "the waits never grew"


async def test_a_job_pauses_between_runs_and_never_overlaps() -> None:
    turns: list[float] = []

    async def work() -> None:
        turns.append(anyio.current_time() - begun)
        await anyio.sleep(25 if len(turns) == 2 else 1)

    begun = anyio.current_time()
    watch = Watch()
    job = Job("sweep", work, seconds=10, first_after_seconds=2, chance=lambda: 0.5, jitter=0.1)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, job)
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    assert turns == pytest.approx([2, 13, 48, 59])


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 9.0), (0.5, 10.0), (0.999, 10.998)])
async def test_jitter_spreads_the_pause(chance: float, pause: float) -> None:
    turns: list[float] = []

    async def work() -> None:
        turns.append(anyio.current_time() - begun)

    begun = anyio.current_time()
    watch = Watch()
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, Job("sweep", work, seconds=10, jitter=0.1, chance=lambda: chance))
        await anyio.sleep(12)
        tasks.cancel_scope.cancel()
    assert turns == pytest.approx([pause])


async def test_a_failed_job_is_down_until_a_turn_succeeds() -> None:
    turns: list[float] = []

    async def work() -> None:
        turns.append(anyio.current_time())
        if len(turns) < 3:
            raise RuntimeError("no route")

    watch = Watch()
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, Job("sweep", work, seconds=10, chance=lambda: 0.5))
        await anyio.sleep(9)
        assert watch.supervisor.down == ()
        await anyio.sleep(21)
        tasks.cancel_scope.cancel()
    assert watch.downs == [("sweep",), ("sweep",), ()]
    assert len(turns) >= 4


async def test_ready_hooks_run_in_order_each_until_it_succeeded_once() -> None:
    ran: list[str] = []

    async def subscribe() -> None:
        ran.append("subscribe")

    async def announce() -> None:
        ran.append("announce")
        if ran.count("announce") == 1:
            raise RuntimeError("nobody there")

    watch = Watch()
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch.supervisor.run, ReadyHooks([subscribe, announce]))
        await anyio.sleep(10)
        assert watch.supervisor.down == ()
        tasks.cancel_scope.cancel()
    assert ran == ["subscribe", "announce", "announce"]
