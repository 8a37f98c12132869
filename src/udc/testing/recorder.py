"""Remembers what droplets did: every `udc.instrument` event, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from udc.instrument import Event, Hook

if TYPE_CHECKING:
    from udc.testing.members import Instance

__all__ = ["Recorder"]

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class _Entry:
    droplet: str
    instance: Instance | None
    event: Event


class Recorder:
    """Keeps events; itself a hook (`Droplet(hooks=[recorder])`).

    Args:
        limit: how many are kept; the oldest go.

    Attributes:
        dropped: how many have been forgotten.
    """

    def __init__(self, *, limit: int = 100_000) -> None:
        self.dropped: int = 0
        self._entries: deque[_Entry] = deque(maxlen=limit)
        self._waiting: list[anyio.Event] = []

    def __call__(self, event: Event, /) -> None:
        """Keep an event of nobody in particular."""
        self._keep(_Entry("", None, event))

    def hook(self, droplet: str, *, instance: Instance | None = None) -> Hook:
        """A hook that notes whose events it keeps."""

        def keep(event: Event, /) -> None:
            self._keep(_Entry(droplet, instance, event))

        return keep

    @property
    def all(self) -> list[Event]:
        """Everything kept, oldest first."""
        return [entry.event for entry in self._entries]

    @property
    def last(self) -> Event:
        """The newest event.

        Raises:
            LookupError: there is none.
        """
        if not self._entries:
            raise LookupError("no event has been recorded")
        return self._entries[-1].event

    def of(
        self, kind: type[E], *, droplet: str | Instance | None = None, where: Callable[[E], bool] | None = None
    ) -> list[E]:
        """The events of a kind, oldest first.

        Args:
            kind: a class of `udc.instrument`.
            droplet: only those of the droplet of this name, or of this instance; `"client"` are the test's own calls.
            where: only those for which it is true.
        """
        return [
            entry.event
            for entry in self._entries
            if isinstance(entry.event, kind)
            and (droplet is None or (entry.droplet if isinstance(droplet, str) else entry.instance) == droplet)
            and (where is None or where(entry.event))
        ]

    async def wait_for(
        self,
        kind: type[E],
        *,
        droplet: str | Instance | None = None,
        where: Callable[[E], bool] | None = None,
        count: int = 1,
        timeout_seconds: float = 5.0,
    ) -> E:
        """Wait until `count` events of a kind have been recorded, those before the call included.

        Args:
            kind, droplet, where: as for `of`.
            timeout_seconds: by the event loop's clock.

        Returns:
            The `count`-th of them.

        Raises:
            TimeoutError: they did not come; the text tells what did.
        """
        deadline = anyio.current_time() + timeout_seconds
        while len(found := self.of(kind, droplet=droplet, where=where)) < count:
            news = anyio.Event()
            self._waiting.append(news)
            with anyio.CancelScope(deadline=deadline):
                await news.wait()
                continue
            self._waiting.remove(news)
            raise TimeoutError(self._missing(kind, count, len(found), timeout_seconds))
        return found[count - 1]

    def clear(self) -> None:
        """Forget everything kept so far."""
        self._entries.clear()

    def _keep(self, entry: _Entry) -> None:
        if len(self._entries) == self._entries.maxlen:
            self.dropped += 1
        self._entries.append(entry)
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            news.set()

    def _missing(self, kind: type[Any], count: int, found: int, seconds: float) -> str:  # Any: it is only named
        seen = Counter(type(entry.event).__name__ for entry in self._entries)
        listed = ", ".join(f"{name} ×{number}" for name, number in seen.most_common()) or "nothing"
        return f"{found} of {count} {kind.__name__} within {seconds:g} s; recorded: {listed}"
