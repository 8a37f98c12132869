"""What writes texts and numbers writes them as pydantic does, whether msgspec is installed or not."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic_core import to_json

from udc.wire import _scalars
from udc.wire._scalars import write_scalar

EVERY_CHARACTER = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)


@pytest.mark.parametrize(
    "value", ["", "Ada", 'a "b" \\ /', EVERY_CHARACTER, 0, -1, 2**53, 2**70, -(2**70), True, False]
)
def test_byte_for_byte_the_same(value: Any) -> None:
    assert write_scalar(value) == to_json(value)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_what_utf_8_cannot_hold_is_refused_either_way(text: str) -> None:
    for write in (write_scalar, to_json):
        with pytest.raises(ValueError, match="utf-8"):
            write(text)


def test_pydantic_does_it_where_msgspec_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_scalar is not to_json
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert _scalars._quickest() is to_json
