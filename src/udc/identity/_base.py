"""The seams of identity: what checks a token and what gets one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Protocol, runtime_checkable

from udc._frozen import dataclass
from udc.identity.claims import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token and its life. Never shows its value in a repr.

    Attributes:
        value: the token itself.
        issued_at, expires_at: seconds since the epoch by our own wall clock.
    """

    value: str = field(repr=False)
    issued_at: float
    expires_at: float


class Verifier(Protocol):
    """Checks bearer tokens."""

    async def verify(self, token: str) -> Principal:
        """Who the bearer is. Does not suspend for a token it has seen.

        Raises:
            Unauthorized: missing, malformed, expired, foreign, or for somebody else.
            KeysUnavailable: there are no keys to check it with, after waiting up to 2 s for them.
        """
        ...


@runtime_checkable
class Recalls(Protocol):
    """A verifier that can tell at once whom a token it has seen proves, without a task switch in between."""

    def recall(self, token: bytes) -> Principal | None:
        """Who the bearer is, if that has been found out before and still holds; else `None`: ask `verify`.

        Args:
            token: as it was sent, in ASCII, if it is a token at all.
        """
        ...


def recall_of(verifier: Verifier) -> Callable[[bytes], Principal | None] | None:
    """How the verifier recalls; `None` where it does not.

    One whose `verify` is of a later class than its `recall` does not: it checks more than what it inherits remembers.
    """
    if not isinstance(verifier, Recalls):
        return None
    for each in type(verifier).__mro__:
        if "recall" in vars(each):
            break
        if "verify" in vars(each):
            return None
    return verifier.recall


class TokenSource(Protocol):
    """Gets tokens from where they are made: a Registry, a setting, an own signing key."""

    async def fetch(self, audience: str | None) -> Token:
        """A new token for the audience; `None` = one without `aud`, for peers that refuse it.

        Raises:
            TokenError: none to be had, and why.
        """
        ...


class Tokens(Protocol):
    """Holds one live token per audience (the token manager)."""

    async def get(self, audience: str | None) -> Token:
        """The token to use now; fetched once for any number of waiting callers.

        Raises:
            TokenError: none to be had.
        """
        ...

    async def renew(self, audience: str | None, rejected: Token) -> Token:
        """A token other than `rejected`, which a peer has just refused with 401.

        Raises:
            TokenError: none to be had.
        """
        ...
