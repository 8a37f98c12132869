"""Background services and the supervisor that keeps them running."""

from __future__ import annotations

from typing import Protocol

from anyio.abc import TaskStatus


class Service(Protocol):
    """Something that runs beside the requests, as long as the droplet does."""

    @property
    def name(self) -> str:
        """How events and reasons call it."""
        ...

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Run until cancelled; calls `task_status.started()` once it works. Returning early ends it for good."""
        ...
