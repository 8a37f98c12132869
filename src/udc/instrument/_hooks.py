"""What observes: hooks, and the instrument that hands events to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import update_wrapper
from typing import Any, Protocol, TypeAlias, runtime_checkable

from udc._types import DropletId
from udc.instrument._events import Event, MessageHandled, RequestAnswered, message_handled, request_answered

_log = logging.getLogger("udc.instrument")


Tally: TypeAlias = Callable[[DropletId, float, str], None]
"""Takes note of a query that succeeded: its source, what it took (seconds), its trace id."""


class Hook(Protocol):
    """Takes events. Called in line: must be quick and must not block.

    A hook that has a method `taker` as well (see `Choosy`) is not bothered with what it does not take.
    """

    def __call__(self, event: Event, /) -> None:
        """Take note of one event."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """A hook that takes some kinds of events only, or each kind in its own way."""

    def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:  # Any: an event of that kind
        """What takes the events of that kind; `None`: nothing does. Asked once for each kind."""
        ...


@runtime_checkable
class Sparing(Choosy, Protocol):
    """A choosy hook that needs no events made for it where one thing happens again and again: a query that succeeds."""

    def tally(self, action: str, /) -> Tally | None:
        """What is told of each query for that action, instead of a `MessageHandled` and a `RequestAnswered`.

        `None`: it is of no interest. Asked once for each action.
        """
        ...


class Only:
    """A hook made of a function for each kind of event that it takes."""

    __slots__ = ("_takers",)

    def __init__(self, takers: Mapping[type[Event], Callable[[Any], None]]) -> None:  # Any: an event of that kind
        self._takers = dict(takers)

    def __call__(self, event: Event, /) -> None:
        """Hand it to the function for its kind."""
        take = self._takers.get(type(event))
        if take is not None:
            take(event)

    def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:  # Any: an event of that kind
        """See `Choosy`."""
        return self._takers.get(kind)


def _of_message(take: Callable[[MessageHandled], None], action: str) -> Tally:
    def tell(source: DropletId, seconds: float, trace_id: str, /) -> None:
        take(message_handled("query", action, source, seconds, trace_id, None))

    return update_wrapper(tell, take, (), ())


def _of_request(take: Callable[[RequestAnswered], None]) -> Tally:
    def tell(_: DropletId, seconds: float, trace_id: str, /) -> None:
        take(request_answered("POST", "/message", 200, seconds, trace_id, None))

    return update_wrapper(tell, take, (), ())


def log_raised(taker: object, **extra: str) -> None:
    """Tell in the log what a hook has just raised."""
    named = getattr(taker, "__wrapped__", taker)  # a function of ours around it says nothing to anybody
    _log.exception("a hook raised", extra={"hook": repr(named), **extra})


class Instrument:
    """Hands each event to every hook that takes it. A hook that raises is logged and does no harm."""

    __slots__ = ("_hooks", "_takers")

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self._takers: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}  # Any: an event of that kind

    def emit(self, event: Event) -> None:
        """Tell every hook."""
        takers = self._takers.get(type(event))
        if takers is None:
            takers = self._find(type(event))
        untold = iter(takers)
        take: Callable[[Any], None] | None = None  # Any: as above
        while True:
            try:
                for take in untold:
                    take(event)
                return
            except Exception:  # noqa: BLE001 - a border: an observer must not break what it observes
                log_raised(take, event=type(event).__name__)

    def tallies(self, action: str) -> tuple[Tally, ...]:
        """What to tell of each query for that action that was sent to `POST /message` and has succeeded.

        Comes to the same as emitting both its events, but for what a hook raises: that is the caller's to log, with
        `log_raised`.
        """
        sparing = [hook.tally(action) for hook in self._hooks if isinstance(hook, Sparing)]
        others = [hook for hook in self._hooks if not isinstance(hook, Sparing)]
        return (
            *(tell for tell in sparing if tell is not None),
            *(_of_message(take, action) for take in _takers(others, MessageHandled)),
            *map(_of_request, _takers(others, RequestAnswered)),
        )

    def _find(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:  # Any: as above
        self._takers[kind] = takers = tuple(_takers(self._hooks, kind))
        return takers


def _takers(hooks: Iterable[Hook], kind: type[Event]) -> Iterator[Callable[[Any], None]]:  # Any: as above
    for hook in hooks:
        take = hook.taker(kind) if isinstance(hook, Choosy) else hook
        if take is not None:
            yield take
