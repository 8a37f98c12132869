"""`@every` jobs and the `@on_ready` hooks, run as services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio
from anyio.abc import TaskStatus

Call: TypeAlias = Callable[[], Awaitable[object]]
"""A job bound to its droplet and context."""


class Job:
    """Calls a function every so many seconds, never twice at a time; missed turns are left out.

    After a crash it runs at once, and only reports to be back when that run succeeded.
    """

    def __init__(self, name: str, call: Call, *, every_seconds: float) -> None:
        self.name = name
        self._call = call
        self._every = every_seconds
        self._failed = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Call for ever, on a fixed beat from the start."""
        if self._failed:
            await self._turn()
        task_status.started()
        due = anyio.current_time() + self._every
        while True:
            await anyio.sleep_until(due)
            await self._turn()
            late = anyio.current_time() - due
            due += self._every * (1 + late // self._every)

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
