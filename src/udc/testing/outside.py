"""The test's own side of a mesh: whom its client finds, and the tokens it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from udc._http import HttpClient
from udc._ids import Ambient
from udc._types import DropletId
from udc.directory import ambiguous, not_known, wanted_of
from udc.errors import TokenError
from udc.identity._base import Token
from udc.identity.sources import received_token
from udc.messages import Peer
from udc.testing.keys import Keys
from udc.testing.members import Member
from udc.wire.canonical import canonical_json
from udc.wire.json_text import parse_object

_AVOID_SECONDS: Final = 5.0


class Everybody:
    """All members of a mesh, by id, name or capability, without asking a Registry (implements `Directory`).

    The instances of a droplet are tried in an order drawn by lot, those that refused just now last.

    Args:
        members: asked at every call, because they come and go.
        chance: a float in [0, 1).
    """

    def __init__(self, members: Callable[[], Sequence[Member]], *, chance: Callable[[], float]) -> None:
        self._members = members
        self._chance = chance
        self._avoided: dict[tuple[str, str | None], float] = {}

    async def candidates(self, target: DropletId) -> Sequence[Peer]:
        """See `Directory.candidates`; never suspends."""
        wanted = wanted_of(target)
        peers = [each.peer() for each in self._look(wanted)]
        if not peers:
            raise not_known(wanted, [each.peer() for each in self._members() if each.number == 1])
        if len(peers) > 1:
            peers.sort(key=lambda peer: (self._is_avoided(peer), self._chance()))
        return peers

    async def instance(self, target: DropletId, instance_id: str) -> Peer | None:
        """See `Directory.instance`."""
        return next((peer for peer in await self.candidates(target) if peer.instance_id == instance_id), None)

    def avoid(self, peer: Peer) -> None:
        """Prefer others for 5 s, until then or until it has been started anew."""
        self._avoided[peer.endpoint, peer.instance_id] = anyio.current_time() + _AVOID_SECONDS

    def droplets(self, *, capability: str | None = None) -> Sequence[DropletId]:
        """See `Directory.droplets`."""
        found = (each.id for each in self._members() if capability is None or capability in each.capabilities)
        return tuple(dict.fromkeys(found))

    def _look(self, wanted: DropletId) -> list[Member]:
        members = self._members()
        if isinstance(wanted, int):
            return [each for each in members if each.id == wanted]
        named = [each for each in members if each.name == wanted]
        named = named or [each for each in members if each.name.casefold() == wanted.casefold()]
        ids = list(dict.fromkeys(each.id for each in named))
        if len(ids) > 1:
            raise ambiguous(wanted, ids)
        return named or [each for each in members if wanted in each.capabilities]

    def _is_avoided(self, peer: Peer) -> bool:
        return anyio.current_time() < self._avoided.get((peer.endpoint, peer.instance_id), 0.0)


class Signed:
    """Tokens signed on the spot with the fake Registry's key (implements `TokenSource`)."""

    def __init__(
        self, keys: Keys, ambient: Ambient, droplet_id: DropletId, permissions: Sequence[str], scopes: Sequence[str]
    ) -> None:
        self._keys = keys
        self._ambient = ambient
        self._droplet_id = droplet_id
        self._permissions = permissions
        self._scopes = scopes

    async def fetch(self, audience: str | None) -> Token:
        """A token signed now; never suspends."""
        now = self._ambient.wall()
        value = self._keys.token(
            droplet_id=self._droplet_id, permissions=self._permissions, scopes=self._scopes, aud=audience
        )
        return Token(value=value, issued_at=now, expires_at=now + self._keys.lifetime_seconds)


class Granted:
    """Tokens that the mesh's own Registry gives for its secret (implements `TokenSource`).

    Args:
        registry: its base URL.
        secret: asked for at every call.
    """

    def __init__(
        self,
        registry: str,
        client: HttpClient,
        ambient: Ambient,
        *,
        secret: Callable[[], str],
        droplet_id: DropletId,
        permissions: Sequence[str],
        scopes: Sequence[str],
    ) -> None:
        self._url = f"{registry}/auth/token"
        self._client = client
        self._ambient = ambient
        self._secret = secret
        self._asked: dict[str, Any] = {  # Any: JSON values
            "droplet_id": droplet_id,
            "permissions": list(permissions),
            "scope": " ".join(scopes),
        }

    async def fetch(self, audience: str | None) -> Token:
        """A token of the Registry.

        Raises:
            TokenError: it refused.
            DeliveryError: it cannot be reached.
        """
        asked_at = self._ambient.wall()
        body = canonical_json({**self._asked, "audience": audience, "secret": self._secret()})
        answer = await self._client.request(
            "POST",
            self._url,
            headers=(("content-type", "application/json"), ("x-droplet-secret", self._secret())),
            content=body,
            peer="the Registry",
        )
        if answer.status != 200:
            raise TokenError(f"{self._url} answered {answer.status}: {answer.body[:200]!r}")
        told = parse_object(answer.body)
        return received_token(str(told["token"]), now=asked_at, expires_in=told.get("expires_in"))
