"""What observes: hooks, and the instrument that hands events to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from udc._types import DropletId
from udc.instrument._events import Event, MessageHandled, RequestAnswered, message_handled, request_answered

_log = logging.getLogger("udc.instrument")


Tally: TypeAlias = Callable[[str, DropletId, float, str], None]
"""Takes note of a query that succeeded: its action, its source, what it took (seconds), its trace id."""


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

    def tally(self) -> Tally | None:
        """What is told of each instead of a `MessageHandled` and a `RequestAnswered`; `None`: it is of no interest."""
        ...


class Only:
    """A hook made of a function for each kind of event that it takes; queries that succeed are of no interest to it."""

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

    def tally(self) -> Tally | None:
        """See `Sparing`."""
        return None


def _by_events(hook: Hook) -> Tally | None:
    choosy = hook if isinstance(hook, Choosy) else None
    of_message = hook if choosy is None else choosy.taker(MessageHandled)
    of_request = hook if choosy is None else choosy.taker(RequestAnswered)
    if of_message is None and of_request is None:
        return None

    def tell(action: str, source: DropletId, seconds: float, trace_id: str, /) -> None:
        if of_message is not None:
            of_message(message_handled("query", action, source, seconds, trace_id, None))
        if of_request is not None:
            of_request(request_answered("POST", "/message", 200, seconds, trace_id, None))

    return tell


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
                _log.exception("a hook raised", extra={"hook": repr(take), "event": type(event).__name__})

    def tallies(self) -> tuple[Tally, ...]:
        """What to tell of each query that was sent to `POST /message` and has succeeded.

        Comes to the same as emitting both its events, but for what a hook raises: that is the caller's to log.
        """
        told = [hook.tally() if isinstance(hook, Sparing) else _by_events(hook) for hook in self._hooks]
        return tuple(tell for tell in told if tell is not None)

    def _find(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:  # Any: as above
        found = [hook.taker(kind) if isinstance(hook, Choosy) else hook for hook in self._hooks]
        self._takers[kind] = takers = tuple(take for take in found if take is not None)
        return takers
