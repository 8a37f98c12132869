"""The values that travel are frozen and have the contract's words and defaults."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from udc.messages import MAX_HOPS, Message, MessageType, Peer, Priority, Reply

MESSAGE = Message(
    message_type=MessageType.QUERY,
    payload={"type": "quota"},
    trace_id="t",
    timestamp=datetime(2026, 11, 20, tzinfo=UTC),
)
PEER = Peer(endpoint="http://127.0.0.1:8015")
REPLY = Reply(peer=PEER, trace_id="t")


def test_the_words_are_the_contracts() -> None:
    assert [str(kind) for kind in MessageType] == ["status", "event", "command", "query", "response", "error"]
    assert [str(priority) for priority in Priority] == ["high", "normal", "low"]
    assert MAX_HOPS == 16


def test_a_message_has_the_contracts_defaults() -> None:
    assert (MESSAGE.attempt, MESSAGE.hops, MESSAGE.priority, MESSAGE.dialect) == (1, 0, Priority.NORMAL, "udc")
    assert (MESSAGE.source, MESSAGE.target, MESSAGE.action, MESSAGE.data) == (None, None, None, None)


def test_a_reply_is_a_success_by_default() -> None:
    assert (REPLY.result, REPLY.handled, REPLY.duplicate, REPLY.data, REPLY.receipt) == (
        "success",
        True,
        False,
        None,
        {},
    )
    assert REPLY.receipt is not Reply(peer=PEER, trace_id="t").receipt


@pytest.mark.parametrize("value", [MESSAGE, PEER, REPLY], ids=lambda value: type(value).__name__)
def test_a_value_is_frozen(value: Message | Peer | Reply) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    with pytest.raises((AttributeError, TypeError)):
        value.extra = 1  # type: ignore[union-attr]  # that is the point
    assert dataclasses.replace(value) == value


@pytest.mark.parametrize("kind", [Message, Peer, Reply])
def test_values_are_given_by_name(kind: type[Message | Peer | Reply]) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind("x")  # type: ignore[call-arg, arg-type]  # that is the point


@pytest.mark.parametrize(
    ("peer", "label"),
    [
        (Peer(endpoint="http://b:1", id=15, name="Billing"), "Billing"),
        (Peer(endpoint="http://b:1", id=15), "15"),
        (Peer(endpoint="http://b:1", id="billing"), "billing"),
        (Peer(endpoint="http://b:1", id=0), "0"),
        (Peer(endpoint="http://b:1"), "http://b:1"),
    ],
)
def test_a_peer_is_called_by_its_name_or_id_or_address(peer: Peer, label: str) -> None:
    assert peer.label == label
