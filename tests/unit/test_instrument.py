"""Events are frozen; hooks get each, in order, and cannot do harm."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest

from udc import instrument
from udc.instrument import (
    ConfigReloaded,
    Event,
    Instrument,
    MessageHandled,
    Only,
    PhaseChanged,
    RequestAnswered,
    ServiceRecovered,
    message_handled,
    request_answered,
)
from udc.lifecycle import Phase

KINDS = [kind for kind in vars(instrument).values() if inspect.isclass(kind) and issubclass(kind, Event)]
HAPPENED = ServiceRecovered(service="presence")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_a_frozen_value_that_says_what_it_is(kind: type[Event]) -> None:
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "that is the dataclass's own text"
    values = {field.name: None for field in dataclasses.fields(kind)}
    assert not hasattr(kind(**values), "__dict__")
    assert kind(**values) == kind(**values)
    with pytest.raises(TypeError):
        kind(*([None] * (len(values) or 1)))
    for name in values:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(**values), name, 1)


def test_defaults() -> None:
    assert PhaseChanged(before=Phase.STARTING, after=Phase.READY).reason == ""


def test_every_hook_gets_every_event_in_order() -> None:
    seen: list[tuple[str, Event]] = []
    other = ConfigReloaded(changed=("log_level",))
    source = Instrument([lambda event: seen.append(("a", event)), lambda event: seen.append(("b", event))])

    source.emit(HAPPENED)
    source.emit(other)

    assert seen == [("a", HAPPENED), ("b", HAPPENED), ("a", other), ("b", other)]


def test_a_choosy_hook_hears_what_it_takes_and_is_asked_once() -> None:
    asked: list[type[Event]] = []
    heard: list[Event] = []

    class Picky:
        def __call__(self, event: Event, /) -> None:
            raise AssertionError("it has a taker")

        def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:
            asked.append(kind)
            return heard.append if kind is ServiceRecovered else None

    source = Instrument([Picky()])
    for _ in range(2):
        source.emit(HAPPENED)
        source.emit(ConfigReloaded(changed=()))

    assert heard == [HAPPENED, HAPPENED]
    assert asked == [ServiceRecovered, ConfigReloaded]


def test_a_hook_of_a_function_for_each_kind() -> None:
    heard: list[Event] = []
    only = Only({ServiceRecovered: heard.append})
    for tell in (Instrument([only]).emit, only):
        tell(HAPPENED)
        tell(ConfigReloaded(changed=()))

    assert heard == [HAPPENED, HAPPENED]


def test_the_quick_makers_make_the_same() -> None:
    request = RequestAnswered(method="GET", route="/a", status=200, seconds=0.5, trace_id="t", error_code="X")
    assert request_answered("GET", "/a", 200, 0.5, "t", "X") == request
    message = MessageHandled(message_type="query", action="a", source=3, seconds=0.5, trace_id="t", error_code=None)
    assert message_handled("query", "a", 3, 0.5, "t", None) == message
    with pytest.raises(dataclasses.FrozenInstanceError):
        message_handled("query", "a", 3, 0.5, "t", None).action = "b"  # type: ignore[misc]  # frozen


def test_what_others_hear_does_not_depend_on_one_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def broken(event: Event) -> None:
        raise RuntimeError("no")

    hooks = [
        lambda _: heard.append("first"),
        broken,
        lambda _: heard.append("between"),
        broken,
        lambda _: heard.append("last"),
    ]
    with caplog.at_level(logging.CRITICAL, "udc.instrument"):
        Instrument(hooks).emit(HAPPENED)

    assert heard == ["first", "between", "last"]


def test_a_hook_that_raises_is_logged_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("no disk")

    with caplog.at_level(logging.ERROR, "udc.instrument"):
        Instrument([broken, seen.append]).emit(HAPPENED)

    assert seen == [HAPPENED]
    (record,) = caplog.records
    assert (record.name, record.message, record.levelname) == ("udc.instrument", "a hook raised", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError
    assert vars(record)["event"] == "ServiceRecovered"
    assert "broken" in vars(record)["hook"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_must_end_the_program_is_not_held_up(stop: type[BaseException]) -> None:
    def ends(event: Event) -> None:
        raise stop

    with pytest.raises(stop):
        Instrument([ends]).emit(HAPPENED)


def test_without_hooks_nothing_happens() -> None:
    Instrument().emit(HAPPENED)


def test_hooks_are_those_of_the_beginning() -> None:
    seen: list[Event] = []
    hooks = [seen.append]
    source = Instrument(hooks)
    hooks.clear()

    source.emit(HAPPENED)

    assert seen == [HAPPENED]
