"""Ids in every spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc.errors import InvalidRequest
from udc.wire.ids import MAX_NAME, MAX_NUMBER, canonical_id, numbered, same_droplet


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        (14, 14),
        ("14", 14),
        (" 14 ", 14),
        ("014", 14),
        ("droplet-14", 14),
        ("drop14.example.org", 14),
        ("drop14", 14),
        ("droplet-14.example.org", 14),
        ("worker-2", "worker-2"),
        ("droplet-14x", "droplet-14x"),
        ("droplet-", "droplet-"),
        ("Droplet-14", "Droplet-14"),
        ("dropbox", "dropbox"),
        ("xdrop14", "xdrop14"),
        ("-14", "-14"),
        ("14.5", "14.5"),
        ("١٤", "١٤"),
        ("Résumé", "Résumé"),
        (14.0, 14),  # JSON knows one kind of number
        (MAX_NUMBER, MAX_NUMBER),
        ("x" * MAX_NAME, "x" * MAX_NAME),
    ],
)
def test_a_spelling_has_one_canonical_id(spelling: object, canonical: object) -> None:
    found = canonical_id(spelling)
    assert found == canonical
    assert type(found) is type(canonical)


@pytest.mark.parametrize(
    "rubbish",
    [
        True,
        False,
        None,
        0,
        -1,
        MAX_NUMBER + 1,
        14.5,
        0.0,
        1e300,
        "",
        "  ",
        "0",
        "droplet-0",
        "9" * 20,
        "9" * 5000,
        [14],
        {"id": 14},
        "a\nb",
        "a\x00",
        "x" * (MAX_NAME + 1),
        b"14",
    ],
)
def test_what_is_no_id_is_refused_and_the_field_named(rubbish: object) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        canonical_id(rubbish, field="target")
    assert refusal.value.details == {"field": "target"}
    assert refusal.value.message.startswith("target: ")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (14, "14", True),
        (14, "droplet-14", True),
        ("drop14.example.org", "14", True),
        ("billing", "billing", True),
        (14, 15, False),
        (1, True, False),
        (None, None, False),
        ("billing", "Billing", False),
    ],
)
def test_same_droplet(a: object, b: object, same: bool) -> None:
    assert same_droplet(a, b) is same


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("drop14.example.org", 14),
        ("droplet-3", 3),
        ("14", None),
        ("www.example.org", None),
        (None, None),
        (14, None),
        ("drop0", None),
        ("drop" + "9" * 30, None),
        ("drop" + "9" * 300, None),
    ],
)
def test_numbered_never_raises(text: object, number: int | None) -> None:
    assert numbered(text) == number


@pytest.mark.parametrize("boolean", [True, False])
def test_a_boolean_is_told_what_an_id_is(boolean: bool) -> None:
    with pytest.raises(InvalidRequest, match="an integer from 1, or a name"):
        canonical_id(boolean)


@steady
@given(st.one_of(st.integers(1, MAX_NUMBER), st.text()))
def test_normalising_twice_is_normalising_once(value: int | str) -> None:
    try:
        once = canonical_id(value)
    except InvalidRequest:
        return
    assert canonical_id(once) == once
    assert canonical_id(str(once)) == once
