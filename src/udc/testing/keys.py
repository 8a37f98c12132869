"""Signing keys and tokens for tests: made once per process, any claim can be forged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from udc import _ids
from udc._types import DropletId
from udc.identity.audiences import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from udc.identity.keys import SigningKey

__all__ = ["OPERATOR_ID", "Keys"]

OPERATOR_ID: Final = 999
"""Who tests speak as unless they say otherwise (contract section 9, `operator.id`)."""

ALL_PERMISSIONS: Final = ("read", "write", "admin")
"""What the operator may do."""


@cache
def _made(name: str, number: int) -> SigningKey:
    """A key by its name: an RSA key takes up to half a second, so one process makes each only once."""
    return SigningKey.generate(kid=f"{name}-{number}")


class Keys:
    """The keys of one issuer, and tokens signed with them in the contract's form (section 6).

    Two `Keys` of one name sign with the same keys; `Keys("stranger")` signs with keys that no mesh knows.

    Args:
        name: whose keys; begins every `kid`.
        issuer: `iss` of the tokens.
        audience: `aud` of the tokens, unless one is asked for.
        wall: seconds since the epoch; the machine's own clock by default.
        lifetime_seconds: how long tokens live.
    """

    def __init__(
        self,
        name: str = "registry",
        *,
        issuer: str = DEFAULT_ISSUER,
        audience: str = DEFAULT_AUDIENCE,
        wall: Callable[[], float] | None = None,
        lifetime_seconds: int = 3600,
    ) -> None:
        ambient = _ids.system()
        self.name = name
        self.issuer = issuer
        self.audience = audience
        self.lifetime_seconds = lifetime_seconds
        self.wall: Callable[[], float] = wall or ambient.wall
        self._new_id = ambient.new_id
        self._number = 1

    @property
    def current(self) -> SigningKey:
        """The key that signs now."""
        return _made(self.name, self._number)

    @property
    def public_pem(self) -> str:
        """The public half of the key that signs now, for `security.public_key`."""
        return self.current.public_pem

    def rotate(self) -> SigningKey:
        """Sign with a new key from now on, and return it."""
        self._number += 1
        return self.current

    def token(
        self,
        *,
        droplet_id: DropletId | None = OPERATOR_ID,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        scopes: Iterable[str] = (),
        **claims: Any,  # Any: JSON values, wrong ones included
    ) -> str:
        """A token signed now.

        Args:
            droplet_id: whose.
            permissions: of `read`, `write`, `admin`.
            scopes: named rights beyond those.
            claims: further claims, or other values for those above: `exp=0`, `iss="somebody"`; `None` leaves
                a claim out, so `aud=None` is a token without audience.
        """
        now = int(self.wall())
        made: dict[str, Any] = {  # Any: JSON values
            "iss": self.issuer,
            "aud": self.audience,
            "droplet_id": droplet_id,
            "sub": f"droplet-{droplet_id}",
            "steward": "tests",
            "permissions": sorted(permissions),
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "jti": self._new_id(),
        }
        return self.current.sign({name: value for name, value in {**made, **claims}.items() if value is not None})

    def __repr__(self) -> str:
        return f"Keys({self.name!r}, kid={self.current.kid!r})"
