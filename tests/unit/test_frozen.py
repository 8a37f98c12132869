"""Values made by `udc._frozen` are what `dataclasses` would make of them, but share two methods."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError, field

import pytest

from udc._frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    number: int
    words: tuple[str, ...] = ()
    secret: str = field(default="s", repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    number: int
    words: tuple[str, ...] = ()
    secret: str = field(default="s", repr=False)


@dataclass(frozen=True, slots=True)
class Spoken:
    number: int

    def __repr__(self) -> str:
        return "in its own words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Longer(Ours):
    more: float = 0.5


@dataclass(slots=True)
class Open:
    number: int


@pytest.mark.parametrize("name", ["number", "secret", "unknown"])
def test_nothing_of_a_frozen_value_changes(name: str) -> None:
    value = Longer(number=1)
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(value, name, 2)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(value, name)
    assert value == Longer(number=1)


def test_what_it_shows_and_compares_is_as_ever() -> None:
    ours, theirs = Ours(number=1, words=("a", "b")), Theirs(number=1, words=("a", "b"))
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert "secret" not in repr(ours)
    assert repr(Longer(number=1)) == "Longer(number=1, words=(), more=0.5)"
    assert repr(Spoken(1)) == "in its own words"
    assert hash(ours) == hash(Ours(number=1, words=("a", "b"))) == hash(theirs)
    assert dataclasses.replace(ours, number=2) == Ours(number=2, words=("a", "b"))
    assert ours != dataclasses.replace(ours, secret="t")


def test_what_is_not_frozen_may_change() -> None:
    value = Open(1)
    value.number = 2
    assert repr(value) == "Open(number=2)"


def test_the_methods_are_shared() -> None:
    assert Ours.__setattr__ is Spoken.__setattr__
    assert Ours.__delattr__ is Longer.__delattr__
    assert Ours.__repr__ is Open.__repr__


def test_one_that_holds_itself_is_shown() -> None:
    held: list[object] = []
    ours, theirs = Ours(number=1, words=(held,)), Theirs(number=1, words=(held,))  # type: ignore[arg-type]
    for value in (ours, theirs):
        held[:] = [value]
        assert repr(value) == f"{type(value).__qualname__}(number=1, words=([...],))"
