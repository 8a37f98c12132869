"""Reports to the Orchestrator and notices of unreachable peers: when they go, and when they do not. Virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc._ids import seeded
from udc.clients.orchestrator import orchestrator_at
from udc.errors import PeerUnreachable, TokenError
from udc.instrument import Event, Instrument, ReportFailed
from udc.messages import Peer
from udc.services import unreachable
from udc.services.state_reports import StateReports
from udc.services.unreachable import UnreachableNotices

pytestmark = virtual_time

PEER = orchestrator_at("https://orchestrator.test", 10)


class Fixture:
    def __init__(self, *, interval: float = 60.0) -> None:
        self.peer: Peer | None = PEER
        self.error: Exception | None = None
        self.hangs = False
        self.tries: list[float] = []
        self.events: list[Event] = []
        self.service = StateReports(
            find=lambda: self.peer,
            send=self.send,
            report=lambda: "the report",  # type: ignore[arg-type, return-value]  # it is only handed on
            interval_seconds=interval,
            ambient=seeded(3, lambda: 0.0),
            instrument=Instrument([self.events.append]),
        )

    async def send(self, peer: Peer, report: Any) -> None:
        assert (peer, report) == (PEER, "the report")
        self.tries.append(anyio.current_time())
        if self.hangs:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.tries, self.tries[1:], strict=False)]


@asynccontextmanager
async def running(service: Any) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: service.run(task_status=task_status))
        yield
        tasks.cancel_scope.cancel()


async def test_the_first_comes_soon_the_others_at_the_interval_with_jitter() -> None:
    fixture = Fixture()
    began = anyio.current_time()
    async with running(fixture.service):
        await anyio.sleep(3600)
    assert fixture.tries[0] - began <= 5
    assert all(54 <= pause <= 66 for pause in fixture.pauses)
    assert len(set(fixture.pauses)) > 10


@pytest.mark.parametrize("error", [PeerUnreachable("x", peer=10), TokenError("none")])
async def test_failures_wait_longer_and_longer_but_never_longer_than_the_interval(error: Exception) -> None:
    fixture = Fixture()
    fixture.error = error
    async with running(fixture.service):
        await anyio.sleep(1000)
        assert fixture.pauses[0] < 6
        assert all(pause <= 60 for pause in fixture.pauses)
        assert fixture.pauses[-1] > 25
        told = [event for event in fixture.events if isinstance(event, ReportFailed)]
        assert (len(told), told[0].error) == (len(fixture.tries), str(error))
        fixture.error = None
        await anyio.sleep(200)
        assert 54 <= fixture.pauses[-1] <= 66


async def test_one_that_hangs_is_given_up() -> None:
    fixture = Fixture()
    fixture.hangs = True
    async with running(fixture.service):
        await anyio.sleep(60)
    failed = [event.error for event in fixture.events if isinstance(event, ReportFailed)]
    assert failed[0] == "the Orchestrator did not answer within 10 s"


async def test_without_an_orchestrator_it_is_quiet_and_looks_again_soon() -> None:
    fixture = Fixture()
    fixture.peer = None
    async with running(fixture.service):
        await anyio.sleep(600)
        assert (fixture.tries, fixture.events) == ([], [])
        fixture.peer = PEER
        await anyio.sleep(6)
        assert len(fixture.tries) == 1


class Notices:
    def __init__(self, send: Callable[[Any], Awaitable[object]] | None = None) -> None:
        self.told: list[Any] = []
        self.service = UnreachableNotices(send=send or self.send, never=frozenset({1, 10, 14}))

    async def send(self, target: Any) -> None:
        self.told.append(target)
        await anyio.sleep(1)
        if target == 20:
            raise PeerUnreachable("x", peer=10)


async def test_a_notice_per_peer_and_minute() -> None:
    notices = Notices()
    async with running(notices.service):
        for _ in range(3):
            for target in (15, 16, 20, 1, 10, 14, None):
                notices.service.note(target)
            await anyio.sleep(10)
        assert notices.told == [15, 16, 20]
        await anyio.sleep(31)
        notices.service.note(15)
        await anyio.sleep(1)
        assert notices.told == [15, 16, 20, 15]


async def test_one_that_hangs_delays_the_others_only_so_long() -> None:
    told: list[Any] = []

    async def send(target: Any) -> None:
        if target == 15:
            await anyio.sleep_forever()
        told.append(target)

    notices = Notices(send)
    async with running(notices.service):
        notices.service.note(15)
        notices.service.note(16)
        await anyio.sleep(5.1)
    assert told == [16]


async def test_of_very_many_some_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreachable, "_REMEMBERED", 3)
    notices = Notices()
    async with running(notices.service):
        for target in range(100, 110):
            notices.service.note(target)
        await anyio.sleep(59)
        notices.service.note(200)
        await anyio.sleep(2)
        notices.service.note(201)
        await anyio.sleep(2)
    assert notices.told == [100, 101, 102, 201]
