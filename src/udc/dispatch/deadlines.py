"""Cutting work short in a plain asyncio task, at hardly any price while nothing has to be cut short.

An anyio cancel scope with a deadline costs some 40,000 machine instructions in a fresh task, as much as reading the
envelope: it has state per task, and a timer of its own. Nearly every request of an ASGI server comes in a task that no
anyio scope surrounds. There one timer for all work, and `Task.cancel` when it is due, do the same. What an anyio scope
would respect is respected: shields that the handler has put up, results that must not get lost, cancellation by others.

Which scopes a task is in, anyio tells nobody. It is read from anyio's own state, in two places of this module; where
that cannot be found, `bare_tasks` finds no such task, and everything goes the way of the scopes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, Protocol, TypeAlias
from weakref import ReferenceType, ref

__all__ = ["Alarm", "BareTask", "TaskCut", "Timed", "bare_tasks"]

_SHORTEST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.05
"""Between two attempts to cancel what does not end. The second follows the first at once, as anyio's do."""

BareTask: TypeAlias = asyncio.Task[Any]  # Any: whatever its coroutine returns
"""A task of asyncio that no anyio scope surrounds."""


@cache
def _states() -> Callable[[ReferenceType[BareTask]], Any] | None:  # Any: a private class of anyio's
    """Looks up anyio's state of a task; `None` where anyio keeps it in some way that is not known here.

    By the task's reference, as its dictionary of weak keys would: that is one function less with every message.
    """
    try:
        from anyio._backends import _asyncio as backend  # here, because a droplet on Trio never needs it

        scope = backend.CancelScope(deadline=math.inf)
        kept = vars(backend._task_states).get("data")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if isinstance(kept, dict) and scope._parent_scope is None and scope.shield is False:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            return kept.get
    except (ImportError, AttributeError, TypeError):
        pass
    return None


def bare_tasks() -> Callable[[], BareTask | None]:
    """What tells the running asyncio task, if no anyio scope surrounds the place where it is asked; else `None`.

    Must be called inside the loop; what it returns is for that loop only.
    """
    state_of = _states()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # no event loop of asyncio's
        return lambda: None
    if state_of is None:
        return lambda: None
    current_task = asyncio.current_task

    def bare_task() -> BareTask | None:
        task = current_task(loop)  # told which: to find out, Python 3.11 asks the kernel for the process's number
        if task is None:
            return None
        state = state_of(ref(task))
        return task if state is None or state.cancel_scope is None else None

    return bare_task


def _is_shielded(task: BareTask) -> bool:
    """Whether the handler in a task that was bare has shielded what it is at now."""
    state_of = _states()
    state = None if state_of is None else state_of(ref(task))
    scope = None if state is None else state.cancel_scope
    while scope is not None:
        if scope.shield:
            return True
        scope = scope._parent_scope  # noqa: SLF001 - see above
    return False


def _has_its_result(task: BareTask) -> bool:
    """Whether what the task waits for is done, so that it is about to go on."""
    awaited: object = getattr(task, "_fut_waiter", None)  # asyncio's own, as anyio asks for it
    return isinstance(awaited, asyncio.Future) and awaited.done()


class Timed(Protocol):
    """Something with a deadline."""

    @property
    def deadline(self) -> float:
        """When it is due, by the loop's clock."""
        ...

    def expire(self) -> None:
        """It is due."""
        ...


class Alarm:
    """One timer for any number of deadlines: it rings at the earliest that it was told of, and looks for the next.

    Attributes:
        at: when it rings; infinity while it is not set.
    """

    __slots__ = ("_timed", "_timer", "at")

    def __init__(self, timed: Callable[[], Iterable[Timed]]) -> None:
        self.at: float = math.inf
        self._timed = timed
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at that time; told only of times before `at`."""
        if self._timer is not None:
            self._timer.cancel()
        self.at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self.at, self._timer = math.inf, None
        now = asyncio.get_running_loop().time()
        for each in sorted(self._timed(), key=lambda each: each.deadline):
            if each.deadline <= now:
                each.expire()
            else:
                if each.deadline < math.inf:
                    self.set(each.deadline)
                return


class TaskCut:
    """Cancels what runs in a bare task now, until it has ended.

    Args:
        task: what `bare_tasks` told before it began.
        cancelling: `task.cancelling()` at that time.

    Attributes:
        cancelled_caught: the work was cut short by it.
    """

    __slots__ = ("_before", "_calls", "_pause", "_retry", "_task", "cancelled_caught")

    def __init__(self, task: BareTask, *, cancelling: int) -> None:
        self.cancelled_caught: bool = False
        self._task = task
        self._before = cancelling
        self._calls = 0
        self._pause = 0.0
        self._retry: asyncio.Handle | None = None
        self._deliver()

    def _deliver(self) -> None:
        loop = self._task.get_loop()
        # Not from within: only its next await would raise. Not through a shield: that is what it was put up for.
        # Not while what it waits for is there already: it would be lost, an item of a stream say.
        if (
            self._task is not asyncio.current_task(loop)
            and not _has_its_result(self._task)
            and not _is_shielded(self._task)
        ):
            self._calls += self._task.cancel()
        self._retry = loop.call_later(self._pause, self._deliver) if self._pause else loop.call_soon(self._deliver)
        self._pause = min(2 * self._pause or _SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    def end(self, error: BaseException | None) -> bool:
        """The work is over: take back what was called. Whether `error` is what this has caused."""
        if self._retry is not None:
            self._retry.cancel()
        for _ in range(self._calls):
            self._task.uncancel()
        by_others = self._task.cancelling() > self._before
        self.cancelled_caught = isinstance(error, asyncio.CancelledError) and self._calls > 0 and not by_others
        return self.cancelled_caught
