"""Every check of a token that needs no key: its form and header before, its claims after the signature.

Each raises `Unauthorized` with a reason that holds nothing of the token, and nothing else.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, cast

from udc._frozen import dataclass
from udc._types import DropletId
from udc.errors import Unauthorized
from udc.identity import _base64url
from udc.identity.claims import Principal
from udc.identity.policy import IssuerPolicy

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_KID_CHARS: Final = 256
_MAX_NAME_CHARS: Final = 256
# The year 5138. A larger number is milliseconds or rubbish, and would be a token for ever.
_MAX_MOMENT: Final = 1e11
# RFC 8725 section 3.11: tokens of other kinds (DPoP proofs, logout tokens, refresh tokens) must not pass as bearer.
_BEARER_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_KIND_CLAIMS: Final = ("token_use", "typ", "token_type", "type")
_NOT_BEARER: Final = frozenset({"id", "id_token", "offline"})
_NUMBERED: Final = re.compile(r"(?:droplet-|drop)([0-9]{1,18})(?:\..*)?|([0-9]{1,18})")
_PERMISSIONS: Final = frozenset({"read", "write", "admin"})


@dataclass(frozen=True, slots=True)
class Expected:
    """What a verifier asks for."""

    issuer: str
    audiences: frozenset[str]
    policy: IssuerPolicy


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_json: Final = json.JSONDecoder(parse_constant=_no_constant)


def _object(data: bytes, reason: str) -> dict[str, Any]:  # Any: JSON values
    try:
        # Decoded here, not by json.loads, which would also take UTF-16 and UTF-32.
        found: object = _json.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unauthorized(reason) from None
    if not isinstance(found, dict):
        raise Unauthorized(reason)
    return cast("dict[str, Any]", found)  # Any: JSON values


def check_header(token: str, algorithms: tuple[str, ...]) -> str | None:
    """The `kid` of a token whose form and header are acceptable; `None` when it names none.

    `jwk`, `jku`, `x5u` and `x5c` are never read: a token does not bring its own key.
    """
    if not _COMPACT.fullmatch(token):
        raise Unauthorized("the bearer token is not a signed JWT")
    try:
        data = _base64url.decode(token[: token.index(".")])
    except ValueError:
        raise Unauthorized("the token's header is malformed") from None
    header = _object(data, "the token's header is malformed")
    if header.get("alg") not in algorithms:
        raise Unauthorized("the token is signed with an algorithm that is not accepted here")
    if "crit" in header or "b64" in header:
        raise Unauthorized("the token's header asks for an extension that is not supported")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _BEARER_TYPES:
        raise Unauthorized("the token is not an access token")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID_CHARS):
        raise Unauthorized("the token's kid is malformed")
    return kid


def check_claims(payload: bytes, expected: Expected, now: float) -> tuple[Principal, float]:
    """The caller, and when the token was issued, from a payload whose signature is good.

    Args:
        payload: the decoded second part.
        expected: what the verifier asks for.
        now: seconds since the epoch.
    """
    claims = _object(payload, "the token's claims are malformed")
    policy = expected.policy
    issued_at, expires_at = _check_times(claims, now, policy.leeway_seconds)
    _check_kind(claims)
    issuer = _check_issuer(claims, expected)
    audience = _check_audience(claims, expected)
    droplet_id = _droplet_id(claims, policy)
    principal = Principal(
        subject=_text(claims, "sub") or f"droplet-{droplet_id}",
        droplet_id=droplet_id,
        issuer=issuer,
        permissions=_permissions(claims, policy),
        scopes=_scopes(claims),
        audience=audience,
        expires_at=expires_at,
        steward=_text(claims, "steward"),
        instance_id=_text(claims, "instance_id"),
        token_id=_text(claims, "jti"),
    )
    return principal, issued_at


def _moment(claims: dict[str, Any], name: str) -> float:  # Any: JSON values
    value = claims[name]
    # A bool is an int to Python, a huge int overflows float(), 1e999 is read as infinity: the range stops them all.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MAX_MOMENT:
        raise Unauthorized(f"the token's {name} is not a time in seconds")
    return float(value)


def _check_times(claims: dict[str, Any], now: float, leeway: float) -> tuple[float, float]:  # Any: JSON values
    for name in ("exp", "iat"):
        if name not in claims:
            raise Unauthorized(f"the token has no {name}")
    issued_at, expires_at = _moment(claims, "iat"), _moment(claims, "exp")
    if now >= expires_at + leeway:
        raise Unauthorized("the token has expired")
    if issued_at > now + leeway:
        raise Unauthorized("the token was issued in the future; compare the clocks")
    if expires_at <= issued_at:
        raise Unauthorized("the token ends before it begins")
    if "nbf" in claims and _moment(claims, "nbf") > now + leeway:
        raise Unauthorized("the token is not valid yet")
    return issued_at, expires_at


def _check_kind(claims: dict[str, Any]) -> None:  # Any: JSON values
    for name in _KIND_CLAIMS:
        kind = claims.get(name)
        if isinstance(kind, str) and ("refresh" in kind.lower() or kind.lower() in _NOT_BEARER):
            raise Unauthorized("the token is not an access token")


def _check_issuer(claims: dict[str, Any], expected: Expected) -> str:  # Any: JSON values
    if "iss" not in claims and expected.policy.allow_missing_issuer:
        return expected.issuer
    if claims.get("iss") != expected.issuer:
        raise Unauthorized("the token is from another issuer")
    return expected.issuer


def _check_audience(claims: dict[str, Any], expected: Expected) -> str:  # Any: JSON values
    if "aud" not in claims and expected.policy.allow_missing_audience:
        return ""
    named: object = claims.get("aud")
    for audience in cast("list[object]", named) if isinstance(named, list) else [named]:
        if isinstance(audience, str) and audience in expected.audiences:
            return audience
    raise Unauthorized("the token is for another audience")


def _droplet_id(claims: dict[str, Any], policy: IssuerPolicy) -> DropletId:  # Any: JSON values
    value = claims.get("droplet_id")
    if value is None and policy.droplet_id_from_sub:
        return _id_from_subject(_text(claims, "sub"))
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise Unauthorized("the token names no droplet (droplet_id)")
    return value


def _id_from_subject(subject: str | None) -> DropletId:
    if not subject:
        raise Unauthorized("the token names no droplet (sub)")
    numbered = _NUMBERED.fullmatch(subject)
    if numbered is None:
        return subject
    number = int(numbered[1] or numbered[2])
    if number < 1:
        raise Unauthorized("the token names no droplet (sub)")
    return number


def _text(claims: dict[str, Any], name: str) -> str | None:  # Any: JSON values
    value = claims.get(name)
    if value is None:
        return None
    # These end up in logs and answers: neither line breaks nor lone surrogates.
    if not isinstance(value, str) or len(value) > _MAX_NAME_CHARS or not value.isprintable():
        raise Unauthorized(f"the token's {name} is malformed")
    return value


def _permissions(claims: dict[str, Any], policy: IssuerPolicy) -> frozenset[str]:  # Any: JSON values
    if "permissions" not in claims and policy.role_permissions:
        role = claims.get("role")
        return policy.role_permissions.get(role, frozenset()) if isinstance(role, str) else frozenset()
    named: object = claims.get("permissions", [])
    if not isinstance(named, list):
        raise Unauthorized("the token's permissions are not a list")
    return frozenset(name for name in cast("list[object]", named) if isinstance(name, str)) & _PERMISSIONS


def _scopes(claims: dict[str, Any]) -> frozenset[str]:  # Any: JSON values
    named: object = claims.get("scope")
    if named is None:
        return frozenset()
    if isinstance(named, str):
        return frozenset(named.split())
    if isinstance(named, list):
        return frozenset(name for name in cast("list[object]", named) if isinstance(name, str) and name)
    raise Unauthorized("the token's scope is neither text nor a list")
