"""One message to everybody: once each, some at a time, one result each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import AMBIENT, Registry, record
from tests.unit.outgoing.test_messenger import TRACE, order
from udc.context import Lineage
from udc.directory import StaticDirectory
from udc.discovery import Discovery
from udc.errors import CallTimeout, HopLimit, PeerError, TokenError
from udc.instrument import Instrument
from udc.messages import Message, MessageType, Peer, Reply
from udc.messenger import Messenger
from udc.wire import json_text
from udc.wire.envelope import encode_message

pytestmark = virtual_time


class Net:
    """Delivers to everybody; notes how many at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[Peer, Message]] = []
        self.now = self.most = 0
        self.slow: dict[object, float] = {}
        self.failing: dict[object, Exception] = {}

    async def deliver(self, peer: Peer, message: Message) -> Reply:
        self.sent.append((peer, message))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(self.slow.get(peer.id, 0.01))
        finally:
            self.now -= 1
        if peer.id in self.failing:
            raise self.failing[peer.id]
        return Reply(peer=peer, trace_id=message.trace_id, data=peer.id)


async def house(count: int, net: Net) -> Messenger:
    rows = [record(number, capabilities=["even"] if number % 2 == 0 else []) for number in range(1, count + 1)]
    discovery = Discovery(StaticDirectory(), ambient=AMBIENT, instrument=Instrument(), threads=False)
    discovery.follow(Registry(*rows))
    await discovery.resolve(1)
    return Messenger(discovery, {"http": net}, me=7, ambient=AMBIENT, instrument=Instrument())


async def spread(count: int, net: Net, *, capability: str | None = None, **fields: Any) -> Any:
    messenger = await house(count, net)
    asked = {"target": "everyone", "message_type": MessageType.EVENT, **fields}
    return await messenger.spread(order(**asked), capability=capability)


async def test_each_id_once_and_ourselves_not_at_all() -> None:
    net = Net()
    results = await spread(200, net)
    assert list(results) == [number for number in range(1, 201) if number != 7]
    assert set(Counter(peer.id for peer, _ in net.sent).values()) == {1}
    assert {target: reply.data for target, reply in results.items()} == {target: target for target in results}
    assert net.most == 64
    assert {message.target for _, message in net.sent} == set(results)
    assert len({message.message_id for _, message in net.sent}) == 199
    assert {message.trace_id for _, message in net.sent} == {TRACE}


async def test_only_those_who_can() -> None:
    assert list(await spread(10, Net(), capability="even")) == [2, 4, 6, 8, 10]
    assert await spread(10, Net(), capability="odd") == {}


async def test_a_slow_one_holds_nobody_and_all_have_one_deadline() -> None:
    net = Net()
    net.slow = dict.fromkeys(range(1, 65), 1000.0)
    net.slow[1] = 9.0
    began = anyio.current_time()
    results = await spread(300, net)
    assert anyio.current_time() - began == pytest.approx(10)
    assert results[1].data == 1
    assert sum(isinstance(result, CallTimeout) for result in results.values()) == 62
    slow = Net()
    slow.slow = dict.fromkeys(range(1, 301), 3.0)
    began = anyio.current_time()
    results = await spread(300, slow, timeout_seconds=5)
    assert anyio.current_time() - began == pytest.approx(5)
    assert Counter(type(result) for result in results.values()) == {Reply: 64, CallTimeout: 235}
    assert len(slow.sent) == 128, "those whose turn came too late are not even tried"


async def test_an_inherited_deadline_that_ends_earlier_counts() -> None:
    net = Net()
    net.slow = {3: 100.0}
    began = anyio.current_time()
    results = await spread(5, net, lineage=Lineage(trace_id=TRACE, deadline=began + 2))
    assert anyio.current_time() - began == pytest.approx(2)
    assert isinstance(results[3], CallTimeout)


async def test_a_failure_is_a_result() -> None:
    net = Net()
    net.failing = {3: PeerError("no", peer="droplet3", status=404, code="NO_HANDLER"), 4: TokenError("none")}
    results = await spread(5, net)
    assert [type(result).__name__ for result in results.values()] == [
        "Reply",
        "Reply",
        "PeerError",
        "TokenError",
        "Reply",
    ]


async def test_a_bug_is_none() -> None:
    net = Net()
    net.failing = {3: ZeroDivisionError()}
    with pytest.raises(ExceptionGroup):
        await spread(5, net)


async def test_nothing_is_sent_that_cannot_be_json_or_went_too_far() -> None:
    net = Net()
    with pytest.raises(TypeError, match="cannot make JSON"):
        await spread(5, net, data=object())
    with pytest.raises(HopLimit):
        await spread(5, net, lineage=Lineage(trace_id=TRACE, hops=17))
    assert net.sent == []


async def test_the_payload_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real = json_text.write
    big: list[int] = []

    def write(value: Any) -> bytes:
        text = real(value)
        if len(text) > 10_000:
            big.append(len(text))
        return text

    monkeypatch.setattr(json_text, "write", write)
    net = Net()
    await spread(50, net, data={"text": "x" * 20_000})
    bodies = [encode_message(message, peer=peer)[0] for peer, message in net.sent]
    assert len(big) == 1
    assert {json_text.parse(body)["target"] for body in bodies} == set(range(1, 51)) - {7}
    assert all(json_text.parse(body)["payload"]["data"] == {"text": "x" * 20_000} for body in bodies)


@pytest.mark.parametrize("ours", [True, False])
async def test_a_body_with_a_payload_written_before_says_the_same(ours: bool) -> None:
    net = Net()
    await spread(2, net, data={"a": 'quo"te', "b": [1, None]})
    _, message = net.sent[0]
    peer = Peer(id=1, name="d", endpoint="http://d", ours=ours)
    plain = replace(message, payload=dict(message.payload))
    first, headers = encode_message(message, peer=peer)
    second, same = encode_message(plain, peer=peer)
    assert json_text.parse(first) == json_text.parse(second)
    assert headers == same


async def test_a_cancelled_broadcast_gives_up_what_is_under_way() -> None:
    net = Net()
    net.slow = dict.fromkeys(range(1, 101), 1000.0)
    messenger = await house(100, net)
    with anyio.move_on_after(1):
        await messenger.spread(order(target="everyone", message_type=MessageType.EVENT), capability=None)
    assert net.now == 0
    assert messenger.pending(TRACE) == []
