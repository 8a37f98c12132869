"""A Registry of the sqlite style (v1): a key with every call, and three status words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from udc._http import HttpAnswer
from udc._ids import Ambient, iso_utc
from udc._types import DropletId
from udc.clients import _answers, _foreign
from udc.clients._base import Beat, BeatAnswer, Changes, Listing, Registered, Registration, RevocationList
from udc.clients._calls import Calls, Headers
from udc.clients.usage import Usage
from udc.clients.v2 import KEY_HEADER


class SqliteRegistry:
    """The sqlite style. Implements `RegistryClient`.

    Args:
        calls: to the Registry.
        key: shown with every call.
        droplet_id: who we are.
        usage: what its heartbeats ask for, measured now.
        ambient: our wall clock.
    """

    def __init__(
        self, calls: Calls, *, key: str | None, droplet_id: DropletId, usage: Callable[[], Usage], ambient: Ambient
    ) -> None:
        self._calls = calls
        self._key: Headers = () if key is None else ((KEY_HEADER, key),)
        self._known_as: int | str = droplet_id
        self._usage = usage
        self._ambient = ambient

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`."""
        body = _foreign.superset(registration, status=_foreign.health_word(registration.body["status"]))
        answer = await self._send("POST", "/registry/register", body)
        self._calls.check(answer, "POST", "/registry/register")
        told = _answers.opened(self._calls.read(answer))
        self._known_as = _foreign.given_id(told) or self._known_as
        return Registered(
            record=dict(told), beat_every_seconds=_foreign.BEAT_SECONDS, lease_ttl_seconds=_foreign.LEASE_SECONDS
        )

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`."""
        answer = await self._beat(_foreign.health_word(beat.status))
        _foreign.check_beat(self._calls, answer, "POST", "/registry/heartbeat")
        return BeatAnswer()

    async def deregister(self) -> None:
        """See `RegistryClient.deregister`: this style knows no leaving, so it is told that we are down."""
        answer = await self._beat("down")
        if answer.status != HTTPStatus.NOT_FOUND:
            self._calls.check(answer, "POST", "/registry/heartbeat")

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        return _foreign.listing(self._calls, await self._send("GET", "/registry/droplets"), "/registry/droplets")

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """`None`: this style has no watch."""
        return None

    async def revocations(self) -> RevocationList | None:
        """`None`: this style has no list of revoked tokens."""
        return None

    async def _beat(self, status: str) -> HttpAnswer:
        usage = self._usage()
        body = {
            "id": self._known_as,
            "status": status,
            "cpu": usage.cpu_percent,
            "mem": usage.memory_mb,
            "disk": usage.disk_percent,
            "last_seen": iso_utc(self._ambient.now()),
        }
        return await self._send("POST", "/registry/heartbeat", body)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,  # Any: JSON values
    ) -> HttpAnswer:
        return await self._calls.send(method, path, body=body, headers=self._key)
