"""Following the Registry: watch and list, away and back, warming up, empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import Finder, Registry, record
from udc.clients._base import Changes
from udc.discovery._follower import _grew
from udc.errors import RegistryRefused, UnknownPeer
from udc.instrument import DiscoveryFresh, DiscoveryStale, ListDoubted, PeersChanged

pytestmark = virtual_time


@asynccontextmanager
async def following(registry: Registry) -> AsyncIterator[Finder]:
    finder = Finder(registry)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: finder.discovery.run(task_status=task_status))
        await anyio.sleep(0.01)
        yield finder
        tasks.cancel_scope.cancel()


def known(finder: Finder) -> set[object]:
    return set(finder.discovery.droplets())


async def test_a_watch_tells_of_changes_at_once() -> None:
    registry = Registry(record(14), watch=True)
    async with following(registry) as finder:
        assert known(finder) == {14}
        registry.put(record(15))
        registry.remove(14)
        await anyio.sleep(0.2)
        assert known(finder) == {15}
        assert registry.lists == 1
        registry.put(record(15, endpoint="http://moved"))
        await anyio.sleep(0.2)
        assert await finder.found(15) == ["http://moved"]
    assert [(e.added, e.changed, e.removed, e.known) for e in finder.of(PeersChanged)] == [
        ((14,), (), (), 1),
        ((15,), (), (14,), 1),
        ((), (15,), (), 1),
    ]


async def test_a_quiet_watch_asks_once_a_minute() -> None:
    registry = Registry(record(14), watch=True)
    async with following(registry):
        await anyio.sleep(550)
    assert registry.lists == 1
    assert 9 <= len(registry.watches) <= 11
    assert {wait for _, wait in registry.watches} == {55}


async def test_a_server_that_does_not_wait_is_not_asked_in_a_loop() -> None:
    class Hasty(Registry):
        async def changes(self, since: str, *, wait_seconds: float) -> object:  # type: ignore[override]
            return await super().changes(since, wait_seconds=0)

    registry = Hasty(record(14), watch=True)
    async with following(registry):
        await anyio.sleep(60)
    assert len(registry.watches) <= 61


async def test_without_a_watch_the_list_is_read_every_half_minute() -> None:
    registry = Registry(record(14))
    async with following(registry) as finder:
        registry.records = [record(15)]
        await anyio.sleep(34)
        assert known(finder) == {15}
        await anyio.sleep(300)
    assert 10 <= registry.lists <= 14
    assert registry.watches == []


async def test_a_style_that_says_a_revision_but_has_no_watch() -> None:
    class Listed(Registry):
        async def changes(self, since: str, *, wait_seconds: float) -> None:
            await super().changes(since, wait_seconds=wait_seconds)

    registry = Listed(record(14), watch=True)
    async with following(registry) as finder:
        await anyio.sleep(100)
        registry.records = [record(15)]
        await anyio.sleep(40)
        assert known(finder) == {15}
    assert len(registry.watches) == 1
    assert registry.lists <= 7


@pytest.mark.parametrize("watch", [True, False])
async def test_while_it_is_away_what_was_known_counts(watch: bool) -> None:
    registry = Registry(record(14), watch=watch)
    async with following(registry) as finder:
        registry.down = True
        registry.news.set()
        await anyio.sleep(29 * 60)
        assert await finder.found(14) == ["http://d14"]
        (stale,) = finder.of(DiscoveryStale)
        assert (stale.error, stale.known) == ("the Registry is not reachable", 1)
        asked = registry.lists + len(registry.watches)
        assert 58 < asked < 400
        registry.down = False
        registry.records.append(record(15))
        registry.number += 1
        registry.epoch = "e2"
        await anyio.sleep(60)
        assert known(finder) == {14, 15}
        (fresh,) = finder.of(DiscoveryFresh)
        assert 27 * 60 < fresh.stale_seconds < 30 * 60


@pytest.mark.parametrize("watch", [True, False])
async def test_after_an_outage_nobody_is_removed_before_all_can_be_back(watch: bool) -> None:
    """A Registry that could not be reached, but lived, has given up everybody who could not reach it."""
    registry = Registry(record(14), record(15), record(16), watch=watch)
    async with following(registry) as finder:
        registry.down = True
        registry.news.set()
        await anyio.sleep(40)
        registry.remove(14)
        registry.remove(15)
        registry.down = False
        await anyio.sleep(35)
        assert known(finder) == {14, 15, 16}
        registry.put(record(14))
        await anyio.sleep(100)
        assert known(finder) == {14, 16}
        registry.remove(14)
        await anyio.sleep(1 if watch else 40)
        assert known(finder) == {16}


async def test_a_registry_that_never_answers_is_given_up_and_asked_again() -> None:
    registry = Registry(record(14), watch=True)
    registry.deaf = True
    async with following(registry) as finder:
        await anyio.sleep(12)
        assert finder.of(DiscoveryStale)[0].error == "TimeoutError"
        registry.deaf = False
        await anyio.sleep(40)
        assert known(finder) == {14}


async def test_a_refusal_is_trouble_too() -> None:
    class Refusing(Registry):
        async def _answer(self) -> None:
            raise RegistryRefused("wrong secret: set droplet.secret", status=401)

    async with following(Refusing()) as finder:
        assert finder.of(DiscoveryStale)[0].error == "wrong secret: set droplet.secret"
        with pytest.raises(UnknownPeer, match="the Registry cannot be asked: wrong secret"):
            await finder.found("billing")


async def test_a_warming_registry_removes_nobody_and_is_listed_again_when_it_is_warm() -> None:
    registry = Registry(record(14), record(15), watch=True)
    async with following(registry) as finder:
        registry.warming, registry.epoch, registry.records = True, "e2", [record(16)]
        await anyio.sleep(70)
        assert known(finder) == {14, 15, 16}
        registry.put(record(14))
        registry.remove(16)
        await anyio.sleep(1)
        assert known(finder) == {14, 15, 16}
        assert finder.discovery._state()[1] is None, "a file of this must not be taken for complete"
        registry.warming = False
        registry.put(record(17))
        await anyio.sleep(1)
        assert known(finder) == {14, 17}
        assert registry.lists == 2
        assert finder.discovery._state()[1] == registry.revision


async def test_a_warming_list_removes_nobody() -> None:
    registry = Registry(record(14))
    async with following(registry) as finder:
        registry.warming, registry.records = True, []
        await anyio.sleep(100)
        assert known(finder) == {14}
        assert finder.of(ListDoubted) == []
        registry.warming, registry.records = False, [record(15)]
        await anyio.sleep(40)
        assert known(finder) == {15}


async def test_an_empty_list_without_a_reason_is_not_believed() -> None:
    registry = Registry(record(14))
    async with following(registry) as finder:
        registry.records = []
        await anyio.sleep(600)
        assert known(finder) == {14}
        assert finder.of(ListDoubted)[0].known == 1
    assert registry.lists < 150


async def test_an_empty_snapshot_is_believed_at_a_later_revision() -> None:
    registry = Registry(record(14), watch=True)
    async with following(registry) as finder:
        registry.epoch, registry.records = "e2", []
        await anyio.sleep(80)
        assert known(finder) == {14}
        assert len(registry.watches) < 25, "a doubted answer is no reason to ask in a loop"
        registry.number += 1
        await anyio.sleep(10)
        assert known(finder) == set()


async def test_an_empty_snapshot_of_yet_another_epoch_is_doubted_anew() -> None:
    registry = Registry(record(14), watch=True)
    async with following(registry) as finder:
        registry.epoch, registry.records = "e2", []
        await anyio.sleep(60)
        registry.epoch, registry.number = "e3", 9
        await anyio.sleep(60)
        assert known(finder) == {14}


async def test_removals_one_by_one_are_explained() -> None:
    registry = Registry(record(14), record(15), watch=True)
    async with following(registry) as finder:
        registry.remove(14)
        registry.remove(15)
        await anyio.sleep(1)
        assert known(finder) == set()
        assert finder.of(ListDoubted) == []


class Late(Registry):
    """Its first long poll is answered as things stood then, but arrives when the gate opens."""

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        answer = await super().changes(since, wait_seconds=wait_seconds)
        gate, self.gate = (self.gate, None) if wait_seconds else (None, self.gate)
        if gate is not None:
            await gate.wait()
        return answer


async def test_an_older_answer_does_not_undo_a_newer_one() -> None:
    registry = Late(record(14), watch=True)
    async with following(registry) as finder:
        await anyio.sleep(0.1)  # until the long poll waits
        registry.gate = gate = anyio.Event()
        registry.put(record(14, endpoint="http://old"))
        await anyio.sleep(0.01)
        registry.put(record(14, endpoint="http://new"))
        follower = finder.discovery._follower
        assert follower is not None
        await follower.refresh()
        gate.set()
        await anyio.sleep(0.01)
        assert await finder.found(14) == ["http://new"]
        await anyio.sleep(1)
        assert follower.revision == registry.revision


async def test_many_records_do_not_hold_the_event_loop() -> None:
    registry = Registry(*[record(number) for number in range(1, 2001)], watch=True)
    finder = Finder(registry)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        assert len(await finder.found(77)) == 1
        tasks.cancel_scope.cancel()
    assert turns > 10
    assert len(known(finder)) == 2000


@pytest.mark.parametrize(
    ("before", "after", "later"),
    [("e.1", "e.2", True), ("e.9", "e.10", True), ("e.2", "e.2", False), ("e.2", "f.3", False), ("x", "y", False)],
)
async def test_a_later_revision(before: str, after: str, later: bool) -> None:
    assert _grew(before, after) is later


async def test_whether_what_is_known_is_current() -> None:
    """Neither what was on the disk, nor what a Registry says that warms up, nor the list of one that is away."""
    registry = Registry(record(14), watch=True)
    finder = Finder(registry)
    finder.discovery._index.put([record(13)])
    assert not finder.discovery.current
    assert not Finder().discovery.current
    registry.warming = True
    async with following(registry) as finder:
        assert not finder.discovery.current
        registry.warming = False
        registry.put(record(15))
        await anyio.sleep(120)
        assert finder.discovery.current
        registry.down = True
        registry.put(record(16))
        await anyio.sleep(60)
        assert not finder.discovery.current
        registry.down = False
        await anyio.sleep(45)
        assert not finder.discovery.current
        await anyio.sleep(120)
        assert finder.discovery.current


async def test_what_the_registry_tells_of_everybody() -> None:
    registry = Registry(record(14, capabilities=["resize"]), record(15), watch=True)
    async with following(registry) as finder:
        assert [each.key for each in finder.discovery.known()] == [14, 15]
        assert [each.key for each in finder.discovery.known(capability="resize")] == [14]
        assert list(finder.discovery.known(capability="nobody's")) == []
        found = finder.discovery.find(14)
        assert found is not None
        assert [each.state for each in found.instances] == ["ready"]
        assert finder.discovery.find(16) is None
