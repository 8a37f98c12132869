"""Frozen values made at the price of plain ones, for the few that are made with every message."""

from __future__ import annotations

from typing import Any


def draft_of(frozen: type[Any]) -> type[Any]:  # Any: a draft has the attributes of whatever it is a draft of
    """The same frozen dataclass with slots, but with attributes that can be set, and an empty constructor.

    The constructor of a frozen dataclass sets each attribute through a call of `object.__setattr__`; for twenty of
    them that costs as much as parsing the envelope they came from. A draft is filled by plain assignment, all of its
    attributes, and is then made the value: `draft.__class__ = Message`. (Python allows that where two classes have the
    same bases and the same slots.) From then on it is frozen like any other.

    Raises:
        TypeError: a base has a `__setattr__` or `__delattr__` of its own, which makes setting dear, or forbids it.
    """
    draft = type(
        f"{frozen.__name__}Draft", frozen.__bases__, {"__slots__": frozen.__slots__, "__doc__": frozen.__doc__}
    )
    if any(getattr(draft, name) is not getattr(object, name) for name in ("__setattr__", "__delattr__")):
        raise TypeError(f"a base of {frozen.__name__} has a __setattr__ or __delattr__ of its own")
    return draft
