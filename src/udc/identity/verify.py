"""From a bearer token to the caller it proves: checked in full once, then remembered (contract section 6)."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Final, TypeAlias

from jwt import PyJWK
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from udc._ids import Ambient
from udc.errors import ConfigError, Unauthorized
from udc.identity._token_checks import Expected, check_claims, check_header
from udc.identity.claims import Principal
from udc.identity.jwks import Aging, KeySet
from udc.identity.policy import IssuerPolicy
from udc.identity.revocations import Revocations

__all__ = ["MAX_TOKEN_CHARS", "IssuerPolicy", "NoAuth", "TokenVerifier"]

MAX_TOKEN_CHARS: Final = 8 * 1024
"""Longer tokens are refused before anything looks into them."""

_LATELY_TOKENS: Final = 64
_LATELY_SECONDS: Final = 10.0
"""How many tokens are remembered whole, and after how long the next call lets go of them: while their bearers talk,
hashing them again and again is a twentieth of what a message costs. A process should not hold all that are alive."""

_Seen: TypeAlias = tuple[float, int, float, Principal, int]
"""Of a token that verified: its end with leeway, the revision of the keys, its issuing, the caller, its length."""


class TokenVerifier:
    """Checks the bearer tokens of one issuer for a set of audiences. Implements `Verifier`.

    What verified once is remembered by the SHA-256 of the token until it expires, the keys change or it is revoked;
    failures never are, or anybody could push good entries out. A few tokens are remembered whole while there
    are calls, but nothing about them is taken on trust for that. The memory is this verifier's own.

    Args:
        keys: the issuer's.
        issuer: the `iss` asked for.
        audiences: any one of them must be in `aud`.
        policy: how this issuer's tokens may deviate.
        cache_entries: how many verified tokens are remembered; the oldest goes first.
        cache_bytes: how long all of them may be together.
        revocations: the deny-list, looked up on every call.

    Raises:
        ConfigError: no issuer, no audience, or no room in the cache.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audiences: frozenset[str],
        ambient: Ambient,
        policy: IssuerPolicy | None = None,
        cache_entries: int = 10_000,
        cache_bytes: int = 16 * 1024 * 1024,
        revocations: Revocations | None = None,
    ) -> None:
        if not issuer or not audiences or not all(audiences) or cache_entries < 1:
            raise ConfigError(["verifying tokens needs an issuer, an audience and room for at least one token"])
        self._keys = keys
        self._aging = keys if isinstance(keys, Aging) else None
        self._expected = Expected(issuer, frozenset(audiences), policy or IssuerPolicy())
        self._wall = ambient.wall
        self._cache_entries, self._cache_bytes = cache_entries, cache_bytes
        self._bytes = 0
        self._revocations = revocations if revocations is not None else Revocations(wall=ambient.wall)
        self._jws = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})
        self._seen: dict[bytes, _Seen] = {}
        self._lately: dict[bytes, _Seen] = {}
        self._lately_since = -math.inf

    needs_token: Final = True
    """Nobody is let in without one, which saves waiting for the bodies of those that show none."""

    async def verify(self, token: str) -> Principal:
        """Who the bearer is. Does not suspend for a token it has seen, nor for one whose key is at hand.

        Raises:
            Unauthorized: for whatever is wrong with the token; the reason holds nothing of it.
            KeysUnavailable: there are no keys yet, after waiting for them.
        """
        if not isinstance(token, str) or not token:
            raise Unauthorized("there is no bearer token")
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            raise Unauthorized("the bearer token is not a signed JWT")
        digest = sha256(token.encode("ascii")).digest()
        seen = self._seen.get(digest)
        if seen is not None:
            ends_at, revision, issued_at, principal, _ = seen
            if revision == self._keys.revision and self._wall() < ends_at:
                self._check_revoked(principal, issued_at)
                return principal
            self._forget(digest)
        return await self._verify_unseen(token, digest)

    def recall(self, token: bytes) -> Principal | None:
        """Who the bearer is, if the token was verified before, has not ended, its key is in use and nothing revokes it.

        `None` in every other case: `verify` finds out, and says what is wrong.
        """
        now = self._wall()
        if not self._lately_since <= now < self._lately_since + _LATELY_SECONDS:
            self._lately.clear()
            self._lately_since = now
        seen = self._lately.get(token)
        if seen is None:
            seen = self._seen.get(sha256(token).digest())
            if seen is None:
                return None
            if len(self._lately) < _LATELY_TOKENS:
                self._lately[token] = seen
        ends_at, revision, issued_at, principal, _ = seen
        if revision != self._keys.revision or now >= ends_at:
            self._lately.pop(token, None)
            return None
        revocations = self._revocations
        return None if revocations.active and revocations.covers(principal, issued_at) else principal

    async def _verify_unseen(self, token: str, digest: bytes) -> Principal:
        policy = self._expected.policy
        kid = check_header(token, policy.algorithms)
        key = await self._keys.key(kid)
        # Nothing suspends from here on, so the revision belongs to this key.
        payload = self._check_signature(token, key)
        principal, issued_at = check_claims(payload, self._expected, self._wall())
        self._check_revoked(principal, issued_at)
        self._remember(digest, len(token), (principal.expires_at + policy.leeway_seconds, issued_at, principal))
        return principal

    def _remember(self, digest: bytes, size: int, found: tuple[float, float, Principal]) -> None:
        self._forget(digest)
        # What is kept of a token is hardly longer than the token.
        while self._seen and (len(self._seen) >= self._cache_entries or self._bytes + size > self._cache_bytes):
            self._forget(next(iter(self._seen)))
        ends_at, issued_at, principal = found
        if self._aging is not None:
            # What is remembered asks for no key: without this nobody would notice that a new set is due.
            ends_at = min(ends_at, self._wall() + self._aging.believed_seconds())
        self._seen[digest] = (ends_at, self._keys.revision, issued_at, principal, size)
        self._bytes += size

    def _forget(self, digest: bytes) -> None:
        old = self._seen.pop(digest, None)
        if old is not None:
            self._bytes -= old[-1]

    def _check_signature(self, token: str, key: PyJWK) -> bytes:
        try:
            payload = self._jws.decode(token, key, algorithms=list(self._expected.policy.algorithms))
        except (PyJWTError, ValueError, TypeError):
            raise Unauthorized("the token's signature does not verify") from None
        return bytes(payload)

    def _check_revoked(self, principal: Principal, issued_at: float) -> None:
        if self._revocations.active and self._revocations.covers(principal, issued_at):
            raise Unauthorized("the token has been revoked")

    def __repr__(self) -> str:
        return f"TokenVerifier(issuer={self._expected.issuer!r}, audiences={sorted(self._expected.audiences)!r})"


_ANYBODY: Final = Principal(
    subject="anonymous",
    droplet_id=None,
    issuer="",
    permissions=frozenset({"read", "write", "admin"}),
    anonymous=True,
)


class NoAuth:
    """For `require_auth: false`, on loopback only: everybody is the anonymous caller, who may do anything."""

    __slots__ = ()

    async def verify(self, token: str) -> Principal:
        """The anonymous caller, whatever the token; raises nothing."""
        return _ANYBODY
