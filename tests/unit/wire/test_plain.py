"""What is read in one step is read as the long way reads it, and the long way is gone for everything else."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from importlib.abc import MetaPathFinder
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from tests.unit.wire.test_decode import FLAT, NOW
from udc import wire
from udc._ids import seeded
from udc.errors import InvalidRequest
from udc.messages import Message, MessageType, Priority
from udc.wire import _by_msgspec, _by_pydantic, _scalars, envelope
from udc.wire.plain import Read, envelope_reader, message_of, reader_with

FULL: dict[str, Any] = {
    **FLAT,
    "message_id": "m-1",
    "correlation_id": "c-1",
    "timeout_ms": 2000,
    "deadline": "2025-01-02T03:04:06Z",
    "attempt": 2,
    "hops": 3,
    "on_behalf_of": 9,
    "priority": "high",
    "reply_to": "http://x",
    "udc_version": "1.0",
    "signature": "unsigned",
}


READERS = [reader_with(_by_msgspec.reader(), _by_msgspec.REFUSALS), reader_with(_by_pydantic.reader())]


def message(read: Read, body: bytes) -> Message:
    return message_of(read, len(body), read[0].source, read[0].target)


def read_plain(body: bytes) -> Message | None:
    """What both readers make of it, which is the same."""
    found = [read(body) for read in READERS]
    messages = [None if each is None else message(each, body) for each in found]
    assert messages[0] == messages[1]
    return messages[0]


def long_way(body: bytes) -> Message:
    return envelope._read_any(body, 10, seeded(1, NOW.timestamp), None)


@pytest.mark.parametrize("envelope", [FLAT, FULL], ids=["least", "all"])
def test_our_own_kinds_messages_are_read_in_one_step(envelope: dict[str, Any]) -> None:
    body = json.dumps(envelope).encode()
    found = read_plain(body)
    assert found is not None
    assert found == long_way(body)
    assert type(found) is Message
    with pytest.raises(AttributeError):
        found.hops = 0  # type: ignore[misc]  # frozen, as any other


NULLS = ["source", "target", "message_id", "correlation_id", "timeout_ms", "deadline", "on_behalf_of", "reply_to"]


@pytest.mark.parametrize("key", [*NULLS, "signature", "udc_version"])
def test_null_is_as_good_as_left_out(key: str) -> None:
    body = json.dumps({**FULL, key: None}).encode()
    found = read_plain(body)
    assert found is not None
    assert found == long_way(body)
    assert getattr(found, key, None) is None


def test_every_field_is_there() -> None:
    found = read_plain(json.dumps(FULL).encode())
    assert found is not None
    assert (found.message_type, found.priority) == (MessageType.COMMAND, Priority.HIGH)
    assert (found.attempt, found.hops, found.timeout_ms, found.on_behalf_of) == (2, 3, 2000, 9)
    assert found.deadline == datetime(2025, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert (found.action, found.data) == ("crop", {"width": 5})
    assert found.size == len(json.dumps(FULL))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "command"},
        {"from_service": "x"},
        {"metadata": {"source_droplet_id": 4}},
        {"made_up": 1},
        {"source": "14"},
        {"source": True},
        {"source": 0},
        {"target": 2**63},
        {"message_type": "task"},
        {"message_type": "COMMAND"},
        {"payload": []},
        {"payload": {"message_type": "x", "payload": {}}},
        {"payload": {"deep": [{"big": float("inf")}]}},
        {"trace_id": "job-7"},
        {"trace_id": FLAT["trace_id"] + "\n"},
        {"timestamp": 5},
        {"timestamp": "2025-01-02"},
        {"timestamp": "2025-01-02T03:04:05+02:00"},
        {"deadline": "2025-01-02T03:04:05"},
        {"deadline": "soon"},
        {"message_id": ""},
        {"message_id": "x" * 129},
        {"timeout_ms": -1},
        {"timeout_ms": 1.0},
        {"timeout_ms": True},
        {"attempt": 0},
        {"hops": 2**53},
        {"priority": "urgent"},
        {"signature": 5},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_the_unusual_goes_the_long_way(changes: dict[str, Any]) -> None:
    body = json.dumps({**FULL, **changes}).replace("Infinity", "1e999").encode()
    assert read_plain(body) is None


@pytest.mark.parametrize("key", ["message_type", "payload", "trace_id", "timestamp"])
def test_so_does_what_lacks_something(key: str) -> None:
    assert read_plain(json.dumps({name: value for name, value in FLAT.items() if name != key}).encode()) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":NaN}', b"[" * 300, b"[" * 100_000])
def test_so_does_what_is_no_message(body: bytes) -> None:
    assert read_plain(body) is None


def with_data(text: str) -> bytes:
    """A message with this text where its data stands."""
    return json.dumps({**FLAT, "payload": {"type": "x", "data": 0}}).replace('"data": 0', f'"data": {text}').encode()


@pytest.mark.parametrize("depth", [1, 100, 180, 190, 200, 250, 500, 2_000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_nothing_is_read_that_the_long_way_finds_too_deep(depth: int, brackets: str) -> None:
    body = with_data(brackets[:-1] * depth + "1" + brackets[-1] * depth)
    try:
        long = long_way(body)
    except InvalidRequest:
        long = None
    for read in READERS:
        found = read(body)
        assert found is None or message(found, body) == long
    if depth not in (180, 190, 200):  # where they begin to differ
        assert (read_plain(body) is not None) == (depth < 180)


NUMBERS = [
    "19709764613395712363",
    "1e999",
    "-1e999",
    "1e-999",
    "-0",
    "-0.0",
    "1" * 40,
    "1" * 400,
    "1" * 5_000,
    "01",
    "1.",
    "NaN",
]
TEXTS = [r'"\ud800"', r'"\ud83d\ude00"', r'"\u0000"', '"\x01"', '"\x7f"', '"\u2028"', r'"\x"', "'a'"]


@pytest.mark.parametrize("text", [*NUMBERS, *TEXTS, '"a" "b"', "[1,]", '{"a":1,}', "// x\n1", "true", "True"])
def test_odd_json_is_read_the_same_or_not_at_all(text: str) -> None:
    body = with_data(text)
    for read in READERS:
        if (found := read(body)) is not None:
            assert message(found, body) == long_way(body)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b" \n\t", b"\x00"])
def test_so_is_what_stands_around_it(body: bytes) -> None:
    for whole in (body + json.dumps(FLAT).encode(), json.dumps(FLAT).encode() + body):
        for read in READERS:
            if (found := read(whole)) is not None:
                assert message(found, whole) == long_way(whole)


def test_a_reader_may_refuse_in_its_own_way() -> None:
    class Refused(Exception):
        """As msgspec's was none of Python's until version 0.21."""

    def read(_: bytes) -> Any:
        raise Refused

    assert reader_with(read, (Refused,))(b"{}") is None
    assert msgspec.MsgspecError in _by_msgspec.REFUSALS


def test_msgspec_reads_where_it_is_installed_and_else_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(FULL).encode()
    installed = envelope_reader.__wrapped__()(body)
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.delitem(sys.modules, "udc.wire._by_msgspec")
    monkeypatch.delattr(wire, "_by_msgspec")
    bare = envelope_reader.__wrapped__()(body)
    assert installed is not None
    assert bare is not None
    assert [type(each[0]).__module__ for each in (installed, bare)] == ["udc.wire._by_msgspec", "udc.wire._by_pydantic"]
    assert message(installed, body) == message(bare, body)


def test_a_msgspec_that_makes_other_numbers_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgspec.json, "decode", lambda body: int(body) % 2**64)  # as 0.18 does
    monkeypatch.delitem(sys.modules, "udc.wire._by_msgspec")
    monkeypatch.delattr(wire, "_by_msgspec")
    found = envelope_reader.__wrapped__()(json.dumps(FULL).encode())
    assert found is not None
    assert type(found[0]).__module__ == "udc.wire._by_pydantic"


def test_a_msgspec_that_cannot_be_loaded_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "msgspec":
                raise ImportError("undefined symbol: PyUnicode_New")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "msgspec")
    monkeypatch.delitem(sys.modules, "udc.wire._by_msgspec")
    monkeypatch.delattr(wire, "_by_msgspec")
    with caplog.at_level(logging.INFO, logger="udc.wire"):
        found = envelope_reader.__wrapped__()(json.dumps(FULL).encode())
    assert found is not None
    assert type(found[0]).__module__ == "udc.wire._by_pydantic"
    assert _scalars._quickest() is to_json
    assert "undefined symbol" in caplog.text  # who wonders why it is slower finds the reason


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("key", ["payload", "source", "timestamp", "udc_version"])
def test_what_is_no_json_is_not_read_where_another_of_its_key_comes_after(number: str, key: str) -> None:
    for odd in (number, f"[{number}]", f'{{"a":{number},"a":1}}'):
        body = json.dumps(FULL).replace("{", f'{{"{key}": {odd}, ', 1).encode()
        assert read_plain(body) is None
        with pytest.raises(InvalidRequest):
            long_way(body)


def test_of_duplicate_keys_the_last_wins_either_way() -> None:
    body = json.dumps(FLAT)[:-1] + ', "source": 15, "hops": 1, "hops": 2, "payload": {"type": "a", "type": "b"}}'
    found = read_plain(body.encode())
    assert found is not None
    assert found == long_way(body.encode())
    assert (found.source, found.hops, found.action) == (15, 2, "b")


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["query", "high", "14", "droplet-14", FLAT["trace_id"], FLAT["timestamp"]]),
    st.dictionaries(st.sampled_from(["action", "type", "data", "payload", "message_type"]), st.integers(), max_size=3),
    st.lists(st.floats(), max_size=2),
)


@given(st.dictionaries(st.sampled_from([*FULL, "type", "metadata", "from_service", "made_up"]), ODD, max_size=3))
def test_both_ways_read_the_same(changes: dict[str, Any]) -> None:
    body = json.dumps({**FULL, **changes}).encode()
    found = read_plain(body)
    if found is not None:
        assert found == long_way(body)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
NAMES = st.text(max_size=3)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)))
def test_both_ways_read_the_same_payload(value: Any) -> None:
    body = json.dumps({**FLAT, "payload": {"type": "x", "data": value}}).encode()
    found = read_plain(body)
    if found is not None:
        assert found == long_way(body)
