"""A droplet made ready for one life, as those who serve it see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from udc._types import Access, DropletId
from udc.config import DropletConfig
from udc.identity.claims import Principal
from udc.surface._base import Endpoint, HttpRequest, HttpResponse, Surface

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


class Hosted:
    """A droplet made ready for one life (implements the adapters' `Hosted`)."""

    def __init__(self, parts: Composition) -> None:
        self.parts = parts
        self.surface: Surface = parts.surface

    @property
    def rows(self) -> Sequence[Endpoint]:
        """Its endpoint table."""
        return self.parts.surface.routes.table

    async def admit(self, request: HttpRequest, access: Access, *, scope: str | None) -> Principal:
        """Who calls a route of the application around it; see `HttpSurface.admit`."""
        return await self.parts.surface.admit(request, access, scope=scope)

    def refuse(self, error: Exception, request: HttpRequest) -> HttpResponse:
        """The contract's answer to what such a route raised."""
        return self.parts.surface.refuse(error, request)

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
    def longest_stop_seconds(self) -> float:
        """How long its whole stop may take; see `Runtime.longest_stop_seconds`."""
        return self.parts.runtime.longest_stop_seconds

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
