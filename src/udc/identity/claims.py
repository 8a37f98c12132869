"""Who a caller proved to be."""

from __future__ import annotations

from collections.abc import Iterable

from udc._frozen import dataclass
from udc._types import Access, DropletId

_GRANTS: dict[str, frozenset[str]] = {
    "read": frozenset({"read", "admin"}),
    "write": frozenset({"write", "admin"}),
    "admin": frozenset({"admin"}),
}


def implied(permissions: Iterable[str]) -> frozenset[str]:
    """These permissions and those that they include: `admin` both others, `write` not `read` (contract section 2)."""
    held = frozenset(permissions)
    return held | {"read", "write"} if "admin" in held else held


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified caller: a droplet, or a subject of another kind (contract section 6).

    Attributes:
        subject: the token's `sub`.
        droplet_id: the droplet it is; `None` for a subject that is none.
        permissions: of `read`, `write`, `admin`.
        scopes: named rights beyond the permissions.
        audience: the audience it was accepted for.
        expires_at: end of the token, seconds since the epoch.
        token_id: the token's `jti`, when it has one.
        anonymous: nobody proved anything; only where `require_auth` is off, on loopback.
    """

    subject: str
    droplet_id: DropletId | None
    issuer: str
    permissions: frozenset[str]
    scopes: frozenset[str] = frozenset()
    audience: str = ""
    expires_at: float = 0.0
    steward: str | None = None
    instance_id: str | None = None
    token_id: str | None = None
    anonymous: bool = False

    def may(self, access: Access) -> bool:
        """Whether the permissions allow it; `admin` includes both others, `write` does not include `read`."""
        return access == "public" or not self.permissions.isdisjoint(_GRANTS[access])
