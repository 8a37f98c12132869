"""Several instances: the next one at once, and never two of them at the same work."""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import AMBIENT, Registry, record
from tests.unit.outgoing.test_messenger import TRACE, Wire, order
from udc.directory import StaticDirectory
from udc.discovery import Discovery
from udc.errors import ConfigError, ConnectionLost, PeerError, PeerUnreachable
from udc.instrument import Event, Instrument, SendAttempted
from udc.messages import Message, MessageType, Peer, Reply
from udc.messenger import Messenger

pytestmark = virtual_time


def refused() -> PeerUnreachable:
    return PeerUnreachable("refused", peer="billing")


def answered(code: str, *, status: int = 503) -> PeerError:
    return PeerError("no", peer="billing", status=status, code=code, retryable=True)


def lost() -> ConnectionLost:
    return ConnectionLost("cut", peer="billing")


class House:
    """A messenger that finds `billing` at a Registry, with as many instances as it is told."""

    def __init__(self, wire: Wire, *states: str) -> None:
        self.wire = wire
        self.events: list[Event] = []
        named = [(f"{'abcdefgh'[number]}", state) for number, state in enumerate(states)]
        self.registry = Registry(record(14, "billing", instances=named))
        instrument = Instrument([self.events.append])
        self.discovery = Discovery(StaticDirectory(), ambient=AMBIENT, instrument=instrument, threads=False)
        self.discovery.follow(self.registry)
        self.messenger = Messenger(self.discovery, {"http": wire}, me=7, ambient=AMBIENT, instrument=instrument)

    async def send(self, kind: MessageType = MessageType.QUERY, **fields: object) -> Reply:
        return await self.messenger.send(order(message_type=kind, **fields))

    @property
    def places(self) -> list[str]:
        return [peer.endpoint for peer, _ in self.wire.sent]


@pytest.mark.parametrize("kind", [MessageType.QUERY, MessageType.COMMAND])
@pytest.mark.parametrize("error", [refused(), answered("DRAINING"), answered("NOT_READY")])
async def test_the_next_one_is_tried_at_once_with_one_try(error: Exception, kind: MessageType) -> None:
    house = House(Wire(error), "ready", "ready")
    began = anyio.current_time()
    await house.send(kind, retries=0)
    assert anyio.current_time() == began
    assert len(set(house.places)) == 2
    assert [message.attempt for message in house.wire.messages] == [1, 2]
    assert len({message.message_id for message in house.wire.messages}) == 1
    assert [event.error for event in house.events if isinstance(event, SendAttempted)] == [type(error).__name__, None]


async def test_it_is_left_alone_for_a_while() -> None:
    house = House(Wire(refused()), "ready", "ready")
    await house.send()
    refusing, other = house.places
    for _ in range(20):
        await house.send()
    assert set(house.places[2:]) == {other}
    await anyio.sleep(5)
    for _ in range(20):
        await house.send()
    assert refusing in house.places[22:]


@pytest.mark.parametrize("error", [answered("OVERLOADED"), answered("RATE_LIMITED", status=429)])
async def test_one_that_is_busy_is_waited_for(error: Exception) -> None:
    """Its load says nothing of the others, but all of them get the same callers: back-off, not a stampede."""
    house = House(Wire(error), "ready", "ready")
    with pytest.raises(PeerError):
        await house.send(retries=0)
    assert len(house.places) == 1


async def test_when_all_refuse_it_waits_and_tries_them_again() -> None:
    house = House(Wire(refused(), refused(), refused()), "ready", "ready")
    began = anyio.current_time()
    await house.send()
    assert anyio.current_time() > began
    assert len(house.places) == 4
    assert len(set(house.places[:2])) == 2


async def test_not_more_than_five_in_one_go() -> None:
    house = House(Wire(*[refused() for _ in range(8)]), *["ready"] * 8)
    with pytest.raises(PeerUnreachable):
        await house.send(retries=0)
    assert len(set(house.places)) == 5


async def test_suspects_when_no_ready_one_is_left() -> None:
    house = House(Wire(refused()), "suspect", "ready")
    await house.send()
    assert house.places == ["http://b", "http://a"]


async def test_a_forbidden_address_is_not_the_end_of_the_others_but_is_final() -> None:
    error = refused()
    error.__cause__ = ConfigError(["forbidden"])
    house = House(Wire(error), "ready", "ready")
    with pytest.raises(PeerUnreachable):
        await house.send()
    assert len(house.places) == 1


async def test_a_question_that_was_lost_goes_elsewhere() -> None:
    house = House(Wire(lost()), "ready", "ready")
    await house.send()
    assert len(set(house.places)) == 2


@pytest.mark.parametrize("error", [lost(), answered("X", status=502)])
async def test_work_that_may_have_begun_is_repeated_there_only(error: Exception) -> None:
    """Instances do not share what they have done: a repetition at another one would do it twice."""
    for _ in range(10):
        house = House(Wire(error, refused(), answered("DRAINING")), *["ready"] * 4)
        await house.send(MessageType.COMMAND)
        assert len(house.places) == 4
        assert len(set(house.places)) == 1


async def test_work_that_began_at_one_that_is_gone_is_not_repeated() -> None:
    async def vanish(peer: Peer, _: Message) -> None:
        house.registry.records = [record(14, "billing", endpoint="http://other")]
        await anyio.sleep(2.1)
        raise lost()

    house = House(Wire(vanish), "ready")
    with pytest.raises(ConnectionLost):
        await house.send(MessageType.COMMAND)
    assert house.places == ["http://a"]


async def test_a_capability_is_delivered_to_one_who_offers_it() -> None:
    house = House(Wire(), "ready")
    house.registry.records = [record(14, capabilities=["bill"]), record(15, capabilities=["bill"])]
    reply = await house.send(target="bill")
    assert reply.peer.id in (14, 15)
    assert house.wire.messages[0].target == reply.peer.id


async def test_all_that_were_tried_are_told_of_a_cancel() -> None:
    seen: list[list[Peer]] = []

    async def look(_: Peer, __: Message) -> None:
        seen.append(house.messenger.pending(TRACE))

    async def refuse(_: Peer, __: Message) -> None:
        raise refused()

    house = House(Wire(refuse, look), "ready", "ready")
    await house.send()
    assert [len(peers) for peers in seen] == [2]
    assert house.messenger.pending(TRACE) == []
