"""Which action a payload names, and the data that is left."""

from __future__ import annotations

from typing import Any

import pytest

from udc.wire.actions import ACTION_KEYS, choose, is_envelope


@pytest.mark.parametrize(
    ("payload", "action", "data"),
    [
        ({}, None, {}),
        *[({key: "crop", "data": 5}, "crop", 5) for key in ACTION_KEYS],
        *[({key: "crop", "width": 5}, "crop", {"width": 5}) for key in ACTION_KEYS],
        ({"type": "crop"}, "crop", {}),
        ({"type": "crop", "data": None}, "crop", None),
        ({"type": "crop", "task_data": {"a": 1}}, "crop", {"a": 1}),
        ({"type": "crop", "data": 1, "task_data": 2}, "crop", {"data": 1, "task_data": 2}),
        ({"type": "crop", "data": 1, "width": 2}, "crop", {"data": 1, "width": 2}),
        ({"type": "crop", "command": "turn", "data": 1}, "crop", 1),
        ({"type": "crop", "command": "turn", "width": 1}, "crop", {"command": "turn", "width": 1}),
        ({"action": "a", "type": "b", "task": "d"}, "a", {"type": "b", "task": "d"}),
        ({"task": "x", "query": "y"}, "y", {"task": "x"}),
        ({"data": [1]}, None, [1]),
        ({"width": 5}, None, {"width": 5}),
        ({"type": 5, "command": "crop"}, "crop", {"type": 5}),
        ({"type": "", "width": 1}, None, {"type": "", "width": 1}),
        ({"query": {"a": 1}}, None, {"query": {"a": 1}}),
        ({"task": True}, None, {"task": True}),
    ],
)
def test_choose(payload: dict[str, Any], action: str | None, data: Any) -> None:
    before = dict(payload)
    assert choose(payload) == (action, data)
    assert payload == before


@pytest.mark.parametrize(
    ("payload", "is_one"),
    [
        ({"message_type": "event", "payload": {}}, True),
        ({"message_type": "event", "payload": {}, "source": 1, "trace_id": "x"}, True),
        ({"message_type": "event"}, False),
        ({"payload": {}}, False),
        *[({"message_type": "event", "payload": {}, key: "x"}, False) for key in ACTION_KEYS],
    ],
)
def test_is_envelope(payload: dict[str, Any], is_one: bool) -> None:
    assert is_envelope(payload) is is_one
