"""Which action a payload names, and what is left for the handler (contract section 3, "Action")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ACTION_KEYS: Final = ("action", "type", "event_type", "command", "query", "task")
"""The keys that may hold the action, in the order in which they are asked."""

DATA_KEYS: Final = ("data", "task_data")
"""The keys that hold the handler's data where nothing but action keys stands beside them."""

_ACTION_KEYS = frozenset(ACTION_KEYS)
_ALONE = tuple((key, _ACTION_KEYS | {key}) for key in DATA_KEYS)


def choose(payload: Mapping[str, Any]) -> tuple[str | None, Any]:  # Any: JSON values
    """The action, `None` when the payload names none, and the handler's data.

    A key whose value is no text, or is empty, names no action and stays in the data.
    """
    action: str | None = None
    chosen = ""
    for key in ACTION_KEYS:
        value = payload.get(key)
        if value and isinstance(value, str):
            action, chosen = value, key
            break
    for key, company in _ALONE:
        if key in payload and payload.keys() <= company:
            return action, payload[key]
    return action, {key: value for key, value in payload.items() if key != chosen}


def is_envelope(payload: Mapping[str, Any]) -> bool:  # Any: JSON values
    """Whether the payload is a whole envelope, put there by a known mistake of the field."""
    return "message_type" in payload and "payload" in payload and _ACTION_KEYS.isdisjoint(payload)
