"""The index against a plain dictionary, and what a record says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.discovery.kit import record
from udc.discovery._index import Difference, Index
from udc.discovery._known import read
from udc.errors import InvalidRequest

rows = st.builds(
    lambda number, name, able: record(number, name, capabilities=able),
    st.integers(1, 6),
    st.sampled_from(["alpha", "Alpha", "beta", "gamma"]),
    st.lists(st.sampled_from(["resize", "bill", "draw"]), max_size=2, unique=True),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "replace"]), st.lists(rows, max_size=5, unique_by=lambda row: row["id"])
    ),
    max_size=12,
)


def words(model: dict[int, dict[str, Any]], word: str) -> set[int]:
    exact = {key for key, row in model.items() if row["name"] == word}
    return exact or {key for key, row in model.items() if row["name"].casefold() == word.casefold()}


@given(steps)
def test_it_is_a_dictionary_with_three_ways_in(taken: list[tuple[str, list[dict[str, Any]]]]) -> None:
    index, model = Index(), dict[int, dict[str, Any]]()
    for what, given_rows in taken:
        before = dict(model)
        if what == "replace":
            model.clear()
        for row in given_rows:
            if what == "remove":
                model.pop(row["id"], None)
            else:
                model[row["id"]] = row
        told: Difference = getattr(index, what)(given_rows)
        assert set(told.added) == model.keys() - before.keys()
        assert set(told.removed) == before.keys() - model.keys()
        assert set(told.changed) == {key for key in before.keys() & model.keys() if before[key] != model[key]}
        assert bool(told) == (before != model)
    assert {known.key: known.record for known in index} == model
    assert len(index) == len(model)
    for word in ("alpha", "Alpha", "ALPHA", "beta", "none"):
        assert set(index.named(word)) == words(model, word)
    for able in ("resize", "bill", "draw"):
        assert set(index.offering(able)) == {key for key, row in model.items() if able in row["capabilities"]}
    assert index._names._members.keys() == {row["name"] for row in model.values()}
    assert index._able._members.keys() == {able for row in model.values() for able in row["capabilities"]}


def test_a_record_that_cannot_be_read_leaves_what_was_known() -> None:
    index = Index()
    index.put([record(14, "billing"), record(15, "printer")])
    told = index.replace([{"id": 14, "name": "billing", "endpoint": "ftp://x"}, {"endpoint": "http://nobody"}])
    assert told == Difference(removed=(15,))
    assert [known.peer.endpoint for known in index] == ["http://d14"]
    assert not index.remove([{"endpoint": "http://nobody"}])


def test_one_that_is_known_by_name_only() -> None:
    index = Index()
    index.put([{"service": "atlas", "url": "http://atlas:1"}])
    (known,) = index
    assert (known.key, known.peer.endpoint, known.peer.ours) == ("atlas", "http://atlas:1", False)
    assert index.named("ATLAS") == ("atlas",)


def states(row: dict[str, Any]) -> Iterable[tuple[str, str | None, str]]:
    return [(each.peer.endpoint, each.peer.instance_id, each.state) for each in read(row).instances]


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([], [("http://d14", None, "ready")]),
        ("rubbish", [("http://d14", None, "ready")]),
        ([7, {"endpoint": "ftp://x"}], [("http://d14", None, "ready")]),
        ([{"instance_id": "a", "state": "suspect"}], [("http://d14", None, "suspect")]),
        (
            [
                {"instance_id": "a", "endpoint": "http://a/", "state": "draining"},
                {"instance_id": "b", "endpoint": "http://b", "state": "new word"},
                {"instance_id": None, "endpoint": "http://c"},
            ],
            [("http://a", "a", "draining"), ("http://b", "b", "ready"), ("http://c", None, "ready")],
        ),
    ],
)
def test_the_instances_of_a_record(instances: Any, expected: Any) -> None:
    assert states({**record(14), "instances": instances}) == expected


def test_a_record_without_anybody() -> None:
    with pytest.raises(InvalidRequest, match="id: is missing"):
        read({"endpoint": "http://x"})
