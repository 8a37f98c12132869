"""A droplet made ready for one life, as those who serve it see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from udc._types import DropletId
from udc.config import DropletConfig
from udc.surface._base import Surface

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


class Hosted:
    """A droplet made ready for one life (implements the adapters' `Hosted`)."""

    def __init__(self, parts: Composition) -> None:
        self.parts = parts

    @property
    def surface(self) -> Surface:
        """Where its requests go."""
        return self.parts.surface

    @property
    def droplet_id(self) -> DropletId:
        """The id it goes by."""
        return self.parts.facts.id

    @property
    def config(self) -> DropletConfig:
        """Its configuration."""
        return self.parts.settings.config

    @property
    def grace_seconds(self) -> float:
        """How long work in flight may go on when it stops."""
        return self.config.limits.grace_seconds

    @property
    def trusted_proxies(self) -> Sequence[str]:
        """Addresses and networks whose word is taken about where a request comes from."""
        return self.config.server.trusted_proxies

    async def until_stopping(self) -> None:
        """Return when it has been asked to stop, by whomever."""
        await self.parts.runtime.until_stopping()

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Live once; see `Runtime.serve`."""
        self.parts.definition.attach(self.parts.contexts.mesh())
        try:
            await self.parts.runtime.serve(task_status=task_status)
        finally:
            self.parts.definition.attach(None)

    async def over(self) -> None:
        """Returns when streams must end; see `Runtime.over`."""
        await self.parts.runtime.over()

    def request_stop(self, *, at_once: bool = False) -> None:
        """Ask for the graceful end; `at_once` leaves the grace out."""
        self.parts.request_stop(at_once=at_once)
