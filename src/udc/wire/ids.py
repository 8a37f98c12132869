"""Droplet ids in every spelling: `14`, `"14"`, `"droplet-14"`, `"drop14.example.org"` and plain names."""

from __future__ import annotations

import re
from typing import Final

from udc._types import DropletId
from udc.errors import InvalidRequest

MAX_NUMBER: Final = 2**63 - 1
"""The largest id: what databases and other languages hold."""

MAX_NAME: Final = 255
"""The longest name in characters: that of a host."""

_NUMBERED = re.compile(r"(?:droplet-|drop)([0-9]+)(?:\.|\Z)")


def canonical_id(value: object, *, field: str = "id") -> DropletId:
    """The id as an int when one can be known, else the name (contract section 1).

    Raises:
        InvalidRequest: a boolean, a number below 1, an empty or unprintable name …; names `field`.
    """
    if type(value) is int and 0 < value <= MAX_NUMBER:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows one kind of number: 14.0 is 14
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidRequest.field(field, "must be a droplet id: an integer from 1, or a name")
    if isinstance(value, int):
        if 0 < value <= MAX_NUMBER:
            return value
        raise InvalidRequest.field(field, f"must be between 1 and {MAX_NUMBER}")
    return _from_text(value.strip(), field)


def _from_text(text: str, field: str) -> DropletId:
    # Names end up in headers and log lines: nothing unprintable may come that far.
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise InvalidRequest.field(field, f"must be a droplet id: 1 to {MAX_NAME} printable characters")
    numbered = _NUMBERED.match(text)
    digits = numbered[1] if numbered else text
    if not (digits.isascii() and digits.isdigit()):
        return text
    number = int(digits)
    if not 0 < number <= MAX_NUMBER:
        raise InvalidRequest.field(field, f"must be between 1 and {MAX_NUMBER}")
    return number


def numbered(text: object) -> int | None:
    """The number in a spelling such as `droplet-14` or `drop14.example.org`, else `None`. Never raises."""
    match = _NUMBERED.match(text) if isinstance(text, str) and len(text) <= MAX_NAME else None
    number = int(match[1]) if match else 0
    return number if 0 < number <= MAX_NUMBER else None


def same_droplet(a: object, b: object) -> bool:
    """Whether both name the same droplet, after normalisation; what is no id is never the same as anything."""
    try:
        return canonical_id(a) == canonical_id(b)
    except InvalidRequest:
        return False
