"""Makes tokens (contract section 6, "Tokens")."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from udc._ids import Ambient
from udc._types import DropletId
from udc.identity._base import Token
from udc.identity.audiences import own_audience, registry_audience
from udc.mesh.registry.keys import KeyRing

LIFETIME_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Whom a token names, and what it allows."""

    droplet_id: DropletId
    permissions: Iterable[str]
    scopes: Iterable[str] = ()
    steward: str = ""
    instance_id: str = ""


class Mint:
    """Signs tokens of one mesh.

    Args:
        issuer, mesh: `iss`, and the audience of the mesh.
        lifetime_seconds: from `iat` to `exp`.
    """

    def __init__(
        self,
        ring: KeyRing,
        *,
        issuer: str,
        mesh: str,
        ambient: Ambient,
        lifetime_seconds: int = LIFETIME_SECONDS,
    ) -> None:
        self._ring, self._ambient = ring, ambient
        self.lifetime_seconds = lifetime_seconds
        self.issuer: str = issuer
        self.mesh: str = mesh
        self.registry: str = registry_audience(mesh)

    def own(self, droplet_id: DropletId) -> str:
        """The audience of one droplet."""
        return own_audience(self.mesh, droplet_id)

    def token(self, bearer: Bearer, audience: str | None) -> Token:
        """A token signed now; without `aud` for the audience `None`. Takes 0.2 to 1 ms."""
        now = self._ambient.wall()
        # Whole seconds, rounded down: a peer whose clock is a little behind must not read "issued in the future".
        issued_at = math.floor(now)
        named = isinstance(bearer.droplet_id, str)
        claims = {
            "iss": self.issuer,
            "aud": audience,
            # The claim is a number or absent (contract section 6): a droplet with a name is known by its subject.
            "droplet_id": None if named else bearer.droplet_id,
            "sub": bearer.droplet_id if named else f"droplet-{bearer.droplet_id}",
            "steward": bearer.steward or None,
            "permissions": sorted(bearer.permissions),
            "scope": " ".join(sorted(bearer.scopes)) or None,
            "instance_id": bearer.instance_id or None,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_seconds,
            "jti": self._ambient.new_id(),
        }
        value = self._ring.current.sign({name: claim for name, claim in claims.items() if claim is not None})
        return Token(value=value, issued_at=now, expires_at=float(issued_at + self.lifetime_seconds))
