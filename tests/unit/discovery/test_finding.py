"""From a target to instances: who wins, in which order, and when the Registry is asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import AMBIENT, Finder, Registry, record
from udc.discovery._choice import by_lot
from udc.errors import UnknownPeer
from udc.instrument import DiscoveryStale
from udc.messages import Peer

pytestmark = virtual_time

CONFIGURED = Peer(id=14, name="billing", endpoint="http://configured")


@pytest.mark.parametrize("target", [14, "14", "droplet-14", "billing", "Billing", "BILLING"])
async def test_ids_and_names_in_any_spelling(target: int | str) -> None:
    assert await Finder(Registry(record(14, "Billing"))).found(target) == ["http://d14"]


async def test_our_own_kind_is_known_by_its_mark() -> None:
    finder = Finder(Registry(record(14), record(15, metadata={})))
    ours, foreign = await finder.discovery.resolve(14), await finder.discovery.resolve(15)
    assert (ours.ours, foreign.ours, ours.name) == (True, False, "droplet14")


async def test_a_capability_is_a_target_and_a_name_wins_over_it() -> None:
    registry = Registry(record(14, "a", capabilities=["resize", "b"]), record(15, "b", capabilities=["resize"]))
    finder = Finder(registry)
    assert sorted(await finder.found("resize")) == ["http://d14", "http://d15"]
    assert await finder.found("b") == ["http://d15"]
    assert await finder.found("B") == ["http://d15"]


async def test_the_configuration_wins_over_the_registry() -> None:
    registry = Registry(record(14, "Invoices", capabilities=["bill"]), record(15, "billing"))
    finder = Finder(registry, CONFIGURED)
    assert await finder.found(15) == ["http://d15"]
    for target in (14, "billing", "bill"):
        assert await finder.found(target) == ["http://configured"], target


async def test_the_registry_completes_a_configured_peer_at_the_same_address() -> None:
    same = Peer(id=14, name="billing", endpoint="http://d14", wants_signature=True)
    finder = Finder(Registry(record(14, capabilities=["bill"]), record(15)), same, orchestrator=CONFIGURED)
    await finder.found(15)
    peer = await finder.discovery.resolve(14)
    assert (peer.ours, peer.capabilities, peer.wants_signature, peer.name) == (True, ("bill",), True, "billing")
    elsewhere = Finder(Registry(record(14), record(15)), CONFIGURED)
    await elsewhere.found(15)
    assert not (await elsewhere.discovery.resolve(14)).ours


async def test_a_name_of_several_is_refused() -> None:
    finder = Finder(Registry(record(14, "twin"), record(15, "twin")))
    with pytest.raises(UnknownPeer, match=r"2 peers are called 'twin' \(ids 14, 15\): use the id"):
        await finder.found("twin")


NOBODY: dict[str, Any] = {"anonymous": True, "metadata": {}}
"""What the Registry tells of one that joined without a credential."""


@pytest.mark.parametrize("name", ["Orders", "orders", "ORDERS"])
@pytest.mark.parametrize(
    "claims",
    [
        {"id": 99, "name": "Orders"},
        {"id": 99, "name": "orders"},
        {"id": "orders", "droplet_id": "orders", "name": "x"},
        {"id": "Orders", "droplet_id": "Orders", "name": "Orders"},
    ],
)
async def test_who_joined_without_a_credential_takes_nobodys_calls_by_its_name(
    name: str, claims: dict[str, Any]
) -> None:
    registry = Registry({**record(99, **NOBODY), **claims}, record(14, "Orders"))
    assert await Finder(registry).found(name) == ["http://d14"]


@pytest.mark.parametrize("claims", [{"name": "x", "capabilities": ["resize"]}, {"name": "resize"}])
async def test_nor_by_what_it_says_that_it_can_do(claims: dict[str, Any]) -> None:
    finder = Finder(Registry({**record(99), **NOBODY, **claims}, record(14, capabilities=["resize"])))
    assert {place for _ in range(20) for place in await finder.found("resize")} == {"http://d14"}


async def test_who_joined_without_a_credential_is_found_where_nobody_else_is() -> None:
    finder = Finder(Registry({**record(99, "Orders", capabilities=["order"]), **NOBODY}))
    for target in (99, "Orders", "orders", "order"):
        assert await finder.found(target) == ["http://d99"], target


async def test_a_credential_that_comes_later_counts() -> None:
    registry = Registry({**record(99, "Orders"), **NOBODY}, record(14, "Orders"))
    finder = Finder(registry)
    assert await finder.found("Orders") == ["http://d14"]
    registry.records = [record(99, "Orders"), {**record(14, "Orders"), **NOBODY}]
    await finder.discovery.refresh()
    assert await finder.found("Orders") == ["http://d99"]


async def test_of_several_of_one_name_our_own_kind_is_meant() -> None:
    finder = Finder(Registry(record(14, "twin"), record(15, "twin", metadata={})))
    assert await finder.found("twin") == ["http://d14"]
    strangers = Finder(Registry(record(14, "twin", metadata={}), record(15, "twin", metadata={})))
    with pytest.raises(UnknownPeer, match=r"ids 14, 15"):
        await strangers.found("twin")


@pytest.mark.parametrize("name", ["Orders", "orders"])
async def test_nobody_takes_anothers_name_for_its_id(name: str) -> None:
    finder = Finder(Registry(record(14, "Orders"), {**record(15, "x"), "id": name, "droplet_id": name}))
    with pytest.raises(UnknownPeer, match="2 peers are called"):
        await finder.found(name)
    assert await finder.found(14) == ["http://d14"]


async def test_nobody_is_called_as_the_id_of_another() -> None:
    finder = Finder(Registry(record(15, "14", capabilities=["16"])), Peer(id=17, name="18", endpoint="http://d17"))
    for target in (14, "14", "droplet-14", 16, 18):
        with pytest.raises(UnknownPeer):
            await finder.found(target)


@pytest.mark.parametrize("target", ["http://evil", "a/b"])
async def test_an_address_is_no_target(target: str) -> None:
    finder = Finder(Registry(record(14)))
    with pytest.raises(UnknownPeer, match="is an address"):
        await finder.found(target)
    assert finder.registry.lists == 0


async def test_without_a_registry_the_configuration_is_all_there_is() -> None:
    finder = Finder(None, CONFIGURED)
    assert await finder.found("billing") == ["http://configured"]
    with pytest.raises(UnknownPeer, match="no peer is called 'biling'; did you mean 'billing'"):
        await finder.found("biling")
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: finder.discovery.run(task_status=task_status))
    assert finder.discovery.droplets() == (14,)
    assert finder.discovery.droplets(capability="bill") == ()


async def test_an_unknown_target_says_who_there_is() -> None:
    finder = Finder(Registry(*[record(number) for number in range(10, 30)]))
    with pytest.raises(
        UnknownPeer, match=r"no peer is called 'dropet12'; did you mean 'droplet\d+'\? known: .*10 more"
    ):
        await finder.found("dropet12")


# --- when the Registry is asked


async def test_many_who_miss_ask_once() -> None:
    registry = Registry(record(14))
    registry.gate = anyio.Event()
    finder = Finder(registry)
    found: list[list[str]] = []

    async def look() -> None:
        found.append(await finder.found(14))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        registry.gate.set()
    assert found == [["http://d14"]] * 50
    assert registry.lists == 1


async def test_one_who_comes_while_an_older_answer_is_under_way_asks_again() -> None:
    """It registered after the list was read, and before it arrived: the caller must not be told that it is unknown."""
    registry = Registry(record(14))
    registry.gate = anyio.Event()
    finder = Finder(registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finder.found, 14)
        await anyio.wait_all_tasks_blocked()
        registry.records.append(record(15))
        tasks.start_soon(finder.found, 15)
        await anyio.wait_all_tasks_blocked()
        registry.gate.set()
    assert registry.lists == 2


async def test_one_who_is_cancelled_does_not_take_the_others_answer_along() -> None:
    registry = Registry(record(14))
    registry.gate = anyio.Event()
    finder = Finder(registry)
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await finder.found(14)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(finder.found, 14)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        registry.gate.set()
    assert registry.lists == 2


async def test_an_unknown_target_is_not_asked_for_at_every_call() -> None:
    registry = Registry(record(14))
    finder = Finder(registry)
    for _ in range(100):
        with pytest.raises(UnknownPeer):
            await finder.found("nobody")
        await anyio.sleep(0.1)
    assert 4 <= registry.lists <= 6
    registry.records.append(record(15, "nobody"))
    await anyio.sleep(2)
    assert await finder.found("nobody") == ["http://d15"]


async def test_strangers_without_number_take_no_room() -> None:
    finder = Finder(Registry(record(14)))
    for number in range(1500):
        with pytest.raises(UnknownPeer):
            await finder.found(f"nobody{number}")
    assert len(finder.discovery._asked) <= 1000


async def test_a_registry_that_hangs_costs_three_seconds_once() -> None:
    registry = Registry(record(14))
    registry.deaf = True
    finder = Finder(registry)
    began = anyio.current_time()
    for _ in range(10):
        with pytest.raises(UnknownPeer):
            await finder.found(14)
    assert anyio.current_time() - began == pytest.approx(3)


async def test_an_unknown_target_says_that_the_registry_is_away() -> None:
    registry = Registry(record(14))
    registry.down = True
    finder = Finder(registry)
    with pytest.raises(
        UnknownPeer, match="no peers are known; the Registry cannot be asked: the Registry is not reach"
    ):
        await finder.found(14)
    assert len(finder.of(DiscoveryStale)) == 1


async def test_what_is_known_costs_no_question() -> None:
    registry = Registry(record(14))
    finder = Finder(registry)
    await finder.found(14)
    registry.down = True
    for _ in range(10):
        assert await finder.found(14) == ["http://d14"]
    assert registry.lists == 1


# --- instances


async def test_ready_ones_first_then_suspects_and_the_others_only_when_there_are_none() -> None:
    rows = [
        record(14, instances=[("a", "suspect"), ("b", "ready"), ("c", "draining"), ("d", "starting"), ("e", "ready")]),
        record(15, instances=[("a", "draining"), ("b", "suspect")]),
        record(16, instances=[("a", "draining"), ("b", "starting")]),
    ]
    finder = Finder(Registry(*rows))
    found = await finder.found(14)
    assert sorted(found[:2]) == ["http://b", "http://e"]
    assert found[2:] == ["http://a"]
    assert await finder.found(15) == ["http://b"]
    assert await finder.found(16) == ["http://b", "http://a"]


async def test_equals_are_drawn_by_lot() -> None:
    finder = Finder(Registry(record(14, instances=[(name, "ready") for name in "abcd"])))
    first = Counter([(await finder.found(14))[0] for _ in range(1000)])
    assert len(first) == 4
    assert all(180 < count < 320 for count in first.values())


async def test_of_very_many_a_few_are_drawn_unless_none_of_them_is_ready() -> None:
    finder = Finder(Registry(*[record(number, capabilities=["draw"]) for number in range(1, 1001)]))
    drawn = [await finder.found("draw") for _ in range(100)]
    assert all(20 < len(found) <= 32 for found in drawn)
    assert len({found[0] for found in drawn}) > 80
    suspects = [record(n, capabilities=["draw"], instances=[(f"d{n}", "suspect")]) for n in range(1, 100)]
    finder = Finder(Registry(*suspects, record(100, capabilities=["draw"])))
    for _ in range(20):
        assert (await finder.found("draw"))[0] == "http://d100"


@pytest.mark.parametrize("target", [14, "D14", "draw"])
async def test_an_instance_is_found_in_every_state(target: int | str) -> None:
    """Though a ready one is there, which alone gets what is new."""
    row = record(
        14, name="D14", capabilities=["draw"], instances=[("a", "ready"), ("b", "draining"), ("c", "starting")]
    )
    finder = Finder(Registry(row))
    assert await finder.found(target) == ["http://a"]
    for name in "abc":
        found = await finder.discovery.instance(target, f"{name}-id")
        assert found is not None
        assert (found.endpoint, found.instance_id) == (f"http://{name}", f"{name}-id")
    assert await finder.discovery.instance(target, "d-id") is None
    with pytest.raises(UnknownPeer):
        await finder.discovery.instance(99, "a-id")


async def test_the_lot_loses_nobody() -> None:
    peers = [Peer(id=number, endpoint=f"http://{number}") for number in range(1, 40)]
    arrange = by_lot(AMBIENT.chance)
    assert set(arrange(list(peers))) == set(peers)
    assert list(arrange([])) == []
    assert list(arrange(peers[:1])) == peers[:1]


async def test_one_that_refused_comes_last_for_a_while() -> None:
    finder = Finder(Registry(record(14, instances=[("a", "ready"), ("b", "ready"), ("c", "suspect")])))
    peers = await finder.discovery.candidates(14)
    (refusing,) = [peer for peer in peers if peer.endpoint == "http://a"]
    finder.discovery.avoid(refusing)
    for _ in range(20):
        assert await finder.found(14) == ["http://b", "http://c", "http://a"]
    await anyio.sleep(5)
    assert {(await finder.found(14))[0] for _ in range(20)} == {"http://a", "http://b"}


async def test_one_that_was_started_anew_at_the_same_address_is_not_avoided() -> None:
    registry = Registry(record(14, instances=[("a", "ready"), ("b", "ready")]), watch=True)
    finder = Finder(registry)
    for peer in await finder.discovery.candidates(14):
        finder.discovery.avoid(peer)
    row = record(14, instances=[("a", "ready"), ("b", "ready")])
    row["instances"][0]["instance_id"] = "fresh"
    registry.put(row)
    await anyio.sleep(2)
    for _ in range(10):
        assert await finder.found(14) == ["http://a", "http://b"]


async def test_when_all_refuse_the_registry_is_asked_where_they_are_now() -> None:
    """After a stop calls must not go to the old address for as long as a list is old."""
    registry = Registry(record(14))
    finder = Finder(registry)
    (old,) = await finder.discovery.candidates(14)
    registry.records = [record(14, endpoint="http://moved")]
    assert await finder.found(14) == ["http://d14"]
    await anyio.sleep(2)
    finder.discovery.avoid(old)
    assert await finder.found(14) == ["http://moved"]
    assert registry.lists == 2


async def test_the_last_one_is_tried_even_if_it_refused() -> None:
    finder = Finder(Registry(record(14)))
    for _ in range(3):
        (peer,) = await finder.discovery.candidates(14)
        finder.discovery.avoid(peer)
    assert finder.registry.lists == 1


async def test_refusals_without_number_take_no_room() -> None:
    finder = Finder(None, CONFIGURED)
    for number in range(2500):
        finder.discovery.avoid(Peer(endpoint=f"http://{number}"))
        await anyio.sleep(0.1)
    assert len(finder.discovery._avoided) <= 1001


async def test_everybody_once() -> None:
    finder = Finder(
        Registry(record(14), record(15, capabilities=["draw"])), CONFIGURED, dashboard=Peer(id=2, endpoint="http://r")
    )
    await finder.found(15)
    assert finder.discovery.droplets() == (14, 2, 15)
    assert finder.discovery.droplets(capability="draw") == (15,)
