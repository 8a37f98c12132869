"""One small connection pool per origin, bounded in number, the idle ones closed.

One big pool would do the same and be slow: the client library searches a pool linearly on every request
(1,000 peers: 6.9 s instead of 0.4 s for one message to each).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio
import httpx2

Origin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host, port."""

_CLOSING_SECONDS: Final = 2.0


@dataclass(slots=True, eq=False)
class Pool:
    """The connections to one origin, and how many requests use them now."""

    transport: httpx2.AsyncBaseTransport
    in_flight: int = 0
    idle_since: float = 0.0


class Pools:
    """Pools by origin, the least recently used first.

    Borrowing and giving back do not suspend, so a pool is never closed between being found and being used.

    Args:
        make: a transport for a scheme (`http` or `https`).
        limit: how many pools may stay; more live only while every pool has requests in flight.
        idle_seconds: an unused pool lives this long.
    """

    def __init__(self, make: Callable[[str], httpx2.AsyncBaseTransport], *, limit: int, idle_seconds: float) -> None:
        self._make = make
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._trim_at = 0.0
        self._pools: OrderedDict[Origin, Pool] = OrderedDict()

    def untidy(self) -> bool:
        """Whether it is time for `trim`: too many pools, or half the idle time since the last one."""
        return len(self._pools) > self._limit or anyio.current_time() >= self._trim_at

    def borrow(self, origin: Origin) -> Pool:
        """The origin's pool, made when there is none; the caller gives it back."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(self._make(origin[0]))
        else:
            self._pools.move_to_end(origin)
        pool.in_flight += 1
        return pool

    def give_back(self, pool: Pool) -> None:
        """One request less in flight."""
        pool.in_flight -= 1
        pool.idle_since = anyio.current_time()

    async def trim(self) -> None:
        """Close what is over the limit, least recently used first, and what has been idle for too long.

        Pools with requests in flight stay. Cancellation does not leave sockets open: closing is shielded.
        """
        now = anyio.current_time()
        self._trim_at = now + self._idle_seconds / 2
        surplus, long_ago = len(self._pools) - self._limit, now - self._idle_seconds
        leaving: list[Origin] = []
        for origin, pool in self._pools.items():
            if not pool.in_flight and (len(leaving) < surplus or pool.idle_since <= long_ago):
                leaving.append(origin)
        await _close(self._pools.pop(origin) for origin in leaving)

    async def close(self) -> None:
        """Close every pool; requests in flight lose their connection."""
        leaving = list(self._pools.values())
        self._pools.clear()
        await _close(leaving)


async def _close(pools: Iterable[Pool]) -> None:
    with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
        for pool in list(pools):
            await pool.transport.aclose()
