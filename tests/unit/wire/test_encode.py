"""Messages written: canonical to our own kind, the superset to anyone else."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc._ids import seeded
from udc.messages import Message, MessageType, Peer, Priority
from udc.wire import trace
from udc.wire.envelope import compose, decode_message, encode_message

TRACE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"
WHEN = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
OURS = Peer(endpoint="http://ours", id=4, name="Billing", ours=True)
FOREIGN = Peer(endpoint="http://foreign", id=4, name="Billing")


def message(kind: MessageType = MessageType.COMMAND, **more: Any) -> Message:
    fields: dict[str, Any] = {"trace_id": TRACE, "timestamp": WHEN, "source": 77, "target": 4, **more}
    return compose(kind, fields.pop("action", "crop"), fields.pop("data", {"width": 5}), **fields)


def body_of(message: Message, peer: Peer, signature: str | None = None) -> dict[str, Any]:
    body, _ = encode_message(message, peer=peer, signature=signature)
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (MessageType.EVENT, "event_type"),
        (MessageType.COMMAND, "type"),
        (MessageType.QUERY, "type"),
        (MessageType.STATUS, "type"),
    ],
)
def test_the_writing_rule(kind: MessageType, key: str) -> None:
    made = message(kind)
    assert made.payload == {key: "crop", "data": {"width": 5}}
    assert (made.action, made.data) == ("crop", {"width": 5})


@pytest.mark.parametrize(
    ("action", "data", "payload", "written", "read_action", "read_data"),
    [
        ("crop", None, None, {"type": "crop", "data": None}, "crop", None),
        (None, {"a": 1}, None, {"a": 1}, None, {"a": 1}),
        (None, {"type": "x", "a": 1}, None, {"type": "x", "a": 1}, "x", {"a": 1}),
        (None, [1], None, {"data": [1]}, None, [1]),
        (None, None, None, {"data": None}, None, None),
        ("", 5, None, {"data": 5}, None, 5),
        (None, None, {"type": "task_completed", "task_id": "t"}, None, "task_completed", {"task_id": "t"}),
        ("named", {"mine": 1}, {"type": "x", "b": 1}, None, "named", {"mine": 1}),
    ],
)
def test_compose(
    action: str | None, data: object, payload: Any, written: Any, read_action: str | None, read_data: object
) -> None:
    made = compose(MessageType.COMMAND, action, data, payload=payload, trace_id=TRACE, timestamp=WHEN)
    assert made.payload == (payload if written is None else written)
    assert (made.action, made.data) == (read_action, read_data)


@pytest.mark.parametrize("kind", [MessageType.RESPONSE, MessageType.ERROR])
def test_responses_and_errors_are_never_written(kind: MessageType) -> None:
    with pytest.raises(ValueError, match="read, never written"):
        message(kind)
    with pytest.raises(ValueError, match="read, never written"):
        encode_message(replace(message(), message_type=kind), peer=OURS)


def test_canonical_to_our_own_kind() -> None:
    full = message(
        message_id="m-1",
        correlation_id="c-1",
        timeout_ms=5000,
        deadline=WHEN + timedelta(minutes=1),
        attempt=2,
        hops=3,
        on_behalf_of=9,
        priority=Priority.HIGH,
        reply_to="queue",
    )
    assert body_of(full, OURS, signature="bearer") == {
        "trace_id": TRACE,
        "source": 77,
        "target": 4,
        "message_type": "command",
        "payload": {"type": "crop", "data": {"width": 5}},
        "timestamp": "2025-01-02T03:04:05.678Z",
        "message_id": "m-1",
        "correlation_id": "c-1",
        "timeout_ms": 5000,
        "deadline": "2025-01-02T03:05:05.678Z",
        "attempt": 2,
        "hops": 3,
        "on_behalf_of": 9,
        "priority": "high",
        "reply_to": "queue",
        "udc_version": "1.0",
    }


def test_what_is_not_set_is_not_written() -> None:
    assert set(body_of(message(source=None), OURS)) == {
        *("trace_id", "target", "message_type", "payload", "timestamp", "attempt", "hops", "udc_version")
    }


@pytest.mark.parametrize(("peer", "target"), [(OURS, 4), (FOREIGN, "4")])
def test_a_target_not_named_is_the_peer(peer: Peer, target: object) -> None:
    assert body_of(message(target=None), peer)["target"] == target


def test_the_superset_to_anyone_else() -> None:
    assert body_of(message(message_id="m-1", timeout_ms=5000), FOREIGN) == {
        "udc_version": "1.0",
        "trace_id": TRACE,
        "source": "77",
        "target": "4",
        "message_type": "command",
        "type": "command",
        "from_service": "77",
        "to_service": "Billing",
        "payload": {"type": "crop", "data": {"width": 5}},
        "timestamp": "2025-01-02T03:04:05.678Z",
        "signature": "unsigned",
    }


@pytest.mark.parametrize(
    ("peer", "to_service", "target"),
    [
        (FOREIGN, "Billing", "4"),
        (replace(FOREIGN, name=""), "4", "4"),
        (replace(FOREIGN, id=None), "Billing", None),
        (replace(FOREIGN, id=None, name=""), None, None),
    ],
)
def test_whom_the_superset_is_for(peer: Peer, to_service: str | None, target: str | None) -> None:
    body = body_of(message(target=None, source=None), peer)
    assert (body.get("to_service"), body.get("target")) == (to_service, target)
    assert "source" not in body
    assert "from_service" not in body


@pytest.mark.parametrize("kind", [MessageType.STATUS, MessageType.EVENT])
def test_a_status_goes_out_as_an_event_to_foreign_peers_only(kind: MessageType) -> None:
    foreign = body_of(message(kind), FOREIGN)
    assert (foreign["message_type"], foreign["type"]) == ("event", "event")
    assert body_of(message(kind), OURS)["message_type"] == kind


@pytest.mark.parametrize(
    ("wants", "given", "written"),
    [(True, "bearer", "bearer"), (True, None, "unsigned"), (False, "bearer", "unsigned"), (False, None, "unsigned")],
)
def test_the_bearer_goes_only_to_peers_that_want_it(wants: bool, given: str | None, written: str) -> None:
    assert body_of(message(), replace(FOREIGN, wants_signature=wants), given)["signature"] == written
    assert "signature" not in body_of(message(), replace(OURS, wants_signature=wants), given)


@pytest.mark.parametrize("peer", [OURS, FOREIGN])
def test_a_foreign_trace_id_goes_on_as_a_uuid(peer: Peer) -> None:
    body, headers = encode_message(message(trace_id="job-7"), peer=peer)
    assert json.loads(body)["trace_id"] == dict(headers)["X-Trace-Id"] == trace.as_uuid("job-7")
    assert trace.trace_id_from(dict(headers)["traceparent"]) == trace.as_uuid("job-7")


@pytest.mark.parametrize(
    ("source", "header"), [(77, "77"), ("Résumé", "R%C3%A9sum%C3%A9"), ("a\r\nX: y", "a%0D%0AX%3A%20y"), (None, None)]
)
def test_headers(source: Any, header: str | None) -> None:
    _, headers = encode_message(message(source=source), peer=OURS)
    assert dict(headers)["X-Trace-Id"] == TRACE
    assert trace.trace_id_from(dict(headers)["traceparent"]) == TRACE
    assert dict(headers).get("X-Source") == header


def test_each_attempt_is_a_span_of_its_own() -> None:
    spans = {
        dict(encode_message(message(message_id=name, attempt=attempt), peer=OURS)[1])["traceparent"]
        for name in ("m-1", "m-2")
        for attempt in (1, 2)
    }
    assert len(spans) == 4


class Job(pydantic.BaseModel):
    width: int


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("data", "written"),
    [(Job(width=5), {"width": 5}), (Point(1), {"x": 1}), (WHEN, "2025-01-02T03:04:05.678000Z"), ({1: {2}}, {"1": [2]})],
)
def test_data_may_be_anything_that_can_be_json(data: object, written: object) -> None:
    assert body_of(message(data=data), OURS)["payload"]["data"] == written


@pytest.mark.parametrize("peer", [OURS, FOREIGN])
def test_data_that_cannot_be_json_names_its_type(peer: Peer) -> None:
    with pytest.raises(TypeError, match="class 'object'"):
        encode_message(message(data={"deep": [object()]}), peer=peer)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
IDS = st.integers(1, 2**63 - 1) | st.sampled_from(["billing", "worker-2", "Résumé"])
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
NAMES = st.text(min_size=1, max_size=128)
MESSAGES = st.builds(
    compose,
    st.sampled_from([MessageType.STATUS, MessageType.EVENT, MessageType.COMMAND, MessageType.QUERY]),
    st.none() | NAMES,
    JSON,
    trace_id=st.uuids().map(str),
    timestamp=MOMENTS,
    source=st.none() | IDS,
    target=IDS,
    message_id=st.none() | NAMES,
    correlation_id=st.none() | NAMES,
    timeout_ms=st.none() | st.integers(0, 2**53 - 1),
    deadline=st.none() | MOMENTS,
    attempt=st.integers(1, 1000),
    hops=st.integers(0, 100),
    on_behalf_of=st.none() | IDS,
    priority=st.sampled_from(Priority),
    reply_to=st.none() | NAMES,
)


@steady
@given(MESSAGES)
def test_what_is_written_canonically_is_read_as_it_was(sent: Message) -> None:
    body, _ = encode_message(sent, peer=OURS)
    came = decode_message(body, me=1, ambient=seeded(1, lambda: 0.0))
    if came.payload != sent.payload:  # a payload that looks like an envelope is unwrapped: the known mistake
        assert set(sent.payload) >= {"message_type", "payload"}
        return
    assert replace(came, size=0) == sent


@steady
@given(MESSAGES)
def test_our_own_superset_is_read_back_with_the_same_meaning(sent: Message) -> None:
    body, _ = encode_message(sent, peer=FOREIGN)
    came = decode_message(body, me=1, ambient=seeded(1, lambda: 0.0))
    assert (came.trace_id, came.timestamp, came.source, came.target) == (
        *(sent.trace_id, sent.timestamp, sent.source, sent.target),
    )
