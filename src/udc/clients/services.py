"""A Registry of the service-list style: services by name, a beat that holds nothing but an id."""

from __future__ import annotations

from udc._types import DropletId
from udc.clients import _answers, _foreign
from udc.clients._base import Beat, BeatAnswer, Changes, Listing, Registered, Registration, RevocationList
from udc.clients._calls import Calls


class ServiceListRegistry:
    """The service-list style. Implements `RegistryClient`.

    Args:
        calls: to the Registry.
        droplet_id: who we are, until the Registry gives us an id of its own.
    """

    def __init__(self, calls: Calls, *, droplet_id: DropletId) -> None:
        self._calls = calls
        self._known_as: int | str = droplet_id

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`."""
        answer = await self._calls.ask("POST", "/register", body=_foreign.superset(registration))
        told = _answers.opened(self._calls.read(answer))
        self._known_as = _foreign.given_id(told) or self._known_as
        return Registered(
            record=dict(told), beat_every_seconds=_foreign.BEAT_SECONDS, lease_ttl_seconds=_foreign.LEASE_SECONDS
        )

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`."""
        answer = await self._calls.send("POST", "/heartbeat", body={"service_id": self._known_as})
        _foreign.check_beat(self._calls, answer, "POST", "/heartbeat")
        return BeatAnswer()

    async def deregister(self) -> None:
        """This style knows no leaving: without beats we are forgotten."""

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        return _foreign.listing(self._calls, await self._calls.send("GET", "/services"), "/services")

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """`None`: this style has no watch."""
        return None

    async def revocations(self) -> RevocationList | None:
        """`None`: this style has no list of revoked tokens."""
        return None
