"""Server-sent events: every way to cut them into parts gives the same events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udc.errors import InvalidRequest
from udc.wire import server_sent
from udc.wire.server_sent import Event, EventReader

TEXT = (
    ": a comment\n\n"
    'event: task\nid: 7\ndata: {"a":\ndata: 1}\n\n'
    "data:plain\r\n\r\n"
    "retry: 5\rid: \x00\rdata: é\r\r"
    "event: reset\n\n"
    "id: 9\n\n"
    "data: never finished"
).encode()
EVENTS = [Event("task", '{"a":\n1}', "7"), Event("message", "plain"), Event("message", "é"), Event("reset", "")]


@given(st.lists(st.integers(0, len(TEXT)), max_size=6))
def test_wherever_it_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    reader = EventReader()
    found = [event for begin, end in itertools.pairwise(edges) for event in reader.feed(TEXT[begin:end])]
    assert found == EVENTS


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent, "MAX_EVENT_BYTES", 100)
    reader = EventReader()
    assert len(reader.feed(b"data: 1\n\n" * 50)) == 50
    reader.feed(b"data: 2")
    with pytest.raises(InvalidRequest):
        reader.feed(b"x" * 100)
