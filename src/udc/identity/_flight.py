"""One run at a time of something slow, for any number of callers, whichever of them is cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup


class Flight:
    """Shares one run of `work` among everybody who joins while it goes.

    Args:
        work: does it and keeps the outcome; raises nothing but cancellation.
    """

    __slots__ = ("_landed", "_work")

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._landed: anyio.Event | None = None

    @property
    def running(self) -> bool:
        """Whether a run is going."""
        return self._landed is not None

    async def join(self, group: TaskGroup | None) -> None:
        """Wait for the run that goes, or begin one and wait for it.

        With a group the run belongs to the group and outlives a cancelled caller. Without one it belongs to the
        caller that began it; when that is cancelled the others return at once, find no outcome, and join anew.
        """
        landed = self._landed
        if landed is None:
            # Set before the run begins: an eager task factory may finish it inside start_soon.
            landed = self._landed = anyio.Event()
            if group is None:
                await self._fly(landed)
                return
            try:
                group.start_soon(self._fly, landed)
            except BaseException:
                self._land(landed)
                raise
        await landed.wait()

    async def _fly(self, landed: anyio.Event) -> None:
        try:
            await self._work()
        finally:
            self._land(landed)

    def _land(self, landed: anyio.Event) -> None:
        self._landed = None
        landed.set()
