"""JSON within bounds."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from udc.errors import InvalidRequest
from udc.wire import json_text
from udc.wire.canonical import canonical_json, sha256_hex


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"NaN",
        b'{"a": Infinity}',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b"\xff\xfe",
        b"1 2",
        b"9" * 5000,
        b"'a'",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_refused_without_the_parsers_words(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        json_text.parse(body)
    assert refusal.value.message == "body: is not valid JSON"
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "body", [b"1e999", b'{"a": -1e999}', b'{"a": [1, "x", {"b": 1e400}]}', b"[1.5, [[1e999]]]", b"1" * 400 + b".0"]
)
def test_numbers_that_became_infinite_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="a number that is too large"):
        json_text.parse(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"[1.5, true, null]", [1.5, True, None]),
        (b'{"a":{"b":[{}]}}', {"a": {"b": [{}]}}),
        (b" 5 ", 5),
        ('"ü"', "ü"),
        (b"[" * 100 + b"]" * 100, None),
    ],
)
def test_parse(body: bytes, value: Any) -> None:
    found = json_text.parse(body)
    assert value is None or found == value


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"{}"'])
def test_an_object_is_asked_for(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^body: must be a JSON object"):
        json_text.parse_object(body)


@pytest.mark.parametrize(
    ("value", "unfolded"),
    [('{"a": 1}', {"a": 1}), (' ["a"]', ["a"]), ("{no", "{no"), ("5", "5"), ("", ""), (5, 5), (None, None), ([1], [1])],
)
def test_unfold(value: Any, unfolded: Any) -> None:
    assert json_text.unfold(value) == unfolded


@pytest.mark.parametrize(
    ("value", "found"), [('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1}), ("[1]", {}), ([1], {}), (None, {}), ("x", {})]
)
def test_as_mapping(value: Any, found: Any) -> None:
    assert json_text.as_mapping(value) == found


class Colour(enum.StrEnum):
    RED = "red"


class Model(pydantic.BaseModel):
    at: datetime


@dataclasses.dataclass
class Point:
    x: int


def test_models_dataclasses_times_sets_and_enums_can_be_written() -> None:
    at = datetime(2025, 1, 2, tzinfo=UTC)
    value = {"m": Model(at=at), "p": Point(1), "t": at, "s": {1}, "c": Colour.RED, "n": float("nan"), "u": (1, 2)}
    assert json_text.parse(json_text.write(value)) == {
        "m": {"at": "2025-01-02T00:00:00Z"},
        "p": {"x": 1},
        "t": "2025-01-02T00:00:00Z",
        "s": [1],
        "c": "red",
        "n": None,
        "u": [1, 2],
    }


@pytest.mark.parametrize("value", [object(), {"a": [object()]}])
def test_what_cannot_be_written_names_its_type(value: object) -> None:
    with pytest.raises(TypeError, match="class 'object'"):
        json_text.write(value)


@pytest.mark.parametrize("value", ["\ud800", b"\xff"])
def test_text_that_utf8_cannot_hold_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=f"of this {type(value).__name__}"):
        json_text.write(value)


def test_a_circle_is_a_type_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="Circular"):
        json_text.write(circle)


def test_canonical_json_is_sorted_tight_and_not_escaped() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"ü": "é", "c": True}}) == (
        '{"a":{"c":true,"ü":"é"},"b":[1,2.5,null]}'.encode()
    )


def test_the_hash_of_an_empty_proof() -> None:
    assert sha256_hex(canonical_json({})) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), ("\ud800", ValueError)])
def test_canonical_json_refuses_what_is_no_json(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        canonical_json(value)
