"""What runs at this moment: counted, limited, and cancelled by its trace."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Literal

import anyio

from udc._types import DropletId
from udc.errors import BusinessError, ContractError, Overloaded, Timeout

__all__ = ["InFlight", "Work"]

Cause = Literal["trace", "stop"]


class InFlight:
    """The work in flight. One event loop; O(1) to enter and to leave.

    Args:
        limit: how much may be in flight at once.
        retry_after_seconds: told to callers who find no room.
    """

    __slots__ = ("_by_trace", "_count", "_idle", "limit", "retry_after_seconds")

    def __init__(self, limit: int = 1000, *, retry_after_seconds: float = 1.0) -> None:
        self.limit: int = limit
        self.retry_after_seconds: float = retry_after_seconds
        self._count = 0
        self._by_trace: dict[str, set[Work]] = {}
        self._idle: anyio.Event | None = None

    @property
    def count(self) -> int:
        """How much is in flight."""
        return self._count

    def enter(
        self, trace_id: str, *, source: DropletId | None = None, deadline: float = math.inf, shield: bool = False
    ) -> Work:
        """A context manager around one piece of work; it enters a cancel scope.

        Args:
            trace_id: whose `cancel_trace` ends it.
            source: who sent it.
            deadline: when it is cancelled, by `anyio.current_time()`.
            shield: its caller going away does not end it.

        Raises:
            Overloaded: as much as may be is in flight already.
        """
        if self._count >= self.limit:
            raise Overloaded(
                f"{self._count} messages are in flight and {self.limit} are allowed; nothing ran",
                details={"limit": self.limit},
                retry_after_seconds=self.retry_after_seconds,
            )
        return Work(self, trace_id, source, deadline, shield)

    def cancel_trace(self, trace_id: str, *, by: DropletId | None) -> int:
        """Cancel the work of a trace that `by` sent; `None` = whoever sent it (for `admin`).

        Returns:
            How much was cancelled; what had been cancelled before does not count.
        """
        works = self._by_trace.get(trace_id, ())
        return sum(work.cancel("trace") for work in tuple(works) if by is None or work.source == by)

    def cancel_all(self) -> int:
        """Cancel everything, for the end of the grace. Returns how much there was."""
        return sum(work.cancel("stop") for works in tuple(self._by_trace.values()) for work in tuple(works))

    async def drained(self) -> None:
        """Wait until nothing is in flight. Returns at once when nothing is."""
        while self._count:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()

    def add(self, work: Work) -> None:
        """For `Work`: it begins."""
        self._count += 1
        self._by_trace.setdefault(work.trace_id, set()).add(work)

    def remove(self, work: Work) -> None:
        """For `Work`: it is over."""
        self._count -= 1
        works = self._by_trace[work.trace_id]
        works.discard(work)
        if not works:
            del self._by_trace[work.trace_id]
        if not self._count and self._idle is not None:
            self._idle.set()
            self._idle = None


class Work:
    """One piece of work in flight; as a context manager it swallows its own cancellation: ask `ending` after.

    Attributes:
        source: who sent it.
        scope: its cancel scope.
        waits_for_thread: nothing has run yet, for all threads are taken.
    """

    __slots__ = ("_cause", "_home", "scope", "source", "trace_id", "waits_for_thread")

    def __init__(self, home: InFlight, trace_id: str, source: DropletId | None, deadline: float, shield: bool) -> None:
        self.trace_id: str = trace_id
        self.source: DropletId | None = source
        self.scope: anyio.CancelScope = anyio.CancelScope(deadline=deadline, shield=shield)
        self.waits_for_thread: bool = False
        self._home = home
        self._cause: Cause | None = None

    def got_thread(self) -> None:
        """A thread has taken it."""
        self.waits_for_thread = False

    def cancel(self, cause: Cause) -> bool:
        """Cancel it; whether it was not cancelled before."""
        if self._cause is not None or self.scope.cancel_called:
            return False
        self._cause = cause
        self.scope.cancel()
        return True

    def ending(self) -> ContractError | None:
        """Why it was cut short, as the answer to its sender; `None` when it was not.

        Cancelled by trace: 409 `CANCELLED`, final. Cancelled by the end of the grace: 503 `CANCELLED`,
        which may succeed elsewhere. Out of time: `Timeout`, or `Overloaded` when no thread ever took it.
        """
        if not self.scope.cancelled_caught:
            return None
        if self._cause == "trace":
            return BusinessError("CANCELLED", f"trace {self.trace_id} was cancelled", status=409)
        if self._cause == "stop":
            return BusinessError(
                "CANCELLED", "the droplet stopped before the work was done", status=503, retryable=True
            )
        if self.waits_for_thread:
            return Overloaded(
                "all threads are busy, and none came free in time; nothing ran",
                retry_after_seconds=self._home.retry_after_seconds,
            )
        return Timeout("the handler was not done by its deadline")

    def __enter__(self) -> Work:
        self._home.add(self)
        self.scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            return bool(self.scope.__exit__(kind, error, traceback))
        finally:
            self._home.remove(self)
