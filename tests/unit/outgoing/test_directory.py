"""From an id or a name to a peer."""

from __future__ import annotations

import pytest

from udc._types import DropletId
from udc.directory import StaticDirectory, is_url
from udc.errors import ConfigError, UnknownPeer
from udc.messages import Peer


def peer(number: DropletId | None = None, name: str = "", at: str = "http://h") -> Peer:
    return Peer(id=number, name=name, endpoint=at)


BILLING = peer(14, "Billing")
PRINTER = peer(15, "printer")
NAMED = peer("atlas", "Atlas One")


@pytest.fixture
def directory() -> StaticDirectory:
    return StaticDirectory([BILLING, PRINTER, NAMED])


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (14, BILLING),
        ("14", BILLING),
        ("droplet-14", BILLING),
        ("drop14.example.org", BILLING),
        ("Billing", BILLING),
        ("billing", BILLING),
        ("PRINTER", PRINTER),
        (" printer ", PRINTER),
        ("atlas", NAMED),
        ("atlas one", NAMED),
    ],
)
async def test_every_spelling_finds_the_peer(directory: StaticDirectory, target: DropletId, found: Peer) -> None:
    assert await directory.resolve(target) is found


@pytest.mark.parametrize(
    "target", ["http://billing:8000", "https://169.254.169.254/", "//evil", "http://[::ffff:a9fe:a9fe]/", "a/b"]
)
async def test_an_address_is_no_target(target: str) -> None:
    # Not even one that a peer wears as its name.
    directory = StaticDirectory([peer(1, target, at=target)])
    assert is_url(target)
    with pytest.raises(UnknownPeer, match="is an address; a target is a droplet's id or name") as caught:
        await directory.resolve(target)
    assert caught.value.peer == target


@pytest.mark.parametrize("target", [True, 0, -3, "", "  ", "a\nb", 1.5, None])
async def test_what_is_no_id_is_nobody(directory: StaticDirectory, target: DropletId) -> None:
    assert not is_url(target)
    with pytest.raises(UnknownPeer, match="no droplet id"):
        await directory.resolve(target)


async def test_an_unknown_name_is_told_who_there_is(directory: StaticDirectory) -> None:
    with pytest.raises(UnknownPeer) as caught:
        await directory.resolve("biling")
    assert str(caught.value) == (
        "no peer is called 'biling'; did you mean 'Billing'? known: 'Atlas One' (atlas), 'Billing' (14), 'printer' (15)"
    )


async def test_an_unknown_id_is_told_who_there_is(directory: StaticDirectory) -> None:
    with pytest.raises(UnknownPeer, match=r"no peer is called '99'; known: 'Atlas One' \(atlas\)"):
        await directory.resolve(99)


async def test_of_many_peers_ten_are_shown() -> None:
    directory = StaticDirectory(peer(number, at=f"http://h{number}") for number in range(1, 1001))
    with pytest.raises(UnknownPeer, match=r"known: '1', .* and 990 more$"):
        await directory.resolve("nobody")


async def test_nobody_is_known() -> None:
    with pytest.raises(UnknownPeer, match="no peers are known"):
        await StaticDirectory().resolve("billing")


async def test_an_exact_name_goes_before_one_in_other_case() -> None:
    lower, upper = peer(1, "echo"), peer(2, "Echo")
    directory = StaticDirectory([upper, lower])
    assert await directory.resolve("echo") is lower
    assert await directory.resolve("Echo") is upper
    with pytest.raises(UnknownPeer, match=r"2 peers are called 'ECHO' \(ids 2, 1\): use the id"):
        await directory.resolve("ECHO")


async def test_a_name_that_two_wear_is_refused() -> None:
    with pytest.raises(UnknownPeer, match="2 peers"):
        await StaticDirectory([peer(1, "echo"), peer(2, "echo")]).resolve("echo")


async def test_well_known_peers_have_a_word_of_their_own() -> None:
    registry = peer(1, "Registry", at="http://r")
    directory = StaticDirectory([BILLING], well_known={"registry": registry, "orchestrator": peer(10, at="http://o")})
    assert await directory.resolve("registry") is registry
    assert await directory.resolve(1) is registry
    assert (await directory.resolve("orchestrator")).id == 10
    directory.replace([])
    assert await directory.resolve(1) is registry
    assert [known.id for known in directory.peers] == [1, 10]


async def test_a_configured_peer_stands_in_for_the_well_known_one() -> None:
    own = peer("1", "Our Registry", at="http://own")
    directory = StaticDirectory([own], well_known={"registry": peer(1, "Registry", at="http://r")})
    assert await directory.resolve("registry") is own
    assert directory.peers == (own,)


async def test_replacing_forgets_the_old_ones(directory: StaticDirectory) -> None:
    moved = peer(14, "Billing", at="http://elsewhere")
    directory.replace([moved])
    assert await directory.resolve("billing") is moved
    with pytest.raises(UnknownPeer):
        await directory.resolve("printer")


async def test_peers_that_cannot_work_are_refused_all_at_once(directory: StaticDirectory) -> None:
    bad = [peer(1, "a"), peer("droplet-1", "b"), peer(None, "", at="http://x"), peer(0, "zero")]
    with pytest.raises(ConfigError) as caught:
        directory.replace(bad)
    assert len(caught.value.problems) == 3
    assert caught.value.problems[0] == "peers 'a' and 'b' both have id 1"
    assert await directory.resolve("printer") is PRINTER


async def test_a_peer_without_id_is_found_by_name() -> None:
    nameless = [peer(None, "one"), peer(None, "two")]
    assert await StaticDirectory(nameless).resolve("two") is nameless[1]


async def test_peers_that_come_and_go_are_found_when_no_other_is_meant() -> None:
    there: list[Peer] = []
    found = StaticDirectory([BILLING], beside=lambda: there)
    with pytest.raises(UnknownPeer):
        await found.resolve(10)
    there += [peer(10, "orchestrator", "http://a"), peer(14, "Billing", "http://b")]
    assert await found.resolve(10) == await found.resolve("orchestrator") == there[0]
    assert await found.resolve(14) == await found.resolve("Billing") == BILLING


async def test_neither_an_id_nor_a_name_stands_in_for_anothers() -> None:
    directory = StaticDirectory(
        [
            Peer(id=14, name="Orders", endpoint="http://real"),
            Peer(id="Orders", name="thief", endpoint="http://thief"),
            Peer(id=15, name="16", endpoint="http://sixteen"),
        ]
    )

    with pytest.raises(UnknownPeer, match="2 peers are called 'Orders'"):
        await directory.resolve("Orders")
    with pytest.raises(UnknownPeer, match="no peer is called '16'"):
        await directory.resolve(16)
    assert (await directory.resolve(14)).endpoint == "http://real"
