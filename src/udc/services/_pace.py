"""How long a droplet waits between its calls to the Registry (mesh page, Registry rules 2 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from udc.errors import PeerError, RegistryRefused

CAP_SECONDS: Final = 30.0
"""The longest pause between two attempts, in a mesh of twenty droplets and more."""

_SHORTEST_CAP_SECONDS: Final = 5.0
_CAP_SECONDS_EACH: Final = 1.5
_SPREAD_SECONDS_EACH: Final = 1.0
"""In a smaller mesh it is so much for each droplet: those who come back are no more than one a second then."""

_BASE_SECONDS: Final = 1.0
_REFUSED_BASE_SECONDS: Final = 4.0
"""A Registry that says no says it again: the first pause is longer."""

_EVEN: Final = 0.95
_RETRY_AFTER_CAP_SECONDS: Final = 60.0
_JITTER: Final = 0.1
_SHORTEST_BEAT_SECONDS: Final = 0.5
_SHORTEST_PAUSE_SECONDS: Final = 0.1
_LEASES_OF_BEATS: Final = 3.0
_LOST_SPREAD_SECONDS: Final = 20.0


class Pace:
    """The pauses of one droplet. Times are the event loop's.

    Args:
        beat_seconds: between two beats, until the Registry names its own.
        chance: a float in [0, 1).
        mesh_size: how many droplets the Registry has told of; 0 = nobody knows, which counts as many.
    """

    def __init__(
        self, *, beat_seconds: float, chance: Callable[[], float], mesh_size: Callable[[], int] = lambda: 0
    ) -> None:
        self._default = self.beat_seconds = beat_seconds
        self._chance = chance
        self._mesh_size = mesh_size
        self._lease: float | None = None
        self.failures = 0

    def told(self, *, beat_every_seconds: float | None, lease_ttl_seconds: float | None) -> None:
        """The Registry has answered, and may have named its interval and lease."""
        self.failures = 0
        self.beat_seconds = max(_SHORTEST_BEAT_SECONDS, beat_every_seconds or self.beat_seconds)
        self._lease = lease_ttl_seconds or self._lease

    @property
    def lease_seconds(self) -> float:
        """How long a beat keeps us known."""
        return self._lease or _LEASES_OF_BEATS * self.beat_seconds

    @property
    def call_seconds(self) -> float:
        """How long one call may take: a Registry that is slow is not away, but the lease must not run out over it."""
        return min(10.0, max(6.0, self.lease_seconds * 2 / 3))

    def until_beat(self, began: float) -> float:
        """The pause before the next beat, reckoned from when the last one `began`: slow answers do not add up."""
        varied = self.beat_seconds * (1 + _JITTER * (2 * self._chance() - 1))
        return max(_SHORTEST_PAUSE_SECONDS, began + varied - anyio.current_time())

    def after_failed_beat(self, error: Exception, began: float) -> float:
        """The pause after a beat that failed: a third of the interval for the first, then ever longer ones."""
        self.failures += 1
        if self.failures > 1 or isinstance(error, RegistryRefused):
            return self._asked(error) + self._backoff(error, self.failures - 1)
        quick = began + self.beat_seconds / 3 - anyio.current_time()
        return self._asked(error) + max(_SHORTEST_PAUSE_SECONDS, quick)

    def after_failed_registration(self, error: Exception) -> float:
        """The pause after a registration that failed."""
        self.failures += 1
        return self._asked(error) + self._backoff(error, self.failures)

    def spread(self, told_seconds: float) -> float:
        """The wait before registering with a Registry that does not know us (any more).

        One that was away and names no spread has just lost everybody: then we spread ourselves.
        """
        spread = told_seconds or (self._each(_SPREAD_SECONDS_EACH, _LOST_SPREAD_SECONDS) if self.failures else 0.0)
        self.failures = 0
        return self._chance() * min(spread, CAP_SECONDS)

    def _backoff(self, error: Exception, failures: int) -> float:
        base = _REFUSED_BASE_SECONDS if isinstance(error, RegistryRefused) else _BASE_SECONDS
        cap = max(_SHORTEST_CAP_SECONDS, self._each(_CAP_SECONDS_EACH, CAP_SECONDS))
        top, before = (min(cap, base * 2.0 ** min(max(-1, failures - more), 10)) for more in (1, 2))
        # Full jitter while it grows and once at the cap; from then on every 30 s, each droplet at its own second.
        # With full jitter all the time 6.7 % of all droplets would come back in the Registry's first second, for those
        # that wait long are rare among the waiting; so it is 3.4 % in every second.
        low = cap * _EVEN if before == cap else 0.0
        return max(_SHORTEST_PAUSE_SECONDS, low + (top - low) * self._chance())

    def _each(self, seconds: float, most: float) -> float:
        """So much for every droplet of the mesh, up to `most`."""
        size = self._mesh_size()
        return min(most, seconds * size) if size else most

    @staticmethod
    def _asked(error: Exception) -> float:
        """What the Registry asked for with `Retry-After`; the jitter comes on top: not all shall come back at once."""
        asked = error.retry_after_seconds if isinstance(error, PeerError | RegistryRefused) else None
        return min(asked or 0.0, _RETRY_AFTER_CAP_SECONDS)
