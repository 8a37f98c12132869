"""Where wall time, fresh ids and chance come from: one injected value, never a module's own call."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from udc._frozen import dataclass


@dataclass(frozen=True, slots=True)
class Ambient:
    """What code may not invent for itself, so that a test can decide it.

    Attributes:
        wall: the wall clock, seconds since the epoch.
        new_id: a fresh UUID v4 in its 36-character form.
        chance: a float in [0, 1).
    """

    wall: Callable[[], float]
    new_id: Callable[[], str]
    chance: Callable[[], float]

    def now(self) -> datetime:
        """The wall clock as an aware UTC time."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def branch(self) -> Ambient:
        """The same clock with ids and chances of its own, begun by one id of this one.

        For background work: what that draws, and when, then changes nothing for anybody else.
        """
        return seeded(uuid.UUID(self.new_id()).int, self.wall)


def system() -> Ambient:
    """The machine's own clock and randomness."""
    return Ambient(wall=time.time, new_id=lambda: str(uuid.uuid4()), chance=random.random)


def seeded(seed: int, wall: Callable[[], float]) -> Ambient:
    """A repeatable ambient: the same seed gives the same ids and the same chances."""
    source = random.Random(seed)  # noqa: S311 - repeatable on purpose, never used for secrets
    return Ambient(
        wall=wall,
        new_id=lambda: str(uuid.UUID(int=source.getrandbits(128), version=4)),
        chance=source.random,
    )


def iso_utc(moment: datetime) -> str:
    """ISO 8601 in UTC with `Z` and milliseconds, as the contract writes time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Stamps:
    """The wall clock as the contract writes time, in bytes: `iso_utc(ambient.now())`, at a tenth of its price.

    It is written once a millisecond, and all but the milliseconds once a second.
    """

    __slots__ = ("_from", "_second", "_text", "_until", "_wall", "_whole")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._from = self._until = 0.0
        self._second = -1
        self._whole, self._text = b"", b""

    def now(self) -> bytes:
        """ISO 8601 in UTC with `Z` and milliseconds."""
        wall = self._wall()
        return self._whole if self._from <= wall < self._until else self._written(wall)

    def _written(self, wall: float) -> bytes:
        milli = round(wall * 1_000_000) // 1000
        second = milli // 1000
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()
        # A microsecond less on both sides: what the millisecond is just there, only the rounding above knows.
        self._from, self._until = milli / 1000 + 1e-6, (milli + 1) / 1000 - 1e-6
        self._whole = b"%b.%03dZ" % (self._text, milli % 1000)
        return self._whole
