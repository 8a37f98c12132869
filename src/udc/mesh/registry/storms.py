"""How droplets that are not known any more come back: not all at once (mesh page, Registry rule 7)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

SPREAD_SECONDS: Final = 25.0
"""The longest wait that is asked for: with the longest back-off of a droplet before it, all are back in a minute."""

_LATELY_SECONDS: Final = 10.0
_EACH_SECONDS: Final = 1.5


class Lost:
    """Counts who beats without being known: one alone comes back at once, many are spread, the wider the more they are.

    The Registry may have lost everybody, and with them how many there were; the beats tell it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._beaten: OrderedDict[Hashable, float] = OrderedDict()

    def spread_seconds(self, who: Hashable) -> float:
        """How long this one may wait, by lot, before it registers again; 0 in calm times."""
        now = self._clock()
        self._beaten.pop(who, None)
        while self._beaten and next(iter(self._beaten.values())) < now - _LATELY_SECONDS:
            self._beaten.popitem(last=False)
        others = len(self._beaten)
        self._beaten[who] = now
        if others > SPREAD_SECONDS / _EACH_SECONDS:  # more would change nothing
            self._beaten.popitem(last=False)
        return min(SPREAD_SECONDS, others * _EACH_SECONDS)
