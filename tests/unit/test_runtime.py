"""A droplet's life, in virtual time: what is opened is closed, in order, whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from tests.conftest import virtual_time
from tests.unit.dispatch.kit import Peers
from udc._ids import seeded
from udc._runtime import Plan, Runtime
from udc.context import current_context
from udc.dispatch.contexts import Contexts
from udc.errors import LifecycleError
from udc.instrument import Event, Instrument, PhaseChanged
from udc.lifecycle import Lifecycle, Phase
from udc.rings import running_instance

pytestmark = virtual_time

Step = Callable[[], Awaitable[object]]


class World:
    """A runtime whose every part notes what it does."""

    def __init__(self, *, grace: float = 25.0, **parts: Any) -> None:
        self.notes: list[str] = []
        self.events: list[Event] = []
        self.lifecycle = Lifecycle()
        self.work_left = anyio.Event()
        self.work_left.set()
        plan: dict[str, Any] = {
            "resources": [self.opener("client"), self.opener("store")],
            "lifespan": self.opener("lifespan"),
            "on_start": [self.hook("start 1"), self.hook("start 2")],
            "on_stop": [self.hook("stop 1"), self.hook("stop 2")],
            "drain": self.drain,
            "cut": self.hook("cut"),
            "grace_seconds": lambda: grace,
            **parts,
        }
        self.runtime = Runtime(
            Plan(**plan),
            lifecycle=self.lifecycle,
            instance_id="i",
            instrument=Instrument([self.events.append]),
            ambient=seeded(3, lambda: 0.0),
        )

    def hook(self, name: str, error: BaseException | None = None, seconds: float = 0) -> Step:
        async def run() -> None:
            await anyio.sleep(seconds)
            self.notes.append(name)
            if error is not None:
                raise error

        return run

    def opener(self, name: str, *, opens: Exception | None = None, closes: Exception | None = None) -> Any:
        @asynccontextmanager
        async def opened() -> AsyncIterator[None]:
            if opens is not None:
                raise opens
            self.notes.append(f"+{name}")
            try:
                yield
            finally:
                await anyio.sleep(0.1)
                self.notes.append(f"-{name}")
                if closes is not None:
                    raise closes

        return opened

    async def drain(self) -> None:
        await self.work_left.wait()
        self.notes.append("drained")

    @property
    def phases(self) -> list[str]:
        return [str(event.after) for event in self.events if isinstance(event, PhaseChanged)]

    async def live(self) -> None:
        """From start to an orderly end."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.runtime.serve)
            self.runtime.request_stop()


WHOLE = "+client +store +lifespan start 1 start 2 drained cut stop 2 stop 1 -lifespan -store -client"


async def test_a_whole_life_is_closed_in_reverse() -> None:
    world = World()
    await world.live()
    assert " ".join(world.notes) == WHOLE
    assert world.phases == ["initializing", "starting", "ready", "stopping", "stopped"]


async def test_started_means_ready() -> None:
    world = World()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        assert world.lifecycle.phase is Phase.READY
        world.runtime.request_stop()


@pytest.mark.parametrize(
    ("broken", "closed"),
    [
        ("client", ""),
        ("store", "+client -client"),
        ("lifespan", "+client +store -store -client"),
        ("start 1", "+client +store +lifespan start 1 -lifespan -store -client"),
        ("start 2", "+client +store +lifespan start 1 start 2 -lifespan -store -client"),
    ],
)
async def test_a_start_that_fails_closes_what_was_opened_and_runs_no_stop_hook(broken: str, closed: str) -> None:
    error = ValueError("no disk")
    world = World()
    names = ("client", "store", "lifespan")
    opener = {name: world.opener(name, opens=error if name == broken else None) for name in names}
    hooks = [world.hook(name, error if name == broken else None) for name in ("start 1", "start 2")]
    again = World(resources=[opener["client"], opener["store"]], lifespan=opener["lifespan"], on_start=hooks)
    with pytest.raises(ValueError, match="no disk"):
        await again.runtime.serve()
    assert " ".join(world.notes) == closed
    assert again.lifecycle.phase is Phase.FAILED
    assert again.notes == []


async def test_a_start_that_is_cancelled_closes_what_was_opened() -> None:
    world = World(on_start=[anyio.sleep_forever])
    with anyio.move_on_after(1):
        await world.runtime.serve()
    assert world.notes == ["+client", "+store", "+lifespan", "-lifespan", "-store", "-client"]
    assert world.lifecycle.phase is Phase.FAILED


async def test_a_lifespan_that_raises_at_its_end_is_told_and_skips_nothing() -> None:
    world = World()
    broken = World(
        resources=[world.opener("client", closes=OSError("client")), world.opener("store")],
        lifespan=world.opener("lifespan", closes=ValueError("lifespan")),
        on_stop=[world.hook("stop 1", KeyError("stop 1")), world.hook("stop 2", KeyError("stop 2"))],
    )
    with pytest.raises(ExceptionGroup) as caught:
        await broken.live()
    group = caught.value
    while len(group.exceptions) == 1:
        group = group.exceptions[0]
    assert [type(error) for error in group.exceptions] == [KeyError, KeyError, ValueError, OSError]
    assert world.notes[-5:] == ["stop 2", "stop 1", "-lifespan", "-store", "-client"]
    assert broken.lifecycle.phase is Phase.FAILED


async def test_work_in_flight_is_waited_for_within_the_grace() -> None:
    world = World()
    world.work_left = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        begun = anyio.current_time()
        world.runtime.request_stop()
        await anyio.sleep(10)
        assert (world.lifecycle.phase, "cut" in world.notes) == (Phase.STOPPING, False)
        world.work_left.set()
    assert anyio.current_time() - begun < 12
    assert " ".join(world.notes) == WHOLE


async def test_the_grace_ends() -> None:
    """Trap 18: a stop never hangs, whatever does not answer."""
    world = World(grace=25)
    world.work_left = anyio.Event()
    begun = anyio.current_time()
    await world.live()
    assert 25 <= anyio.current_time() - begun < 27
    assert "drained" not in world.notes
    assert world.notes[5] == "cut"
    assert world.lifecycle.phase is Phase.STOPPED


@pytest.mark.parametrize("early", [True, False])
async def test_a_second_stop_is_at_once(early: bool) -> None:
    world = World(cut=anyio.sleep_forever)
    world.work_left = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        begun = anyio.current_time()
        world.runtime.request_stop(at_once=early)
        await anyio.sleep(1)
        world.runtime.request_stop(at_once=True)
    assert anyio.current_time() - begun < 2
    assert world.notes[-1] == "-client"


async def test_work_that_does_not_give_up_is_left_behind() -> None:
    world = World(cut=anyio.sleep_forever)
    begun = anyio.current_time()
    await world.live()
    assert anyio.current_time() - begun < 12
    assert world.notes[-1] == "-client"


@pytest.mark.parametrize("step", ["drain", "cut", "leave"])
async def test_a_step_of_the_stop_that_fails_keeps_none_of_the_others(step: str) -> None:
    world = World()
    steps: dict[str, Any] = {"drain": world.drain, "cut": world.hook("cut"), "leave": world.hook("left")}
    steps[step] = world.hook(step, ValueError(step))
    broken = World(**steps)
    broken.notes = world.notes
    with pytest.raises(ExceptionGroup) as caught:
        await broken.live()
    assert caught.group_contains(ValueError, match=step)
    told = {"drain": "drained", "cut": "cut", "leave": "left"}
    expected = [step if name == step else word for name, word in told.items()]
    assert [note for note in world.notes if note in expected] == expected
    with anyio.fail_after(1):
        await broken.runtime.over()
    assert broken.phases[-2:] == ["stopping", "failed"]


async def test_how_long_a_stop_may_take_is_known() -> None:
    """The last resort must not come before the end that takes as long as it may."""
    for grace in (0.0, 25.0):
        world = World(grace=grace, drain=anyio.sleep_forever, cut=anyio.sleep_forever, leave=anyio.sleep_forever)
        world.runtime._plan = replace(world.runtime._plan, on_stop=[anyio.sleep_forever], lifespan=world.opener("x"))
        begun = anyio.current_time()
        with pytest.raises(ExceptionGroup):
            await world.live()
        assert anyio.current_time() - begun <= world.runtime.longest_stop_seconds + 1


@pytest.mark.parametrize("grace", [0.0, 1.0, 25.0])
async def test_stop_hooks_have_time_of_their_own(grace: float) -> None:
    """The grace is for work in flight: none of it must not mean that hooks are cut off."""
    world = World(grace=grace)
    slow = World(grace=grace, on_stop=[world.hook("stopped", seconds=3)])
    await slow.live()
    assert world.notes == ["stopped"]
    assert slow.lifecycle.phase is Phase.STOPPED


async def test_stop_hooks_that_hang_are_given_up_and_told() -> None:
    world = World(on_stop=[anyio.sleep_forever], grace=7)
    begun = anyio.current_time()
    with pytest.raises(ExceptionGroup) as caught:
        await world.live()
    assert caught.group_contains(TimeoutError)
    assert anyio.current_time() - begun < 8
    assert world.lifecycle.phase is Phase.FAILED


async def test_a_cancelled_droplet_stops_too_without_the_grace() -> None:
    world = World()
    world.work_left = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        begun = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - begun < 1
    assert " ".join(world.notes) == WHOLE.replace("drained ", "")
    assert world.phases[-2:] == ["stopping", "stopped"]


async def test_a_cancelled_droplet_whose_hook_fails_has_failed() -> None:
    world = World(on_stop=[World().hook("x", ValueError("x"))])
    with suppress(ExceptionGroup):  # trio lets the hook's error pass, asyncio the cancellation
        async with anyio.create_task_group() as tasks:
            await tasks.start(world.runtime.serve)
            tasks.cancel_scope.cancel()
    assert world.phases[-2:] == ["stopping", "failed"]


class Flaky:
    """Crashes once, a second after its start."""

    name = "flaky"

    def __init__(self, *, at_start: bool = False) -> None:
        self.runs = 0
        self.at_start = at_start

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self.runs += 1
        if self.at_start and self.runs == 1:
            raise RuntimeError("no disk")
        task_status.started()
        await anyio.sleep(1 if self.runs == 1 else float("inf"))
        raise RuntimeError("no disk")


async def test_a_crashed_service_degrades_the_droplet_until_it_is_back() -> None:
    """Trap 1: what crashes in the background neither ends the droplet nor goes unseen."""
    world = World(services=[Flaky()])
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        assert world.runtime.services_down == ()
        await anyio.sleep(60)
        assert world.runtime.services_down == ()
        world.runtime.request_stop()
    assert world.phases == ["initializing", "starting", "ready", "degraded", "ready", "stopping", "stopped"]
    reasons = [event.reason for event in world.events if isinstance(event, PhaseChanged)]
    assert reasons[3] == "down: flaky"


async def test_a_service_that_crashes_at_the_start_starts_a_degraded_droplet() -> None:
    world = World(services=[Flaky(at_start=True)])
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        assert world.phases[-1] == "degraded"
        assert world.runtime.services_down == ("flaky",)
        await anyio.sleep(1)
        assert world.phases[-1] == "ready"
        world.runtime.request_stop()


async def test_background_work_runs_as_long_as_the_droplet() -> None:
    world = World()
    with pytest.raises(LifecycleError, match="running droplet"):
        world.runtime.spawn(anyio.sleep_forever, name="early")
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        world.runtime.spawn(anyio.sleep_forever, name="work")
        world.runtime.request_stop()
    with pytest.raises(LifecycleError):
        world.runtime.spawn(anyio.sleep_forever, name="late")


async def test_what_a_droplet_does_is_its_own_though_another_ones_handler_has_started_it() -> None:
    seen: list[str | None] = []

    async def note() -> None:
        seen.append(running_instance())

    world = World(on_start=[note], on_stop=[note])
    world.runtime.request_stop()
    home = Contexts(sender=Peers(), ambient=seeded(1, lambda: 0.0), instance_id="other")
    outer = current_context.set(home.tracing())
    try:
        await world.runtime.serve()
        assert running_instance() == "other"
    finally:
        current_context.reset(outer)
    assert seen == ["i", "i"]


async def test_background_work_that_raises_does_not_end_the_droplet(caplog: pytest.LogCaptureFixture) -> None:
    """Trap 1 again: one undeliverable report must not take the whole droplet down."""

    async def broken() -> None:
        raise ValueError("no disk")

    world = World()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)
        world.runtime.spawn(broken, name="report")
        await anyio.sleep(1)
        assert world.lifecycle.phase is Phase.READY
        world.runtime.request_stop()
    (record,) = [record for record in caplog.records if record.name == "udc.runtime"]
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)


async def test_it_may_be_opened_in_one_task_and_stopped_from_another() -> None:
    """Trap 4: the scopes belong to the task that serves; others only ask."""
    world = World()
    async with anyio.create_task_group() as tasks:
        await tasks.start(world.runtime.serve)

        async def elsewhere() -> None:
            world.runtime.request_stop()

        tasks.start_soon(elsewhere)
    assert world.lifecycle.phase is Phase.STOPPED


async def test_a_stop_asked_for_before_the_start_stops_after_it() -> None:
    world = World()
    world.runtime.request_stop()
    world.runtime.request_stop()
    await world.runtime.serve()
    assert " ".join(world.notes) == WHOLE
