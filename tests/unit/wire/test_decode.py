"""Envelopes read: a row per form and rule of contract section 3 and the dialects."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc._ids import seeded
from udc._types import DropletId
from udc.errors import Forbidden, InvalidRequest
from udc.messages import Message, MessageType, Priority
from udc.wire.envelope import decode_message
from udc.wire.words import MESSAGE_TYPES

TRACE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"
WHEN = "2025-01-02T03:04:05.678Z"
MOMENT = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
NOW = datetime(2030, 1, 1, tzinfo=UTC)

FLAT: dict[str, Any] = {
    "trace_id": TRACE,
    "source": 14,
    "target": 10,
    "message_type": "command",
    "payload": {"type": "crop", "data": {"width": 5}},
    "timestamp": WHEN,
}


def read(envelope: object, **more: Any) -> Message:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return decode_message(body, me=10, ambient=seeded(1, NOW.timestamp), **more)


def flat(**changes: Any) -> dict[str, Any]:
    return {**FLAT, **changes}


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in FLAT.items() if key not in keys}


def refused(envelope: object) -> str:
    with pytest.raises(InvalidRequest) as refusal:
        read(envelope)
    assert refusal.value.message.startswith(f"{refusal.value.details['field']}: ")
    return str(refusal.value.details["field"])


def test_the_contracts_own_form() -> None:
    body = json.dumps(FLAT).encode()
    assert read(body) == Message(
        message_type=MessageType.COMMAND,
        payload={"type": "crop", "data": {"width": 5}},
        trace_id=TRACE,
        timestamp=MOMENT,
        action="crop",
        data={"width": 5},
        source=14,
        target=10,
        dialect="udc",
        size=len(body),
    )


def test_every_optional_field() -> None:
    message = read(
        flat(
            message_id="m-1",
            correlation_id="c-1",
            timeout_ms=5000,
            deadline="2025-01-02T04:04:05+01:00",
            attempt=2,
            hops=17,
            on_behalf_of="droplet-7",
            priority="high",
            reply_to="https://example.org/r",
            udc_version="1.0",
            signature="secret-bearer",
            unknown={"x": 1},
        )
    )
    assert (message.message_id, message.correlation_id, message.timeout_ms) == ("m-1", "c-1", 5000)
    assert message.deadline == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (message.attempt, message.hops, message.on_behalf_of) == (2, 17, 7)
    assert (message.priority, message.reply_to) == (Priority.HIGH, "https://example.org/r")
    assert "secret-bearer" not in repr(message)
    assert message.dialect == "udc"


@pytest.mark.parametrize("key", ["trace_id", "timestamp", "source", "target", "priority", "hops", "metadata", "type"])
def test_null_counts_as_left_out(key: str) -> None:
    assert read(flat(**{key: None})) == read({**without(key), key: None})
    assert read(flat(**{key: None})).dialect == "udc"


def test_what_is_missing_is_filled_in_or_stays_open() -> None:
    message = read(without("trace_id", "timestamp", "source", "target"))
    assert message.trace_id == seeded(1, NOW.timestamp).new_id()
    assert message.timestamp == NOW
    assert message.source is None
    assert message.target is None


@pytest.mark.parametrize("version", ["2b4e28ba-2fa1-1d2b-883f-0016d3cca427", TRACE.upper(), "00000000" + TRACE[8:]])
def test_any_uuid_is_a_trace_id_and_kept_as_it_came(version: str) -> None:
    assert read(flat(trace_id=version)).trace_id == version


WRONG: dict[str, list[object]] = {
    "trace_id": ["", "x", 5, True, [], TRACE.replace("-", ""), TRACE + " ", "{" + TRACE + "}"],
    "timestamp": ["", "today", True, [], 1e300],
    "source": [0, -1, True, 1.5, [], {}, ""],
    "target": [0, -1, True, 1.5, [], {}, ""],
    "message_type": [None, "", "COMMAND", "order", 5, True, [], {}],
    "payload": [None, [], "x", '{"type":"crop"}', 5, True],
    "message_id": ["", 5, True, [], "x" * 129],
    "correlation_id": ["", 5, True, {}, "x" * 129],
    "timeout_ms": [-1, 1.5, "5", True, [], 2**53],
    "deadline": ["soon", True, [], {}, 1e300],
    "attempt": [0, -1, 1.5, "1", True, False, []],
    "hops": [-1, 1.5, "1", True, False, [], 2**60],
    "on_behalf_of": [0, True, [], "", 1.5],
    "priority": ["urgent", "", 5, True, []],
    "reply_to": ["", 5, True, {}, "x" * 2049],
    "signature": [5, True, [], {}],
    "udc_version": [1.0, True, []],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    assert refused(flat(**{field: value})) == field


@pytest.mark.parametrize("field", ["message_type", "payload"])
def test_what_must_be_there_is_missed_by_name(field: str) -> None:
    assert refused(without(field)) == field
    with pytest.raises(InvalidRequest, match=f"{field}: is missing"):
        read(without(field))


def test_a_refused_target_tells_who_is_here() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(flat(target=[]))
    assert "10" in str(refusal.value.hint)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    assert refused(body) == "body"


@pytest.mark.parametrize(("word", "kind"), MESSAGE_TYPES.items())
def test_every_message_type_is_read_in_every_form(word: str, kind: MessageType) -> None:
    assert read(flat(message_type=word)).message_type is kind
    assert read({"type": word, "payload": {}}).message_type is kind
    assert read({"from_service": "a", "message_type": word, "payload": {}}).message_type is kind


FOREIGN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "metadata",
        {"metadata": {"source_droplet_id": 14, "timestamp": WHEN, "trace_id": "job-7"}, "payload": {"a": 1}},
        {"source": 14, "timestamp": MOMENT, "trace_id": "job-7", "target": None, "data": {"a": 1}},
    ),
    (
        "metadata",
        {"metadata": {"source_droplet_id": "droplet-14", "trace_id": "in"}, "trace_id": "out", "payload": {}},
        {"source": 14, "trace_id": "out", "timestamp": NOW},
    ),
    (
        "metadata",
        {"metadata": {"source_droplet_id": "Resizer"}, "payload": {}, "message_type": "query"},
        {"source": "Resizer", "message_type": MessageType.QUERY},
    ),
    (
        "service",
        {
            "from_service": "resizer",
            "to_service": "droplet-10",
            "message_type": "event",
            "payload": {"event_type": "x"},
        },
        {"source": None, "target": 10, "action": "x"},
    ),
    ("service", {"from_service": "droplet-14", "payload": {}}, {"source": 14, "target": None}),
    ("service", {"from_service": 14, "source": "14", "payload": {}}, {"source": 14}),
    ("service", {"from_service": "resizer", "source": 14, "payload": {}}, {"source": 14}),
    ("service", {"from_service": "", "source": 14, "payload": {}}, {"source": 14}),
    ("service", {"from_service": "a", "to_service": "billing", "payload": {}}, {"target": "billing"}),
    ("service", {"from_service": "a", "to_service": "billing", "target": 10, "payload": {}}, {"target": 10}),
    ("service", {"from_service": "a", "to_service": [], "target": 10, "payload": {}}, {"target": 10}),
    ("service", {"from_service": "a", "payload": {}, "priority": "low"}, {"priority": Priority.LOW}),
    ("service", {"from_service": "a", "payload": {}, "priority": "urgent"}, {"priority": Priority.NORMAL}),
    ("service", {"from_service": "a", "payload": {}, "priority": 3}, {"priority": Priority.NORMAL}),
    ("service", {"from_service": "a", "payload": {}, "reply_to": "queue-1"}, {"reply_to": "queue-1"}),
    ("service", {"from_service": "a", "payload": {}, "reply_to": {"q": 1}}, {"reply_to": None}),
    ("service", {"from_service": "a", "payload": {}, "timestamp": 1735787045.678}, {"timestamp": MOMENT}),
    ("service", {"from_service": "a"}, {"payload": {}, "message_type": MessageType.EVENT}),
    ("service", {"from_service": "a", "payload": None, "udc_version": 1.0, "signature": 5}, {"payload": {}}),
    ("service", {"from_service": "a", "payload": '{"type": "crop", "data": 1}'}, {"action": "crop", "data": 1}),
    ("type", {"type": "command", "payload": {"action": "x"}, "trace_id": "t" * 128}, {"trace_id": "t" * 128}),
    (
        "type",
        {"type": "event", "message_type": "query", "payload": {}},
        {"message_type": MessageType.QUERY},
    ),
    ("type", {"type": "event", "metadata": {"timestamp": WHEN}, "payload": {}}, {"timestamp": MOMENT}),
    ("type", {"type": "event", "metadata": ["x"], "payload": {}}, {"timestamp": NOW}),
]


@pytest.mark.parametrize(("dialect", "envelope", "expected"), FOREIGN)
def test_foreign_forms(dialect: str, envelope: dict[str, Any], expected: dict[str, Any]) -> None:
    message = read(envelope)
    assert message.dialect == dialect
    assert {key: getattr(message, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("field", "envelope"),
    [
        ("trace_id", {"type": "event", "payload": {}, "trace_id": "t" * 129}),
        ("trace_id", {"type": "event", "payload": {}, "trace_id": 5}),
        ("trace_id", {"type": "event", "payload": {}, "trace_id": ""}),
        ("type", {"type": "crop", "payload": {}}),
        ("type", {"type": [], "payload": {}}),
        ("message_type", {"type": "event", "message_type": "order", "payload": {}}),
        ("payload", {"type": "event", "payload": []}),
        ("payload", {"type": "event", "payload": "[1]"}),
        ("payload", {"type": "event", "payload": "text"}),
        ("from_service", {"from_service": True, "payload": {}}),
        ("from_service", {"from_service": ["a"], "payload": {}}),
        ("to_service", {"from_service": "a", "to_service": True, "payload": {}}),
        ("metadata.source_droplet_id", {"metadata": {"source_droplet_id": True}, "payload": {}}),
        ("timeout_ms", {"from_service": "a", "payload": {}, "timeout_ms": "5"}),
        ("hops", {"from_service": "a", "payload": {}, "hops": True}),
    ],
)
def test_foreign_rubbish_is_refused_by_name(field: str, envelope: dict[str, Any]) -> None:
    assert refused(envelope) == field


@pytest.mark.parametrize(
    ("field", "envelope"),
    [
        ("from_service", {"source": 14, "from_service": "droplet-15"}),
        ("from_service", {"source": "14", "from_service": 15}),
        ("from_service", {"source": "resizer", "from_service": "15"}),
        ("from_service", {"metadata": {"source_droplet_id": 14}, "from_service": "drop15.example.org"}),
        ("metadata.source_droplet_id", {"source": 14, "metadata": {"source_droplet_id": 15}}),
    ],
)
def test_a_contradicting_number_is_forbidden(field: str, envelope: dict[str, Any]) -> None:
    with pytest.raises(Forbidden) as refusal:
        read({**envelope, "payload": {}})
    assert refusal.value.details == {"field": field}


def test_a_missing_foreign_type_is_that_of_the_only_handler_else_event() -> None:
    asked: list[str | None] = []

    def only(action: str | None) -> MessageType | None:
        asked.append(action)
        return MessageType.QUERY if action == "balance" else None

    for action, kind in (("balance", MessageType.QUERY), ("other", MessageType.EVENT), (None, MessageType.EVENT)):
        envelope = {"from_service": "a", "payload": {} if action is None else {"action": action}}
        assert read(envelope, type_for_action=only).message_type is kind
    assert asked == ["balance", "other", None]
    assert read({"from_service": "a", "payload": {"action": "balance"}}).message_type is MessageType.EVENT
    with pytest.raises(InvalidRequest, match="message_type"):
        read(without("message_type"), type_for_action=only)


def test_a_nested_envelope_is_unwrapped_once_and_the_outer_identity_counts() -> None:
    inner = {"trace_id": "x", "source": 99, "target": 98, "message_type": "event", "message_id": "inner", "hops": 5}
    message = read(flat(payload={**inner, "payload": {"type": "turn", "data": 1}}, message_id="outer"))
    assert (message.source, message.target, message.trace_id) == (14, 10, TRACE)
    assert (message.message_id, message.hops, message.message_type) == ("outer", 0, MessageType.COMMAND)
    assert message.payload == {"type": "turn", "data": 1}
    assert (message.action, message.data) == ("turn", 1)


def test_of_two_nested_envelopes_the_inner_one_stays() -> None:
    innermost = {"message_type": "event", "payload": {"type": "turn"}}
    message = read(flat(payload={"message_type": "event", "payload": innermost}))
    assert message.payload == innermost
    assert message.action is None


@pytest.mark.parametrize(
    ("inner", "payload"),
    [
        ('{"type": "turn"}', {"type": "turn"}),
        ("text", {"message_type": "query", "payload": "text"}),
        ([1], {"message_type": "query", "payload": [1]}),
    ],
)
def test_only_an_object_is_unwrapped(inner: object, payload: dict[str, Any]) -> None:
    assert read(flat(payload={"message_type": "query", "payload": inner})).payload == payload


def test_a_nested_type_serves_where_the_outer_one_is_missing() -> None:
    nested = {"message_type": "query", "payload": {"query": "balance"}}
    assert read({"from_service": "a", "payload": nested}).message_type is MessageType.QUERY
    plain = {"message_type": "query", "payload": "text"}
    assert read({"from_service": "a", "payload": plain}).message_type is MessageType.EVENT


@pytest.mark.parametrize("me", [10, "resizer"])
def test_who_is_here_changes_nothing_in_what_is_read(me: DropletId) -> None:
    body = json.dumps(flat(target=77)).encode()
    assert decode_message(body, me=me, ambient=seeded(1, NOW.timestamp)).target == 77


KEYS = [
    *("trace_id", "source", "target", "message_type", "payload", "timestamp", "type", "from_service", "to_service"),
    *("metadata", "message_id", "timeout_ms", "deadline", "attempt", "hops", "priority", "reply_to", "signature"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["command", "event", TRACE, WHEN, "droplet-14", "14", '{"type":"x"}', "[1]", "{"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from([*KEYS, "source_droplet_id", "data"]), st.text(max_size=5)), inner),
    ),
    max_leaves=20,
)


@steady
@given(st.one_of(st.dictionaries(st.sampled_from(KEYS), JSON), JSON))
def test_any_json_is_read_or_refused(envelope: object) -> None:
    with suppress(InvalidRequest, Forbidden):
        message = read(envelope)
        assert message.timestamp.tzinfo is UTC
        assert isinstance(message.message_type, MessageType)


@steady
@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(b"\xff" + body)
    with suppress(InvalidRequest):
        read(body)
