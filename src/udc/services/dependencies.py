"""Measures whether the peers that a droplet needs and wants are there. A service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import anyio
from anyio.abc import TaskStatus

from udc._types import DropletId
from udc.errors import DeliveryError, UnknownPeer
from udc.messages import Peer
from udc.models import Dependencies, DependencyInfo

_PROBE_SECONDS: Final = 2.0
_EVERY_SECONDS: Final = 15.0
_SOON_SECONDS: Final = 3.0
"""While somebody is away it is measured more often: at the start nearly everybody is."""

Seen = Literal["there", "away", "unknown"]
Resolve = Callable[[DropletId], Awaitable[Peer]]
Probe = Callable[[Peer], Awaitable[bool]]


class DependencyWatch:
    """Asks each dependency's `/health` in turn, and keeps the last answer for `/dependencies`.

    Args:
        needs, wants: ids or names.
        resolve: finds the peer; raises UnknownPeer.
        probe: whether the peer answers; may raise DeliveryError.
    """

    name = "dependency-watch"

    def __init__(
        self,
        *,
        needs: Sequence[DropletId],
        wants: Sequence[DropletId],
        resolve: Resolve,
        probe: Probe,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        self._needs = tuple(needs)
        self._wants = tuple(wants)
        self._resolve = resolve
        self._probe = probe
        self._every = every_seconds
        self._peers: dict[DropletId, Peer] = {}
        self._seen: dict[DropletId, Seen] = {}

    def measured(self) -> Dependencies:
        """How things stood at the last measurement; what has not been measured yet counts as away."""
        required = [self._row(each, "connected", "disconnected") for each in self._needs]
        optional = [self._row(each, "available", "unavailable") for each in self._wants]
        missing = [
            row
            for row, each in zip([*required, *optional], [*self._needs, *self._wants], strict=True)
            if self._seen.get(each, "unknown") == "unknown"
        ]
        return Dependencies(required=tuple(required), optional=tuple(optional), missing=tuple(missing))

    def _row(
        self, each: DropletId, there: Literal["connected", "available"], away: Literal["disconnected", "unavailable"]
    ) -> DependencyInfo:
        peer = self._peers.get(each)
        known = peer.id if peer else (each if isinstance(each, int) else None)
        name = peer.label if peer else str(each)
        return DependencyInfo(id=known, name=name, status=there if self._seen.get(each) == "there" else away)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Measure for ever; the first round goes on while the droplet already serves."""
        task_status.started()
        if not self._needs and not self._wants:
            return
        while True:
            async with anyio.create_task_group() as round_:
                for each in dict.fromkeys((*self._needs, *self._wants)):
                    round_.start_soon(self._measure, each)
            everybody = all(self._seen.get(each) == "there" for each in (*self._needs, *self._wants))
            await anyio.sleep(self._every if everybody else min(self._every, _SOON_SECONDS))

    async def _measure(self, each: DropletId) -> None:
        seen: Seen = "away"
        with anyio.move_on_after(_PROBE_SECONDS):
            try:
                self._peers[each] = await self._resolve(each)
                seen = "there" if await self._probe(self._peers[each]) else "away"
            except UnknownPeer:
                self._peers.pop(each, None)
                seen = "unknown"
            except DeliveryError:
                seen = "away"
        self._seen[each] = seen
