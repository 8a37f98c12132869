"""How many callers wait for changes at once, each of whom holds a connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Final, Self

from udc.errors import Overloaded, RateLimited

_RETRY_SECONDS: Final = 5.0


class Seats:
    """Counts them.

    Args:
        all_: of everybody; a mesh's droplets all wait.
        each: of one droplet with all its instances, or of one address that shows no token.
    """

    def __init__(self, *, all_: int = 20_000, each: int = 256) -> None:
        self._all, self._each = all_, each
        self._by_caller: Counter[object] = Counter()
        self._count = 0

    @contextmanager
    def taken(self, who: object) -> Generator[None]:
        """Have one while this is open.

        Raises:
            RateLimited: this caller has enough of them.
            Overloaded: there are none left.
        """
        self._take(who)
        try:
            yield
        finally:
            self._leave(who)

    def seated(self, who: object, events: AsyncGenerator[bytes]) -> Seated:
        """The stream with a seat, from now on until it ends or is closed, whether it has begun or not.

        Raises:
            RateLimited, Overloaded: as `taken` does.
        """
        self._take(who)
        return Seated(events, lambda: self._leave(who))

    def _take(self, who: object) -> None:
        if self._by_caller[who] >= self._each:
            raise RateLimited(
                f"this caller waits for changes {self._each} times already",
                retry_after_seconds=_RETRY_SECONDS,
                hint="end a watch before beginning another",
            )
        if self._count >= self._all:
            raise Overloaded("too many callers wait for changes", retry_after_seconds=_RETRY_SECONDS)
        self._count += 1
        self._by_caller[who] += 1

    def _leave(self, who: object) -> None:
        self._count -= 1
        self._by_caller[who] -= 1
        if not self._by_caller[who]:
            del self._by_caller[who]


class Seated:
    """A stream that has a seat. Made by `Seats.seated`; whoever reads it closes it."""

    def __init__(self, events: AsyncGenerator[bytes], leave: Callable[[], None]) -> None:
        self._events = events
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next part."""
        try:
            return await anext(self._events)
        except BaseException:
            self._stand_up()
            raise

    async def aclose(self) -> None:
        """End it. A generator that has not begun would run nothing of its own at this."""
        try:
            await self._events.aclose()
        finally:
            self._stand_up()

    def _stand_up(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
