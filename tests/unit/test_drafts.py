"""Drafts: filled like plain values, and then frozen like any other."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from udc._drafts import draft_of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value."""

    name: str
    size: int = 0


Draft = draft_of(Value)


def made(name: str = "a", size: int = 1) -> Value:
    draft = Draft()
    draft.name, draft.size = name, size
    draft.__class__ = Value
    value: Value = draft
    return value


def test_a_filled_draft_becomes_the_value() -> None:
    assert made() == Value(name="a", size=1)
    assert hash(made()) == hash(Value(name="a", size=1))
    assert repr(made()) == repr(Value(name="a", size=1))
    assert dataclasses.replace(made(), size=2) == Value(name="a", size=2)
    assert pickle.loads(pickle.dumps(made())) == made()


def test_and_is_frozen_from_then_on() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().size = 3  # type: ignore[misc]  # frozen
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made().size
    assert not hasattr(made(), "__dict__")


def test_where_setting_would_be_dear_there_is_no_draft() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Below(Value):
        more: int = 0

    with pytest.raises(TypeError, match="a base of Below has a __setattr__ or __delattr__ of its own"):
        draft_of(Below)
