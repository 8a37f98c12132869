"""What is asked of one issuer's tokens, and what of it a named switch may relax (contract section 6, dialects)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from udc._frozen import dataclass
from udc.errors import ConfigError
from udc.identity import _jwk
from udc.identity.keys import ALGORITHM

MAX_LEEWAY_SECONDS: Final = 60.0
_PERMISSIONS: Final = frozenset({"read", "write", "admin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPolicy:
    """How an issuer's tokens deviate from the contract's. Nothing here turns off the signature, `exp` or `iat`.

    Attributes:
        algorithms: those its tokens may be signed with, pinned: never taken from the token.
        leeway_seconds: how far its clock may be from ours, at most 60.
        allow_missing_issuer: its tokens carry no `iss` (a wrong one is still refused).
        allow_missing_audience: its tokens carry no `aud` (a wrong one is still refused).
        droplet_id_from_sub: its tokens name the droplet in `sub` alone (`droplet-14`, `14`, or a plain name).
        role_permissions: its tokens carry `role` instead of `permissions`: what each role may do.

    Raises:
        ConfigError: a value outside its range.
    """

    algorithms: tuple[str, ...] = (ALGORITHM,)
    leeway_seconds: float = 30.0
    allow_missing_issuer: bool = False
    allow_missing_audience: bool = False
    droplet_id_from_sub: bool = False
    role_permissions: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def __post_init__(self) -> None:
        _jwk.pinned(self.algorithms)
        if not 0 <= self.leeway_seconds <= MAX_LEEWAY_SECONDS:
            raise ConfigError(
                [f"token leeway of {self.leeway_seconds} s is not between 0 and {MAX_LEEWAY_SECONDS:.0f}"]
            )
        for role, permissions in self.role_permissions.items():
            if not permissions <= _PERMISSIONS:
                raise ConfigError([f"role {role!r} has permissions other than read, write, admin"])
