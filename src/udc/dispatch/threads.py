"""Threads for sync handlers: a fixed number of slots, each taken until its thread really ends."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar, cast

import anyio
import anyio.to_thread

__all__ = ["ThreadSlots"]

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 0.02


class ThreadSlots:
    """Runs functions in threads, at most `count` at a time.

    A call that is cancelled returns at once, but no thread can be stopped: its slot stays taken until the
    function returns. (anyio's own limiter gives it back at once on asyncio; a slow handler called again and
    again would then fill the process with threads.)
    """

    __slots__ = ("_limiter", "_returned", "_unlimited")

    def __init__(self, count: int) -> None:
        self._limiter = anyio.CapacityLimiter(count)
        self._unlimited = anyio.CapacityLimiter(math.inf)
        # Threads put their slot here when they end (append is atomic); only the loop's side touches the limiter.
        self._returned: deque[_Slot] = deque()

    @property
    def taken(self) -> int:
        """How many slots are taken."""
        self._reclaim()
        return self._limiter.borrowed_tokens

    async def run(self, call: Callable[[], T], *, started: Callable[[], None] = lambda: None) -> T:
        """Run it in a thread, with the context variables of here.

        On cancel before a thread took it, it never runs. On cancel after that, it runs on alone and its
        result is dropped.

        Args:
            call: the function.
            started: called here once a slot is free.
        """
        slot = _Slot()
        await self._acquire(slot)
        started()

        def work() -> tuple[T] | tuple[()]:
            if not slot.claim.acquire(blocking=False):
                return ()  # the caller gave up while this was queued, and gave the slot back
            try:
                return (call(),)  # in a tuple, for Trio refuses a bare coroutine
            finally:
                self._returned.append(slot)

        try:
            result = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._unlimited)
        finally:
            if slot.claim.acquire(blocking=False):
                self._returned.append(slot)
            self._reclaim()
        return cast("tuple[T]", result)[0]  # an empty one only reaches callers that gave up

    async def _acquire(self, slot: _Slot) -> None:
        while True:
            self._reclaim()
            # A thread that runs on alone has nobody to wake the next in line when it ends, so those who wait look.
            with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                return await self._limiter.acquire_on_behalf_of(slot)

    def _reclaim(self) -> None:
        while self._returned:
            self._limiter.release_on_behalf_of(self._returned.popleft())


class _Slot:
    """One call's hold on a thread. Whoever gets `claim` first decides: the thread runs, or the caller gave up."""

    __slots__ = ("claim",)

    def __init__(self) -> None:
        self.claim = threading.Lock()
