"""`key=value`: JSON if it can be read as such, else text."""

from __future__ import annotations

from typing import Any

import pytest

from udc.cli.faults import Usage
from udc.cli.values import data_of


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("k=3", 3),
        ("k=-1.5e3", -1500.0),
        ("k=true", True),
        ("k=null", None),
        ("k=[1, 2]", [1, 2]),
        ('k={"a": 1}', {"a": 1}),
        ('k="3"', "3"),
        ("k=ada", "ada"),
        ("k=", ""),
        ("k=a=b", "a=b"),
        ("k=two words", "two words"),
        ("k=http://x:1/?a=b", "http://x:1/?a=b"),
        ("k=NaN", "NaN"),
        ("k=-Infinity", "-Infinity"),
        ("k=007", "007"),
        ("k={broken", "{broken"),
        ("k=" + "[" * 100_000, "[" * 100_000),
        ("k:=3", 3),
        ("k:=[true]", [True]),
    ],
)
def test_one_pair(pair: str, value: Any) -> None:
    found = data_of([pair], None)

    assert found == {"k": value}
    assert type(found["k"]) is type(value)


def test_pairs_make_one_object_and_the_last_counts() -> None:
    assert data_of(["a=1", "b=x", "a=2"], None) == {"a": 2, "b": "x"}
    assert data_of([], None) == {}


def test_the_body_is_any_json() -> None:
    assert data_of([], "[1]") == [1]
    assert data_of([], '"text"') == "text"


@pytest.mark.parametrize(
    ("pairs", "body", "words"),
    [
        (["who"], None, "'who' is no key=value"),
        (["=x"], None, "'=x' is no key=value"),
        (["n:=ada"], None, "n: 'ada' is no JSON"),
        (["n:=NaN"], None, "NaN is no JSON"),
        ([], "ada", "--body: 'ada' is no JSON"),
        (["a=1"], "{}", "not both"),
    ],
)
def test_what_is_neither_is_refused(pairs: list[str], body: str | None, words: str) -> None:
    with pytest.raises(Usage) as refused:
        data_of(pairs, body)

    assert words in str(refused.value)
