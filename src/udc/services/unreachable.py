"""Tells the Orchestrator of peers that could not be reached (`droplet_unreachable`, contract section 7). A service."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._types import DropletId
from udc.errors import DeliveryError, TokenError

_log = logging.getLogger("udc.services")
_QUIET_SECONDS: Final = 60.0
_REMEMBERED: Final = 1_000
"""How many peers may be waiting to be told of, and are remembered as told: more are not told of."""
_SEND_SECONDS: Final = 5.0


class UnreachableNotices:
    """At most one notice per peer and minute; never tried again, and nobody waits for it.

    Args:
        send: tells of one peer; `None` is returned at once where there is no Orchestrator.
        never: droplets that are not told of: Registry, Orchestrator, ourselves.
    """

    name = "unreachable-notices"

    def __init__(self, *, send: Callable[[DropletId], Awaitable[object]], never: frozenset[DropletId | None]) -> None:
        self._send = send
        self._never = never
        self._waiting: dict[DropletId, None] = {}
        self._quiet_until: dict[DropletId, float] = {}
        self._woken = anyio.Event()

    def note(self, target: DropletId | None) -> None:
        """A peer could not be reached. Never waits."""
        if target is None or target in self._never or target in self._waiting:
            return
        now = anyio.current_time()
        if now < self._quiet_until.get(target, now):
            return
        self._quiet_until = {peer: until for peer, until in self._quiet_until.items() if until > now}
        if len(self._quiet_until) >= _REMEMBERED:
            return
        self._quiet_until[target] = now + _QUIET_SECONDS
        self._waiting[target] = None
        self._woken.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Send what is noted, one after the other, until cancelled."""
        task_status.started()
        while True:
            while self._waiting:
                target = next(iter(self._waiting))
                await self._tell(target)
                del self._waiting[target]
            self._woken = anyio.Event()
            await self._woken.wait()

    async def _tell(self, target: DropletId) -> None:
        try:
            with anyio.fail_after(_SEND_SECONDS):
                await self._send(target)
        except (DeliveryError, TokenError, TimeoutError) as error:
            _log.debug("droplet_unreachable not delivered", extra={"target": target, "error": str(error)})
