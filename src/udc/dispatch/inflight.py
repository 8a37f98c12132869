"""What runs at this moment: counted, limited, and cancelled by its trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Literal

import anyio

from udc._types import DropletId
from udc.dispatch.deadlines import Alarm, BareTask, TaskCut
from udc.errors import BusinessError, ContractError, Overloaded, Timeout

__all__ = ["InFlight", "Work"]

Cause = Literal["trace", "stop"]


class InFlight:
    """The work in flight. One event loop; O(1) to enter and to leave.

    Attributes:
        works: for `Work`, which enters itself.
        alarm: rings for the deadlines of those without a scope.

    Args:
        limit: how much may be in flight at once.
        retry_after_seconds: told to callers who find no room.
        bare_task: see `deadlines.bare_tasks`; by default all work gets a cancel scope.
    """

    __slots__ = ("_bare_task", "_idle", "alarm", "limit", "retry_after_seconds", "works")

    def __init__(
        self,
        limit: int = 1000,
        *,
        retry_after_seconds: float = 1.0,
        bare_task: Callable[[], BareTask | None] = lambda: None,
    ) -> None:
        self.limit: int = limit
        self.retry_after_seconds: float = retry_after_seconds
        self.alarm: Alarm = Alarm(lambda: self.works)
        self.works: set[Work] = set()
        self._idle: anyio.Event | None = None
        self._bare_task = bare_task

    @property
    def count(self) -> int:
        """How much is in flight."""
        return len(self.works)

    def enter(
        self, trace_id: str, source: DropletId | None = None, deadline: float = math.inf, shield: bool = False
    ) -> Work:
        """A context manager around one piece of work, to be entered at once, in the same task.

        Args:
            trace_id: whose `cancel_trace` ends it.
            source: who sent it.
            deadline: when it is cancelled, by `anyio.current_time()`.
            shield: its caller going away does not end it.

        Raises:
            Overloaded: as much as may be is in flight already.
        """
        if len(self.works) >= self.limit:
            raise Overloaded(
                f"{len(self.works)} messages are in flight and {self.limit} are allowed; nothing ran",
                details={"limit": self.limit},
                retry_after_seconds=self.retry_after_seconds,
            )
        return Work(self, trace_id, source, deadline, shield, self._bare_task())

    def enter_bare(self, trace_id: str, source: DropletId, deadline: float) -> Work | None:
        """Work of a bare task, entered at once: `leave` it whatever happens. `None` where `enter` must be asked.

        The same as `with enter(…)` comes to, in one step.
        """
        works = self.works
        if len(works) >= self.limit or (task := self._bare_task()) is None:
            return None
        work = Work(self, trace_id, source, deadline, False, task)
        works.add(work)
        if deadline < self.alarm.at:
            self.alarm.set(deadline)
        return work

    def leave(self, work: Work) -> None:
        """For `enter_bare`: it has come to its end."""
        if work.cut is not None or self._idle is not None:
            work.__exit__(None, None, None)  # takes back what has cut it short, and tells those who wait for the last
            return
        self.works.discard(work)

    def forget(self, work: Work) -> None:
        """For `Work`: it is over."""
        self.works.discard(work)
        if self._idle is not None and not self.works:
            self._idle.set()
            self._idle = None

    def cancel_trace(self, trace_id: str, *, by: DropletId | None) -> int:
        """Cancel the work of a trace that `by` sent; `None` = whoever sent it (for `admin`).

        Returns:
            How much was cancelled; what had been cancelled before does not count.
        """
        works = [work for work in self.works if work.trace_id == trace_id and (by is None or work.source == by)]
        return sum(work.cancel("trace") for work in works)

    def cancel_all(self) -> int:
        """Cancel everything, for the end of the grace. Returns how much there was."""
        return sum(work.cancel("stop") for work in tuple(self.works))

    async def drained(self) -> None:
        """Wait until nothing is in flight. Returns at once when nothing is."""
        while self.works:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()


class Work:
    """One piece of work in flight; as a context manager it swallows its own cancellation: ask `ending` after.

    In a bare task nothing is set up but an entry in a table; elsewhere it is an anyio cancel scope.

    Attributes:
        source: who sent it.
        deadline: when it is cancelled.
        scope: its cancel scope; `None` in a bare task.
        cut: what cuts it short in a bare task, once something does.
        waits_for_thread: nothing has run yet, for all threads are taken.
    """

    __slots__ = (
        "_cancelling",
        "_cause",
        "_home",
        "_task",
        "cut",
        "deadline",
        "scope",
        "source",
        "trace_id",
        "waits_for_thread",
    )

    def __init__(
        self,
        home: InFlight,
        trace_id: str,
        source: DropletId | None,
        deadline: float,
        shield: bool,
        task: BareTask | None,
    ) -> None:
        self.trace_id: str = trace_id
        self.source: DropletId | None = source
        self.deadline: float = deadline
        self.waits_for_thread: bool = False
        self._home = home
        self._task = task
        self._cause: Cause | None = None
        self.cut: TaskCut | None = None
        self.scope: anyio.CancelScope | None = None
        if task is None:
            self.scope = anyio.CancelScope(deadline=deadline, shield=shield)
        else:  # nobody is around it from whom to shield it
            self._cancelling = task.cancelling()

    @property
    def cancel_called(self) -> bool:
        """Whether it was told to end."""
        return self.cut is not None if self.scope is None else self.scope.cancel_called

    def got_thread(self) -> None:
        """A thread has taken it."""
        self.waits_for_thread = False

    def cancel(self, cause: Cause) -> bool:
        """Cancel it; whether it was not cancelled before."""
        if self._cause is not None or self.cancel_called:
            return False
        self._cause = cause
        self.expire()
        return True

    def expire(self) -> None:
        """Cut it short."""
        if self.scope is not None:
            self.scope.cancel()
        elif self.cut is None and self._task is not None:
            self.cut = TaskCut(self._task, cancelling=self._cancelling)

    def ending(self) -> ContractError | None:
        """Why it was cut short, as the answer to its sender; `None` when it was not.

        Cancelled by trace: 409 `CANCELLED`, final. Cancelled by the end of the grace: 503 `CANCELLED`,
        which may succeed elsewhere. Out of time: `Timeout`, or `Overloaded` when no thread ever took it.
        """
        cut = self.cut if self.scope is None else self.scope
        if cut is None or not cut.cancelled_caught:
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
        home = self._home
        home.works.add(self)
        if self.scope is not None:
            self.scope.__enter__()
        elif self.deadline < home.alarm.at:
            home.alarm.set(self.deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            if self.scope is not None:
                return bool(self.scope.__exit__(kind, error, traceback))
            return self.cut is not None and self.cut.end(error)
        finally:
            self._home.forget(self)
