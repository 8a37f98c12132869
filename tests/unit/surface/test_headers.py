"""Request headers: what is read lazily is read as what is read at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udc.surface.headers import HeaderNames

PLAIN = [(b"host", b"x"), (b"x-a", b"\xe9"), (b"content-type", b"application/json")]


def test_the_second_request_with_known_names_is_read_lazily() -> None:
    names = HeaderNames()
    first, second = names.read(PLAIN), names.read(PLAIN)
    assert type(first) is dict
    assert type(second) is not dict
    assert dict(second) == first == {"host": "x", "x-a": "\xe9", "content-type": "application/json"}
    assert second == first
    assert (second["x-a"], second.get("nothing"), second.get("nothing", "else"), len(second)) == (
        "\xe9",
        None,
        "else",
        3,
    )
    assert "x-a" in second
    assert "\u20ac" not in second
    assert repr(second) == repr(first)
    with pytest.raises(KeyError):
        second["nothing"]


def test_repeated_and_capital_names_are_joined_though_others_were_known() -> None:
    names = HeaderNames()
    names.read(PLAIN)
    assert names.read([(b"host", b"x"), (b"host", b"y")]) == {"host": "x, y"}
    assert names.read([(b"X-A", b"1"), (b"x-a", b"2")]) == {"x-a": "1, 2"}
    assert names.read([(b"Cookie", b"a=1"), (b"cookie", b"b=2")]) == {"cookie": "a=1; b=2"}


def test_the_names_that_are_remembered_are_bounded() -> None:
    names = HeaderNames()
    for number in range(1000):
        names.read([(f"x-{number}".encode(), b"")])
    assert len(names._known) == 256
    assert names.read([(b"x-999", b"v")]) == {"x-999": "v"}


RAW = st.lists(st.tuples(st.sampled_from([b"a", b"A", b"b", b"cookie"]), st.binary(max_size=3)), max_size=4)


@given(RAW, RAW)
def test_what_was_known_before_changes_nothing(
    before: list[tuple[bytes, bytes]], raw: list[tuple[bytes, bytes]]
) -> None:
    names = HeaderNames()
    names.read(before)
    names.read(raw)
    assert dict(names.read(raw)) == HeaderNames().read(raw)
