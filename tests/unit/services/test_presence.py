"""The presence loop against a Registry that answers as it is told. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, MutableSequence, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.conftest import virtual_time
from udc._ids import seeded
from udc.clients._base import Beat, BeatAnswer, Registered, Registration
from udc.errors import (
    ConnectionLost,
    InstanceRetired,
    PeerError,
    PeerUnreachable,
    RegistryRefused,
    UnknownInstance,
)
from udc.instrument import (
    BeatFailed,
    DeregistrationFailed,
    Event,
    Instrument,
    PresenceChanged,
    RegistrationAccepted,
    RegistrationFailed,
)
from udc.services.presence import LEAVE_SECONDS, PresenceLoop

pytestmark = virtual_time

Answer = BaseException | Callable[[], Any] | None
DOWN = PeerUnreachable("refused", peer="the Registry")


class Scripted:
    """Implements `RegistryClient`: each answer once, the last one for ever."""

    def __init__(self) -> None:
        self.on_register: list[Any] = [Registered(beat_every_seconds=12.0, lease_ttl_seconds=36.0)]
        self.on_beat: list[Any] = [BeatAnswer()]
        self.on_leave: list[Any] = [None]
        self.calls: list[tuple[str, float]] = []
        self.beats: list[Beat] = []
        self.seconds = 0.0
        self.under_way = self.most_under_way = 0

    async def register(self, registration: Registration) -> Registered:
        answer: Registered = await self._answer("register", self.on_register)
        return answer

    async def beat(self, beat: Beat) -> BeatAnswer:
        self.beats.append(beat)
        answer: BeatAnswer = await self._answer("beat", self.on_beat)
        return answer

    async def deregister(self) -> None:
        await self._answer("leave", self.on_leave)

    async def list(self) -> Any:
        raise NotImplementedError

    async def changes(self, since: str, *, wait_seconds: float) -> None:
        raise NotImplementedError

    async def revocations(self) -> None:
        raise NotImplementedError

    async def _answer(self, name: str, answers: MutableSequence[Any]) -> Any:
        self.calls.append((name, anyio.current_time()))
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def times(self, name: str) -> Sequence[float]:
        return [at for called, at in self.calls if called == name]


class Bench:
    def __init__(self, registry: Scripted, chance: float | None = None) -> None:
        ambient = seeded(4, lambda: 0.0)
        self.registry = registry
        self.events: list[Event] = []
        self.obstacle: str | None = None
        self.looks: list[float] = []
        self.phase = "ready"
        self.accepted: list[Registered] = []
        self.answered: list[BeatAnswer] = []
        if chance is not None:
            ambient = type(ambient)(wall=ambient.wall, new_id=ambient.new_id, chance=lambda: chance)
        self.loop = PresenceLoop(
            registry,
            obstacle=self._look,
            registration=lambda: Registration(body={"id": 14, "status": "active", "phase": self.phase}),
            beat=lambda told: Beat(droplet_id=14, instance_id="i", status="active", phase=self.phase, record_hash=told),
            accepted=self.accepted.append,
            answered=self.answered.append,
            ambient=ambient,
            instrument=Instrument([self.events.append]),
        )

    async def _look(self) -> str | None:
        self.looks.append(anyio.current_time())
        return self.obstacle

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def running(
    registry: Scripted, chance: float | None = None, *, obstacle: str | None = None
) -> AsyncGenerator[Bench]:
    bench = Bench(registry, chance)
    bench.obstacle = obstacle
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: bench.loop.run(task_status=task_status))
        yield bench
        tasks.cancel_scope.cancel()


async def test_registers_then_beats_as_it_is_told() -> None:
    async with running(Scripted(), chance=0.5) as bench:
        await anyio.sleep(61)
    assert bench.registry.times("register") == [0.0]
    assert bench.registry.times("beat") == pytest.approx([12, 24, 36, 48, 60])
    assert bench.registry.beats[0].record_hash == Registration(body={"id": 14}).record_hash
    assert bench.of(RegistrationAccepted) == [RegistrationAccepted(beat_every_seconds=12.0, lease_ttl_seconds=36.0)]
    assert (len(bench.accepted), len(bench.answered)) == (1, 5)


async def test_an_obstacle_is_said_once_and_looked_at_again() -> None:
    registry = Scripted()
    async with running(registry, obstacle="no port") as bench:
        await anyio.sleep(30)
        assert registry.calls == []
        assert [event.error for event in bench.of(RegistrationFailed)] == ["no port"]
        assert bench.looks[1] <= 0.1
        assert bench.looks[-1] - bench.looks[-2] == pytest.approx(1.0)
        bench.obstacle = None
        bench.loop.changed()
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.001)
        assert len(registry.times("register")) == 1


async def test_one_quick_retry_inside_a_beat() -> None:
    registry = Scripted()
    registry.on_beat = [ConnectionLost("reset", peer="the Registry"), BeatAnswer()]
    async with running(registry, chance=0.5) as bench:
        await anyio.sleep(30)
    assert registry.times("beat") == pytest.approx([12, 16, 28])
    assert bench.loop.presence == "registered"
    assert len(bench.of(BeatFailed)) == 1


async def test_lost_beats_never_stop_the_loop() -> None:
    registry = Scripted()
    registry.on_beat = [DOWN]
    async with running(registry) as bench:
        await anyio.sleep(3600)
        assert bench.loop.presence == "lost"
        pauses = [b - a for a, b in zip(registry.times("beat")[8:], registry.times("beat")[9:], strict=False)]
        assert max(pauses) <= 30.5
        registry.on_beat = [BeatAnswer()]
        await anyio.sleep(31)
        assert [(e.before, e.after) for e in bench.of(PresenceChanged)] == [
            ("unregistered", "registered"),
            ("registered", "lost"),
            ("lost", "registered"),
        ]
    assert registry.times("register") == [0.0]


async def test_lost_means_that_the_lease_is_over() -> None:
    registry = Scripted()
    registry.on_beat = [BeatAnswer(), DOWN]
    async with running(registry, chance=0.5) as bench:
        await anyio.sleep(12 + 35.9)
        standing = [str(bench.loop.presence)]
        await anyio.sleep(0.2)
        assert [*standing, bench.loop.presence] == ["registered", "lost"]


async def test_pauses_grow_and_vary() -> None:
    registry = Scripted()
    registry.on_register = [DOWN]
    async with running(registry) as bench:
        await anyio.sleep(600)
    pauses = [event.retry_in_seconds for event in bench.of(RegistrationFailed)]
    assert all(pause <= min(30.0, 2.0**number) for number, pause in enumerate(pauses))
    assert sum(pauses[-5:]) > 5 * 28
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(status: int) -> None:
    registry = Scripted()
    busy = PeerError("busy", peer="the Registry", status=status, code="RATE_LIMITED", retry_after_seconds=17.0)
    registry.on_register = [busy, Registered(beat_every_seconds=12.0)]
    registry.on_beat = [busy, BeatAnswer()]
    async with running(registry, chance=0.5):
        await anyio.sleep(100)
    assert registry.times("register")[1] >= 17.0
    first, second, *_ = registry.times("beat")
    assert second - first >= 17.0


async def test_a_retry_after_of_an_hour_is_not() -> None:
    registry = Scripted()
    registry.on_register = [PeerError("x", peer="r", status=503, code="NOT_READY", retry_after_seconds=3600.0)]
    async with running(registry):
        await anyio.sleep(200)
    assert len(registry.times("register")) >= 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_said_and_tried_again_slowly(status: int) -> None:
    registry = Scripted()
    registry.on_register = [RegistryRefused("check droplet.secret", status=status)]
    async with running(registry) as bench:
        await anyio.sleep(600)
    assert {event.error for event in bench.of(RegistrationFailed)} == {"check droplet.secret"}
    assert 20 <= len(registry.times("register")) <= 28


async def test_unknown_waits_a_part_of_the_spread_and_registers() -> None:
    registry = Scripted()
    registry.on_beat = [UnknownInstance("unknown", spread_seconds=20.0), BeatAnswer()]
    async with running(registry, chance=0.25) as bench:
        await anyio.sleep(60)
    beat, again = registry.times("beat")[0], registry.times("register")[1]
    assert again - beat == pytest.approx(5.0)
    assert [e.after for e in bench.of(PresenceChanged)] == ["registered", "lost", "registered"]


async def test_unknown_in_calm_times_registers_at_once() -> None:
    registry = Scripted()
    registry.on_beat = [UnknownInstance("unknown"), BeatAnswer()]
    async with running(registry):
        await anyio.sleep(60)
    assert registry.times("register")[1] == pytest.approx(registry.times("beat")[0])


async def test_a_registry_that_was_away_and_forgot_is_not_stormed() -> None:
    registry = Scripted()
    registry.on_beat = [DOWN, UnknownInstance("unknown"), BeatAnswer()]
    async with running(registry, chance=0.5):
        await anyio.sleep(60)
    assert registry.times("register")[1] - registry.times("beat")[1] == pytest.approx(10.0)


async def test_retired_registers_only_when_our_address_is_ours() -> None:
    registry = Scripted()
    registry.on_beat = [InstanceRetired("newer"), BeatAnswer()]
    async with running(registry, chance=0.5) as bench:
        await anyio.sleep(5)
        bench.obstacle = "answered by instance b, not by us"
        await anyio.sleep(120)
        assert len(registry.times("register")) == 1
        assert bench.loop.presence == "lost"
        assert bench.looks[-1] - bench.looks[-2] == pytest.approx(5.0)
        bench.obstacle = None
        await anyio.sleep(5)
        assert len(registry.times("register")) == 2


async def test_send_record_sends_it_at_once_and_its_failure_costs_no_beat() -> None:
    registry = Scripted()
    registry.on_register.append(RegistryRefused("no such capability", status=400))
    registry.on_beat = [BeatAnswer(send_record=True), BeatAnswer()]
    async with running(registry, chance=0.5) as bench:
        await anyio.sleep(300)
    assert registry.times("register") == pytest.approx([0, 12])
    assert len(registry.times("beat")) >= 20
    assert bench.loop.presence == "registered"


async def test_a_change_goes_out_at_once_but_not_into_an_outage() -> None:
    registry = Scripted()
    async with running(registry, chance=0.5) as bench:
        await anyio.sleep(5)
        bench.phase = "degraded"
        bench.loop.changed()
        await anyio.sleep(0.1)
        assert [(beat.phase, at) for beat, at in zip(registry.beats, registry.times("beat"), strict=True)] == [
            ("degraded", 5.0)
        ]
        registry.on_beat = [DOWN]
        await anyio.sleep(60)
        before = len(registry.beats)
        bench.loop.changed()
        await anyio.sleep(0.1)
        assert len(registry.beats) == before


async def test_a_change_during_a_call_goes_out_after_it() -> None:
    registry = Scripted()
    registry.seconds = 2.0
    async with running(registry) as bench:
        await anyio.sleep(1)
        bench.phase = "stopping"
        bench.loop.changed()
        await anyio.sleep(2)
        assert [beat.phase for beat in registry.beats] == ["stopping"]
    assert registry.most_under_way == 1


async def test_leaving_waits_for_a_registration_under_way() -> None:
    registry = Scripted()
    registry.seconds = 1.0
    async with running(registry) as bench:
        await anyio.sleep(0.5)
        await bench.loop.leave()
        await anyio.sleep(100)
    assert registry.calls == [("register", 0.0), ("leave", 1.0)]
    assert bench.loop.presence == "unregistered"


@pytest.mark.parametrize("hangs", [False, True])
async def test_leaving_a_registry_that_is_down_does_not_hang(*, hangs: bool) -> None:
    registry = Scripted()
    async with running(registry) as bench:
        await anyio.sleep(5)
        registry.on_leave = [DOWN]
        registry.seconds = 1000.0 if hangs else 0.0
        began = anyio.current_time()
        await bench.loop.leave()
        assert anyio.current_time() - began <= LEAVE_SECONDS
        (said,) = bench.of(DeregistrationFailed)
        assert ("no answer" if hangs else "refused") in said.error


async def test_leaving_where_nobody_can_know_us_asks_nobody() -> None:
    registry = Scripted()
    async with running(registry, obstacle="no port") as bench:
        await anyio.sleep(5)
        await bench.loop.leave()
        await anyio.sleep(100)
    assert registry.calls == []


async def test_a_registry_that_hangs_is_given_up_and_asked_again() -> None:
    registry = Scripted()
    registry.seconds = 1000.0
    async with running(registry) as bench:
        await anyio.sleep(100)
    assert len(registry.times("register")) >= 3
    assert {event.error for event in bench.of(RegistrationFailed)} == {"no answer in time"}
    assert registry.most_under_way == 1


@pytest.mark.parametrize("lie", [0.0001, 0.01])
async def test_a_registry_cannot_make_us_hammer_it(lie: float) -> None:
    registry = Scripted()
    registry.on_register = [Registered(beat_every_seconds=lie, lease_ttl_seconds=lie)]
    async with running(registry):
        await anyio.sleep(10)
    assert len(registry.beats) <= 25
