"""Where our own tokens come from: a setting, an own signing key, a Registry (contract section 6)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import ConfigError, TokenError
from udc.identity import _base64url
from udc.identity._base import Token
from udc.identity.audiences import DEFAULT_ISSUER
from udc.identity.origin import require_secure

if TYPE_CHECKING:
    from udc.identity.keys import SigningKey

Headers = tuple[tuple[str, str], ...]
Post = Callable[[str, Headers, bytes], Awaitable[tuple[int, bytes]]]
"""Posts a JSON body: (url, headers, body) to (status, body). Follows no redirects; raises when nothing came back."""

Narrow = Mapping[str | None, frozenset[str]]
"""The most that tokens of an audience allow, by audience."""

_FORBIDDEN: Final = 403
# What may stand in an Authorization header: a token with a newline would write headers of its own.
_BEARER: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_MAX_ANSWER_BYTES: Final = 64 * 1024
# Thirty years: a larger "life" is an absolute time that somebody wrote into the wrong field.
_MAX_LIFE_SECONDS: Final = 1e9
_LIFE_WHEN_UNTOLD_SECONDS: Final = 300.0
_SKEW_SECONDS: Final = 60.0


def received_token(value: str, *, now: float, expires_in: object = None) -> Token:
    """A token just handed to us, its life measured from our own clock, whatever the issuer's clock says.

    Args:
        value: the bearer; may be opaque.
        now: seconds since the epoch when it was *asked for*.
        expires_in: its life in seconds as told; what makes no sense is passed over.

    Raises:
        TokenError: not fit for a header, or without life.
    """
    if not _BEARER.fullmatch(value):
        raise TokenError("what came as a token cannot stand in an Authorization header")
    claims = unverified_claims(value)
    issued, expires = _number(claims.get("iat")), _number(claims.get("exp"))
    lives: list[float] = []
    if (told := _number(expires_in)) is not None and told < _MAX_LIFE_SECONDS:
        lives.append(told)
    if expires is not None:
        # Both ends by the issuer's clock: its skew against ours falls out.
        lives.append(expires - (issued if issued is not None else now))
    life = min(lives, default=_LIFE_WHEN_UNTOLD_SECONDS)
    if life <= 0:
        raise TokenError("the token that came has already expired")
    return Token(value=value, issued_at=now, expires_at=now + life)


def unverified_claims(value: str) -> dict[str, Any]:  # Any: JSON values
    """What a token says of itself, believed by nobody and used for timing only; empty for an opaque one."""
    try:
        claims: object = json.loads(_base64url.decode(value.split(".")[1]))
    except (IndexError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", claims) if isinstance(claims, dict) else {}  # Any: JSON values


def _number(value: object) -> float | None:
    """A finite positive number, else `None`; a bool is no number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e15:
        return None
    return float(value) if math.isfinite(value) else None


class FixedToken:
    """One token from the configuration, the same for every audience. Never shows it.

    Args:
        value: the bearer; its `exp` is read for timing, and an opaque one counts as endless.
        ambient: our wall clock.

    Raises:
        ConfigError: it cannot stand in a header.
    """

    def __init__(self, value: str, *, ambient: Ambient) -> None:
        if not _BEARER.fullmatch(value):
            raise ConfigError(["the fixed token is empty or holds characters that cannot stand in a header"])
        self._value, self._ambient = value, ambient
        self._expires_at = _number(unverified_claims(value).get("exp")) or math.inf

    async def fetch(self, audience: str | None) -> Token:
        """The token.

        Raises:
            TokenError: it has expired.
        """
        now = self._ambient.wall()
        if now >= self._expires_at + _SKEW_SECONDS:
            raise TokenError("the fixed token has expired by this machine's clock; configure a new one")
        return Token(value=self._value, issued_at=now, expires_at=max(self._expires_at, now + 1.0))

    def __repr__(self) -> str:
        return "FixedToken(…)"


class SelfSigned:
    """Tokens that we sign ourselves with issued credentials, in the contract's form.

    Args:
        key: issued to us, or the issuer's own.
        issuer: `iss`; the mesh's.
        droplet_id, steward, permissions, scopes, instance_id: whom the tokens name, and what they allow.
        narrow: the most that tokens of an audience allow, and without any scope; those of others allow it all.
        lifetime_seconds: how long each lives.
        ambient: wall clock and ids.

    Raises:
        ConfigError: a lifetime that is not positive.
    """

    def __init__(
        self,
        key: SigningKey,
        *,
        droplet_id: DropletId,
        ambient: Ambient,
        issuer: str = DEFAULT_ISSUER,
        steward: str = "",
        permissions: Collection[str] = ("read", "write"),
        scopes: Iterable[str] = (),
        instance_id: str | None = None,
        narrow: Narrow | None = None,
        lifetime_seconds: int = 3600,
    ) -> None:
        if lifetime_seconds < 1:
            raise ConfigError([f"a token lifetime of {lifetime_seconds} s is not positive"])
        self._key, self._ambient, self._lifetime = key, ambient, lifetime_seconds
        claims = {
            "iss": issuer,
            "droplet_id": droplet_id,
            "sub": f"droplet-{droplet_id}",
            "steward": steward,
            "permissions": sorted(permissions),
            "scope": " ".join(sorted(scopes)),
            "instance_id": instance_id,
        }
        self._claims = {name: value for name, value in claims.items() if value not in (None, "")}
        self._permissions = frozenset(permissions)
        self._narrow = dict(narrow or {})

    async def fetch(self, audience: str | None) -> Token:
        """A token signed now; `None` = without `aud`. Raises nothing and does not suspend."""
        now = self._ambient.wall()
        # Whole seconds, rounded down: a peer whose clock is a little behind must not read "issued in the future".
        issued_at = math.floor(now)
        claims = {**self._claims, "iat": issued_at, "exp": issued_at + self._lifetime, "jti": self._ambient.new_id()}
        if audience is not None:
            claims["aud"] = audience
        if audience in self._narrow:
            claims["permissions"] = sorted(self._narrow[audience] & self._permissions)
            claims.pop("scope", None)
        return Token(value=self._key.sign(claims), issued_at=now, expires_at=float(issued_at + self._lifetime))

    def __repr__(self) -> str:
        return f"SelfSigned({self._key!r}, sub={self._claims['sub']!r})"


class RegistryTokens:
    """Tokens from a Registry's `POST /auth/token`. Never shows the secret.

    Args:
        url: the Registry's base URL; https, loopback, or a host in `insecure_hosts`.
        droplet_id: who we are.
        secret: what proves it.
        post: sends it.
        ambient: our wall clock.
        narrow: the most that is asked for with tokens of an audience, and no scope; else all that we are enrolled with.

    Raises:
        ConfigError: the URL is not secure, or the secret is empty or cannot stand in a header.
    """

    def __init__(
        self,
        url: str,
        *,
        droplet_id: DropletId,
        secret: str,
        post: Post,
        ambient: Ambient,
        insecure_hosts: frozenset[str] = frozenset(),
        narrow: Narrow | None = None,
    ) -> None:
        require_secure(url, insecure_hosts)
        if not _BEARER.fullmatch(secret):
            raise ConfigError(["the droplet secret is empty or holds characters that cannot stand in a header"])
        self._url = url.rstrip("/") + "/auth/token"
        self._droplet_id, self._secret = droplet_id, secret
        self._post, self._ambient = post, ambient
        self._narrow = dict(narrow or {})

    async def fetch(self, audience: str | None) -> Token:
        """A new token; `None` asks with `"audience": null` for one without `aud`.

        Raises:
            TokenError: the Registry could not be reached, refused, or answered with something else.
        """
        asked = {"droplet_id": self._droplet_id, "secret": self._secret, "audience": audience}
        wanted = self._narrow.get(audience)
        asked_at = self._ambient.wall()
        status, body = await self._ask(asked, wanted)
        if wanted is not None and status == _FORBIDDEN and (less := wanted - _missing(body)) != wanted and less:
            # Enrolled with less than that: then that is the most.
            status, body = await self._ask(asked, less)
        if status not in (200, 201):
            raise TokenError(f"{self._url} answered {status}; {_advice(status, self._droplet_id)}")
        value, expires_in = _read_answer(body, self._url)
        return received_token(value, now=asked_at, expires_in=expires_in)

    async def _ask(self, asked: Mapping[str, object], wanted: frozenset[str] | None) -> tuple[int, bytes]:
        narrowed = {} if wanted is None else {"permissions": sorted(wanted), "scope": ""}
        headers = (("Content-Type", "application/json"), ("X-Droplet-Secret", self._secret))
        try:
            return await self._post(self._url, headers, json.dumps({**asked, **narrowed}).encode())
        except Exception as exc:  # noqa: BLE001 - a border: a client's error may quote the request: only its kind is told
            raise TokenError(f"{self._url} could not be reached ({type(exc).__name__})") from None

    def __repr__(self) -> str:
        return f"RegistryTokens({self._url!r}, droplet_id={self._droplet_id!r})"


def _advice(status: int, droplet_id: DropletId) -> str:
    if status in (401, 403):
        return f"it does not take the secret of droplet {droplet_id!r}"
    if status in (404, 405):
        return "is that the Registry's base URL?"
    return "it will be asked again"


def _missing(body: bytes) -> frozenset[str]:
    """The permissions that a refusal says we are not enrolled with."""
    try:
        found: object = json.loads(body[:_MAX_ANSWER_BYTES])["error"]["details"]["missing"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return frozenset()
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()  # pyright: ignore[reportUnknownArgumentType] - JSON


def _read_answer(body: bytes, url: str) -> tuple[str, object]:
    if len(body) > _MAX_ANSWER_BYTES:
        raise TokenError(f"{url} answered with {len(body)} bytes")
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError):
        raise TokenError(f"{url} answered with something that is not JSON") from None
    fields = cast("dict[str, object]", answer) if isinstance(answer, dict) else {}
    value = fields.get("token") or fields.get("access_token")
    if not isinstance(value, str):
        raise TokenError(f"{url} answered without a token")
    return value, fields.get("expires_in")
