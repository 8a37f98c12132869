"""`@every` jobs and the `@on_ready` hooks, run as services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio
from anyio.abc import TaskStatus

Call: TypeAlias = Callable[[], Awaitable[object]]
"""A job bound to its droplet and context."""


class Job:
    """Calls a function again and again, never twice at a time.

    After a crash it runs at once, and only reports to be back when that run succeeded.

    Args:
        seconds: from the end of one run to the start of the next.
        first_after_seconds: from the start to the first run; `None` = `seconds`.
        jitter: share of the pause by which it varies, so that droplets started together spread out.
        chance: a float in [0, 1).
    """

    def __init__(
        self,
        name: str,
        call: Call,
        *,
        seconds: float,
        chance: Callable[[], float],
        first_after_seconds: float | None = None,
        jitter: float = 0.0,
    ) -> None:
        self.name = name
        self._call = call
        self._seconds = seconds
        self._first = seconds if first_after_seconds is None else first_after_seconds
        self._jitter = jitter
        self._chance = chance
        self._failed = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Call until cancelled."""
        if self._failed:
            await self._turn()
            task_status.started()
        else:
            task_status.started()
            await anyio.sleep(self._varied(self._first))
            await self._turn()
        while True:
            await anyio.sleep(self._varied(self._seconds))
            await self._turn()

    def _varied(self, seconds: float) -> float:
        return seconds * (1 + self._jitter * (2 * self._chance() - 1))

    async def _turn(self) -> None:
        self._failed = True
        await self._call()
        self._failed = False


class ReadyHooks:
    """Runs what is to run once the droplet is ready, in order, each until it succeeded once."""

    name = "on-ready"

    def __init__(self, calls: Sequence[Call]) -> None:
        self._left = list(calls)
        self._tried = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Run the hooks that have not succeeded yet, then end."""
        if not self._tried:
            self._tried = True
            task_status.started()
        while self._left:
            await self._left[0]()
            del self._left[0]
