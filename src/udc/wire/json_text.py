"""JSON in and out: parsed once and within bounds, written from whatever pydantic can make JSON."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from udc.errors import InvalidRequest


def parse(body: bytes | str, *, field: str = "body") -> Any:  # Any: a JSON value
    """The JSON value in `body`. Of duplicate keys the last wins; nesting beyond some 200 levels is refused.

    Raises:
        InvalidRequest: not JSON in UTF-8, nested too deep, or a number that no float or int holds; names `field`.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        # The parser's text quotes nothing of ours, but it is nobody's contract either: it stays inside.
        raise InvalidRequest.field(field, "is not valid JSON", hint="send one JSON value in UTF-8") from None
    if overflows(value):
        raise InvalidRequest.field(field, "holds a number that is too large")
    return value


def parse_object(body: bytes | str, *, field: str = "body") -> dict[str, Any]:  # Any: JSON values
    """The JSON object in `body`.

    Raises:
        InvalidRequest: not JSON, or not an object; names `field`.
    """
    value = parse(body, field=field)
    if type(value) is not dict:
        raise InvalidRequest.field(field, "must be a JSON object")
    return value


def unfold(value: Any) -> Any:  # Any: a JSON value in and out
    """What a JSON object or array written as a *string* holds; anything else as it is (a habit of the field)."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parse(value)
        except InvalidRequest:
            return value
    return value


def write(value: Any) -> bytes:  # Any: whatever can be made JSON
    """JSON bytes of plain values, pydantic models, dataclasses, times, sets, enums …; NaN and infinity become null.

    Raises:
        TypeError: something in it cannot be made JSON; names its type.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"cannot make JSON of this {type(value).__name__}: {error}") from error


_HARMLESS = frozenset({str, int, bool, type(None)})


def overflows(value: Any) -> bool:  # Any: a JSON value
    """Whether a number in it became infinite, or is none."""
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        return kind is float and not isfinite(value)
    for item in value:  # noqa: SIM110 - a generator would cost more, and this runs with every message
        if type(item) not in _HARMLESS and overflows(item):
            return True
    return False


def as_mapping(value: Any) -> Mapping[str, Any]:  # Any: a JSON value
    """The object that `value` is or holds as a string, else an empty one."""
    value = unfold(value)
    return value if isinstance(value, dict) else {}


class Prewritten(dict[str, Any]):  # Any: JSON values
    """A JSON object with its text made once, for the many bodies that hold it. Do not change it.

    Raises:
        TypeError: something in it cannot be made JSON.
    """

    __slots__ = ("text",)

    def __init__(self, value: Mapping[str, Any]) -> None:  # Any: likewise
        super().__init__(value)
        self.text: bytes = write(value)


def write_with(value: dict[str, Any], name: str, text: bytes) -> bytes:  # Any: likewise
    """JSON bytes of an object that is not empty, with one more member whose JSON text is there already."""
    return b"%s,%s:%s}" % (write(value)[:-1], write(name), text)
