"""One call: its message, its deadline, its tries, what is told of it and how it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import looptime
import pytest
import trio.testing

from udc import _ids
from udc.context import Lineage, Order
from udc.directory import StaticDirectory
from udc.errors import (
    CallTimeout,
    ConfigError,
    ConnectionLost,
    HopLimit,
    PeerError,
    PeerUnreachable,
    TokenError,
    UnknownPeer,
)
from udc.instrument import Event, Instrument, SendAttempted, SendFinished
from udc.messages import Message, MessageType, Peer, Priority, Reply
from udc.messenger import Messenger
from udc.retry import RetryPolicy


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": looptime.new_event_loop}


BILLING = Peer(id=14, name="billing", endpoint="test://b", ours=True)
FOREIGN = Peer(id=20, name="atlas", endpoint="TEST://a")
TRACE = "7f0d6b52-6a1c-4a88-9f3e-0a5a5f1f4c11"

Act = Callable[[Peer, Message], Awaitable[None]] | BaseException | None


class Wire:
    """A transport that does as its script says, then succeeds."""

    def __init__(self, *script: Act) -> None:
        self.script = list(script)
        self.sent: list[tuple[Peer, Message]] = []

    async def deliver(self, peer: Peer, message: Message) -> Reply:
        self.sent.append((peer, message))
        act = self.script.pop(0) if self.script else None
        if isinstance(act, BaseException):
            raise act
        if act is not None:
            await act(peer, message)
        return Reply(peer=peer, trace_id=message.trace_id, data=message.data)

    @property
    def messages(self) -> list[Message]:
        return [message for _, message in self.sent]


class Fixture:
    def __init__(self, wire: Wire, **options: Any) -> None:
        self.events: list[Event] = []
        self.directory = StaticDirectory([BILLING, FOREIGN, Peer(id=21, endpoint="ftp://x")])
        self.messenger = Messenger(
            self.directory,
            {"test": wire},
            me=7,
            ambient=replace(_ids.seeded(1, wall=lambda: 1_000_000.0), chance=lambda: 1.0),
            instrument=Instrument([self.events.append]),
            **options,
        )

    async def send(self, **fields: Any) -> Reply:
        return await self.messenger.send(order(**fields))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def order(**fields: Any) -> Order:
    given: dict[str, Any] = {
        "target": "billing",
        "message_type": MessageType.QUERY,
        "lineage": Lineage(trace_id=TRACE),
        "action": "balance",
        "data": {"steward": "ada"},
    }
    return Order(**given | fields)


def lost() -> ConnectionLost:
    return ConnectionLost("the connection to billing broke", peer="billing")


async def hang(_: Peer, __: Message) -> None:
    await anyio.sleep_forever()


async def test_the_message_is_made_of_the_order() -> None:
    wire = Wire()
    reply = await Fixture(wire).send(
        message_type=MessageType.EVENT,
        lineage=Lineage(trace_id=TRACE, hops=3, on_behalf_of=99),
        priority=Priority.HIGH,
        timeout_seconds=2,
    )
    message = wire.messages[0]
    assert reply.data == {"steward": "ada"}
    assert message.payload == {"event_type": "balance", "data": {"steward": "ada"}}
    assert (message.source, message.target, message.trace_id, message.hops) == (7, 14, TRACE, 3)
    assert (message.on_behalf_of, message.priority, message.attempt) == (99, Priority.HIGH, 1)
    assert (message.timeout_ms, message.timestamp.timestamp()) == (2000, 1_000_000.0)


async def test_a_payload_is_sent_as_it_is() -> None:
    wire = Wire()
    await Fixture(wire).send(action=None, data=None, payload={"type": "cancel_trace", "trace_id": TRACE})
    assert wire.messages[0].payload == {"type": "cancel_trace", "trace_id": TRACE}


@pytest.mark.parametrize("kind", [MessageType.COMMAND, MessageType.EVENT])
async def test_work_carries_a_fresh_id_or_the_given_one(kind: MessageType) -> None:
    wire = Wire()
    fixture = Fixture(wire)
    await fixture.send(message_type=kind)
    await fixture.send(message_type=kind)
    await fixture.send(message_type=kind, message_id="mine")
    first, second, third = [message.message_id for message in wire.messages]
    assert first
    assert second
    assert first != second
    assert third == "mine"


@pytest.mark.parametrize("kind", [MessageType.QUERY, MessageType.STATUS])
async def test_questions_carry_none(kind: MessageType) -> None:
    wire = Wire()
    await Fixture(wire).send(message_type=kind)
    assert wire.messages[0].message_id is None


async def test_all_tries_are_one_message_counted_up_with_the_time_that_is_left() -> None:
    async def late(_: Peer, __: Message) -> None:
        await anyio.sleep(1)
        raise lost()

    wire = Wire(late, late)
    await Fixture(wire).send(message_type=MessageType.COMMAND)
    assert len({message.message_id for message in wire.messages}) == 1
    assert [message.attempt for message in wire.messages] == [1, 2, 3]
    assert [message.timeout_ms for message in wire.messages] == [10_000, 8_900, 7_700]


@pytest.mark.parametrize(
    ("own", "inherited", "limit"),
    [(None, None, 10.0), (3.0, None, 3.0), (None, 4.0, 4.0), (3.0, 4.0, 3.0), (30.0, 4.0, 4.0), (30.0, None, 30.0)],
)
async def test_the_earliest_deadline_counts(own: float | None, inherited: float | None, limit: float) -> None:
    began = anyio.current_time()
    lineage = Lineage(trace_id=TRACE, deadline=None if inherited is None else began + inherited)
    with pytest.raises(CallTimeout) as caught:
        await Fixture(Wire(hang)).send(timeout_seconds=own, lineage=lineage)
    assert anyio.current_time() - began == pytest.approx(limit)
    assert str(caught.value) == f"billing did not answer query 'balance' within {limit:g} s (1 attempt)"
    assert caught.value.peer == "billing"


async def test_a_timeout_tells_of_the_last_failure() -> None:
    fixture = Fixture(Wire(lost(), hang))
    with pytest.raises(
        CallTimeout, match=r"within 10 s \(2 attempts; the last one that ended: the connection to billing broke\)"
    ):
        await fixture.send()
    assert fixture.of(SendAttempted)[0].error == "ConnectionLost"
    assert fixture.of(SendFinished)[0].error == "CallTimeout"


async def test_a_payload_without_an_action_times_out_readably() -> None:
    with pytest.raises(CallTimeout, match=r"did not answer command within 10 s"):
        await Fixture(Wire(hang)).send(
            message_type=MessageType.COMMAND, action=None, data=None, payload={"nothing": "known"}
        )


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    wire = Wire()
    lineage = Lineage(trace_id=TRACE, deadline=anyio.current_time())
    with pytest.raises(CallTimeout, match="no time was left to send query 'balance' to billing"):
        await Fixture(wire).send(lineage=lineage)
    assert not wire.sent


async def test_the_default_deadline_can_be_set() -> None:
    with pytest.raises(CallTimeout, match=r"within 1\.5 s"):
        await Fixture(Wire(hang), timeout_seconds=1.5).send()


async def test_an_outer_scope_is_no_call_timeout() -> None:
    fixture = Fixture(Wire(hang))
    with anyio.move_on_after(1) as scope:
        await fixture.send()
    assert scope.cancelled_caught
    assert fixture.messenger.pending(TRACE) == []
    assert [event.error for event in fixture.events] == ["Cancelled", "Cancelled"]  # type: ignore[attr-defined]


async def test_a_command_to_our_own_kind_is_repeated_and_to_others_not() -> None:
    ours, theirs = Wire(lost()), Wire(lost())
    await Fixture(ours).send(message_type=MessageType.COMMAND)
    with pytest.raises(ConnectionLost):
        await Fixture(theirs).send(message_type=MessageType.COMMAND, target=20)
    assert (len(ours.sent), len(theirs.sent)) == (2, 1)


@pytest.mark.parametrize(("retries", "tries"), [(None, 4), (0, 1), (1, 2), (10, 11)])
async def test_the_order_says_how_often(retries: int | None, tries: int) -> None:
    wire = Wire(*[lost() for _ in range(20)])
    with pytest.raises(ConnectionLost):
        await Fixture(wire).send(retries=retries, timeout_seconds=1000)
    assert len(wire.sent) == tries


async def test_the_policy_can_be_set() -> None:
    wire = Wire(lost(), lost())
    with pytest.raises(ConnectionLost):
        await Fixture(wire, retry=RetryPolicy(attempts=2)).send()
    assert len(wire.sent) == 2


async def test_a_peers_error_stays_a_peers_error() -> None:
    refusal = PeerError("not here", peer="billing", status=404, code="NO_HANDLER")
    wire = Wire(refusal)
    with pytest.raises(PeerError) as caught:
        await Fixture(wire).send()
    assert caught.value is refusal
    assert len(wire.sent) == 1


async def test_a_peer_that_moved_is_found_by_the_next_try() -> None:
    moved = replace(BILLING, endpoint="test://elsewhere")

    async def move(_: Peer, __: Message) -> None:
        fixture.directory.replace([moved])
        raise PeerUnreachable("refused", peer="billing")

    wire = Wire(move)
    fixture = Fixture(wire)
    await fixture.send()
    assert [peer.endpoint for peer, _ in wire.sent] == ["test://b", "test://elsewhere"]


async def test_an_unknown_peer() -> None:
    wire = Wire()
    fixture = Fixture(wire)
    with pytest.raises(UnknownPeer, match="did you mean 'billing'"):
        await fixture.send(target="biling")
    assert not wire.sent
    finished = fixture.of(SendFinished)[0]
    assert (finished.peer, finished.attempts, finished.error) == ("biling", 0, "UnknownPeer")


async def test_no_transport_for_the_address_is_final() -> None:
    began = anyio.current_time()
    with pytest.raises(PeerUnreachable, match=r"21: no transport for 'ftp' addresses.*there are: test") as caught:
        await Fixture(Wire()).send(target=21)
    assert isinstance(caught.value.__cause__, ConfigError)
    assert anyio.current_time() == began


async def test_no_token_is_final() -> None:
    wire = Wire(TokenError("no token for mesh/14"))
    fixture = Fixture(wire)
    with pytest.raises(TokenError):
        await fixture.send()
    assert len(wire.sent) == 1
    assert fixture.of(SendFinished)[0].error == "TokenError"


async def test_the_last_hop() -> None:
    wire = Wire()
    await Fixture(wire).send(lineage=Lineage(trace_id=TRACE, hops=16))
    with pytest.raises(HopLimit, match="through 16 droplets"):
        await Fixture(wire).send(lineage=Lineage(trace_id=TRACE, hops=17))
    assert len(wire.sent) == 1


async def test_what_is_told_of_a_call() -> None:
    fixture = Fixture(Wire(lost()))
    await fixture.send()
    first, second = fixture.of(SendAttempted)
    assert (first.peer, first.message_type, first.action, first.trace_id) == ("billing", "query", "balance", TRACE)
    assert [(one.attempt, one.error) for one in (first, second)] == [(1, "ConnectionLost"), (2, None)]
    finished = fixture.events[-1]
    assert isinstance(finished, SendFinished)
    assert (finished.attempts, finished.error) == (2, None)
    assert finished.seconds == pytest.approx(0.1)


async def test_who_works_on_a_trace_for_us() -> None:
    fixture = Fixture(Wire(hang, hang, hang, hang))
    async with anyio.create_task_group() as tasks:
        for one in (order(), order(), order(target="atlas"), order(lineage=Lineage(trace_id="other"))):
            tasks.start_soon(fixture.messenger.send, one)
        await anyio.wait_all_tasks_blocked()
        assert sorted(peer.label for peer in fixture.messenger.pending(TRACE)) == ["atlas", "billing"]
        assert fixture.messenger.pending("nobody's") == []
        tasks.cancel_scope.cancel()
    assert fixture.messenger.pending(TRACE) == []
    assert not fixture.messenger._under_way


async def test_a_peer_that_we_wait_to_ask_again_is_still_at_work_maybe() -> None:
    fixture = Fixture(Wire(lost()), retry=RetryPolicy(base_seconds=5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fixture.messenger.send, order())
        await anyio.sleep(1)
        assert fixture.messenger.pending(TRACE) == [BILLING]
    assert fixture.messenger.pending(TRACE) == []
