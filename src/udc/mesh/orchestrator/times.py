"""When something is due: the earliest moment is at hand, however many there are."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

_STALE: Final = 64
"""So many moments that do not count any more are of no account."""


class Times:
    """Moments by name, each replaced by the next of its name."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """From now on it is due then."""
        if self._at.get(name) == at:
            return
        self._at[name] = at
        heappush(self._order, (at, name))
        if len(self._order) > 2 * len(self._at) + _STALE:
            self._order = [(at, name) for name, at in self._at.items()]
            heapify(self._order)

    def drop(self, name: str) -> None:
        """It is due no more; harmless when it was not."""
        self._at.pop(name, None)

    def at(self, name: str) -> float | None:
        """When it is due; `None` = never."""
        return self._at.get(name)

    def next(self) -> float | None:
        """The earliest moment; `None` when there is none."""
        while self._order and self._at.get(self._order[0][1]) != self._order[0][0]:
            heappop(self._order)
        return self._order[0][0] if self._order else None

    def due(self, now: float) -> str | None:
        """Whose moment has come, the earliest first; it stays until it is dropped, or set anew."""
        at = self.next()
        return self._order[0][1] if at is not None and at <= now else None
