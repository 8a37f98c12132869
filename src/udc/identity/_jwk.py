"""From PEM and JWKS to keys that may check a signature: tolerant of odd keys, strict about what is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from udc.errors import ConfigError
from udc.identity.keys import MIN_RSA_BITS, thumbprint

MAX_SET_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 64
# OpenSSL checks a 16,384-bit signature too, in milliseconds: nobody's honest key, but a way to burn our CPU.
_MAX_RSA_BITS: Final = 8192
_MAX_KID_CHARS: Final = 256

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What may be pinned. A shared secret (HS*) would let every checker forge, `none` everybody."""


class UnreadableKeySet(ValueError):
    """A JWKS document that is of no use; the text says why and holds nothing of it."""


def pinned(algorithms: Sequence[str]) -> tuple[str, ...]:
    """The algorithms, once it is sure that each may be pinned.

    Raises:
        ConfigError: none given, or one that is not asymmetric.
    """
    wrong = [name for name in algorithms if name not in ASYMMETRIC]
    if not algorithms or wrong or isinstance(algorithms, str):
        raise ConfigError([f"token algorithms {algorithms!r} must be some of {', '.join(sorted(ASYMMETRIC))}"])
    return tuple(algorithms)


def read_set(body: bytes, algorithms: Sequence[str]) -> dict[str, PyJWK]:
    """The usable keys of a JWKS document (RFC 7517), by `kid`; a key without one by its thumbprint.

    Of two keys with the same `kid` the first counts; keys that cannot be used are left out.

    Raises:
        UnreadableKeySet: not a key set, too large, or without a single usable key.
    """
    if len(body) > MAX_SET_BYTES:
        raise UnreadableKeySet(f"the key set has {len(body)} bytes; at most {MAX_SET_BYTES} are read")
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableKeySet("the key set is not JSON") from None
    entries = cast("dict[str, object]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise UnreadableKeySet("the key set has no list 'keys'")
    candidates = cast("list[object]", entries)
    if len(candidates) > MAX_KEYS:
        raise UnreadableKeySet(f"the key set has {len(candidates)} keys; at most {MAX_KEYS} are read")
    keys: dict[str, PyJWK] = {}
    for candidate in candidates:
        key = usable(candidate, algorithms)
        if key is not None:
            keys.setdefault(name_of(key), key)
    if not keys:
        raise UnreadableKeySet(f"the key set has no key to check {' or '.join(algorithms)} signatures with")
    return keys


def usable(entry: object, algorithms: Sequence[str]) -> PyJWK | None:
    """The key bound to one of the algorithms, or `None` when it must not or cannot check signatures with them."""
    if not isinstance(entry, dict):
        return None
    jwk = cast("dict[str, Any]", entry)  # Any: JSON values
    if not _for_verification(jwk):
        return None
    named = jwk.get("alg")
    # A key that names no algorithm serves the first pinned one that its kind allows, and no other.
    for algorithm in algorithms if named is None else [name for name in algorithms if name == named]:
        try:
            key = PyJWK(jwk, algorithm)
        # PyJWK lets through what odd members cause (a number for "n"); one odd key must not fail the set.
        except (PyJWTError, ValueError, TypeError, AttributeError, KeyError, OverflowError):
            continue
        if _strong(key):
            return key
    return None


def _for_verification(jwk: Mapping[str, Any]) -> bool:  # Any: JSON values
    """Whether the key is public and meant for signatures (RFC 7517 sections 4.2 and 4.3)."""
    if "d" in jwk or "k" in jwk:
        return False
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    kid = jwk.get("kid")
    named = kid is None or (isinstance(kid, str) and 0 < len(kid) <= _MAX_KID_CHARS)
    return named and jwk.get("use") in (None, "sig")


def _strong(key: PyJWK) -> bool:
    if isinstance(key.key, RSAPublicKey):
        return MIN_RSA_BITS <= key.key.key_size <= _MAX_RSA_BITS
    return key.Algorithm.check_key_length(key.key) is None


def name_of(key: PyJWK) -> str:
    """The key's `kid`, else its thumbprint."""
    return key.key_id or thumbprint(members(key))


def members(key: PyJWK) -> dict[str, Any]:  # Any: JSON values
    """The public members of the key, spelled anew: equal for equal keys."""
    found: dict[str, Any] = key.Algorithm.to_jwk(key.key, as_dict=True)  # Any: JSON values
    return found


def from_pem(pem: str | bytes, algorithms: Sequence[str], *, kid: str | None = None) -> PyJWK:
    """The key from one public PEM.

    Raises:
        ConfigError: no public key of a kind and size that the algorithms need.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    if b"PRIVATE KEY" in data:
        raise ConfigError(["security.public_key holds a private key; give its public half"])
    kinds = get_default_algorithms()
    for name in algorithms:
        try:
            jwk = kinds[name].to_jwk(kinds[name].prepare_key(data), as_dict=True)
        except (PyJWTError, ValueError, TypeError):
            continue
        key = usable({**jwk, "alg": name, **({"kid": kid} if kid else {})}, algorithms)
        if key is not None:
            return key
    raise ConfigError(
        [f"security.public_key is no PEM public key for {' or '.join(algorithms)} (RSA: {MIN_RSA_BITS} bits or more)"]
    )
