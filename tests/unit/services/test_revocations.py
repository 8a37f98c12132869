"""What reads the list of revoked tokens, against a Registry that answers as it is told. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc._ids import seeded
from udc.clients._base import RevocationList, Revoked
from udc.errors import PeerUnreachable
from udc.identity.revocations import Revocations
from udc.instrument import Event, Instrument, RevocationsFailed, RevocationsFetched
from udc.services.revocations import FIRST_SECONDS, POLL_SECONDS, RevocationWatch

pytestmark = virtual_time

DOWN = PeerUnreachable("refused", peer="the Registry")
EMPTY = RevocationList(revision="0", revoked=())
ONE = RevocationList(revision="1", revoked=(Revoked(token_id="t-1"),))
TWO = RevocationList(revision="2", revoked=(Revoked(token_id="t-1"), Revoked(droplet_id=14, before=5.0)))


class Bench:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[float] = []
        self.under_way = self.most_under_way = 0
        self.seconds = 0.0
        self.events: list[Event] = []
        self.revocations = Revocations(wall=anyio.current_time)
        self.watch = RevocationWatch(
            self._fetch,
            self.revocations,
            ambient=seeded(4, lambda: 0.0),
            instrument=Instrument([self.events.append]),
        )

    async def _fetch(self) -> RevocationList | None:
        self.calls.append(anyio.current_time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # Any: what the test wrote down

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def running(*answers: Any) -> AsyncGenerator[Bench]:
    bench = Bench(*answers)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: bench.watch.run(task_status=task_status))
        yield bench
        tasks.cancel_scope.cancel()


async def test_the_first_registration_has_the_list_read() -> None:
    async with running(ONE) as bench:
        bench.watch.registered("1")
        await anyio.sleep(0.01)
        assert bench.calls == [0.0]
        assert bench.of(RevocationsFetched) == [RevocationsFetched(revision="1", entries=1)]


async def test_without_a_registration_it_is_read_soon_after_the_start_and_every_minute() -> None:
    async with running(EMPTY) as bench:
        await anyio.sleep(FIRST_SECONDS + 2 * POLL_SECONDS + 1)
        assert bench.calls == [FIRST_SECONDS, FIRST_SECONDS + POLL_SECONDS, FIRST_SECONDS + 2 * POLL_SECONDS]


async def test_each_new_revision_is_read_once() -> None:
    async with running(EMPTY, ONE, TWO) as bench:
        bench.watch.registered("0")
        for moment in range(300):
            await anyio.sleep(1)
            bench.watch.told("0" if moment < 100 else "1" if moment < 200 else "2")
        assert bench.calls == [0.0, 101.0, 201.0]
        assert len(bench.revocations) == 2


async def test_a_list_that_is_newer_than_the_word_is_not_read_twice() -> None:
    async with running(TWO) as bench:
        bench.watch.registered("1")
        await anyio.sleep(3)
        bench.watch.told("2")
        await anyio.sleep(3)
        assert bench.calls == [0.0]


async def test_words_during_a_fetch_lead_to_one_more() -> None:
    async with running(ONE, TWO) as bench:
        bench.seconds = 2.0
        bench.watch.registered("1")
        await anyio.sleep(1)
        for _ in range(5):
            bench.watch.told("2")
        await anyio.sleep(10)
        assert bench.calls == [0.0, 2.0]
        assert bench.most_under_way == 1


async def test_a_failure_is_tried_again_with_growing_pauses_and_takes_nothing_off_the_list() -> None:
    async with running(ONE, DOWN) as bench:
        bench.watch.registered("1")
        await anyio.sleep(1)
        bench.watch.told("2")
        for _ in range(120):
            await anyio.sleep(1)
            bench.watch.told("2")
        pauses = [event.retry_in_seconds for event in bench.of(RevocationsFailed)]
        assert 0.25 <= pauses[0] <= 0.5
        assert all(pause <= 30 for pause in pauses)
        assert 6 <= len(pauses) <= 14, "beats must not hurry the attempts"
        assert bench.revocations.active

        bench.answers[:] = [TWO]
        await anyio.sleep(31)
        assert len(bench.revocations) == 2


async def test_a_registry_that_hangs_is_given_up_and_asked_again() -> None:
    async with running(ONE) as bench:
        bench.seconds = 3600.0
        bench.watch.registered("1")
        await anyio.sleep(5.1)
        assert bench.of(RevocationsFailed)[0].error == "no answer in time"
        bench.seconds = 0.0
        await anyio.sleep(1)
        assert bench.of(RevocationsFetched)


async def test_a_registry_without_such_a_list_is_no_trouble() -> None:
    async with running(None) as bench:
        bench.watch.registered(None)
        await anyio.sleep(POLL_SECONDS)
        assert not bench.events
        bench.watch.told("1")  # it learned it: now its absence is a failure
        await anyio.sleep(0.1)
        assert "names revision 1" in bench.of(RevocationsFailed)[0].error


async def test_a_registry_that_lost_its_data_makes_nothing_good_again() -> None:
    async with running(TWO, EMPTY) as bench:
        bench.watch.registered("2")
        await anyio.sleep(1)
        bench.watch.registered("0")
        await anyio.sleep(1)
        assert len(bench.calls) == 2
        assert len(bench.revocations) == 2


async def test_the_same_revision_of_another_life_is_read() -> None:
    async with running(ONE) as bench:
        for _ in range(2):
            bench.watch.registered("1")
            await anyio.sleep(1)
        assert len(bench.calls) == 2


@pytest.mark.parametrize("unread", [1, 3])
async def test_what_cannot_be_understood_is_told(unread: int) -> None:
    async with running(RevocationList(revision="1", revoked=(Revoked(token_id="t-1"),), unread=unread)) as bench:
        bench.watch.registered("1")
        await anyio.sleep(1)
        assert bench.revocations.active
        assert str(unread) in bench.of(RevocationsFailed)[0].error
