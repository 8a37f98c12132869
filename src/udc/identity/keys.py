"""The key that signs tokens: RSA for RS256, named by its RFC 7638 thumbprint (contract section 6)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from udc.errors import ConfigError
from udc.identity import _base64url

ALGORITHM: Final = "RS256"
"""What the contract's tokens are signed with."""

MIN_RSA_BITS: Final = 2048
"""Shorter keys are neither made, loaded nor trusted (RFC 7518 section 3.3)."""

_THUMBPRINT_MEMBERS: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}


def thumbprint(jwk: Mapping[str, Any]) -> str:  # Any: JSON values
    """The key's own name, the same wherever it is computed (RFC 7638): sha256 in base64url.

    Raises:
        ValueError: not the public members of an RSA, EC or OKP key.
    """
    names = _THUMBPRINT_MEMBERS.get(str(jwk.get("kty")))
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        raise ValueError("no thumbprint: the public members of the key are missing")
    members = {name: jwk[name] for name in names}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _base64url.encode(hashlib.sha256(canonical.encode()).digest())


class SigningKey:
    """Signs tokens with RS256. Never shows its private half.

    Args:
        private: RSA, at least 2048 bits.
        kid: the name under which its public half is published; the RFC 7638 thumbprint unless given.

    Raises:
        ConfigError: the key is too short, or the name is empty.
    """

    __slots__ = ("_jwk", "_private", "kid")

    def __init__(self, private: RSAPrivateKey, *, kid: str | None = None) -> None:
        if private.key_size < MIN_RSA_BITS:
            raise ConfigError([f"the signing key has {private.key_size} bits; RS256 needs at least {MIN_RSA_BITS}"])
        if kid is not None and not kid:
            raise ConfigError(["the signing key's kid is empty; leave it out to get the thumbprint"])
        members = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        self._private = private
        self.kid: str = kid or thumbprint(members)
        self._jwk = {
            "kty": "RSA",
            "use": "sig",
            "alg": ALGORITHM,
            "kid": self.kid,
            "n": members["n"],
            "e": members["e"],
        }

    @classmethod
    def generate(cls, *, kid: str | None = None, bits: int = MIN_RSA_BITS) -> SigningKey:
        """A fresh key. Blocks for 50 to 500 ms: not for the message path."""
        return cls(generate_private_key(public_exponent=65537, key_size=bits), kid=kid)

    @classmethod
    def from_pem(cls, pem: bytes | str, kid: str | None = None) -> SigningKey:
        """The key from an unencrypted PEM (PKCS#1 or PKCS#8).

        Raises:
            ConfigError: no RSA private key in it; the line says what it is instead, never what it holds.
        """
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except TypeError:
            raise ConfigError(["the signing key is encrypted with a passphrase; give it unencrypted"]) from None
        except (ValueError, UnsupportedAlgorithm):
            found = "a public key" if b"PUBLIC KEY" in data else "no PEM private key"
            raise ConfigError([f"the signing key is {found}; it must be an RSA private key in PEM"]) from None
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError([f"the signing key is {type(key).__name__}; it must be an RSA private key in PEM"])
        return cls(key, kid=kid)

    @property
    def public_pem(self) -> str:
        """The public half in PEM (SubjectPublicKeyInfo)."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._private.public_key().public_bytes(serialization.Encoding.PEM, form).decode("ascii")

    @property
    def private_pem(self) -> str:
        """The whole key in PEM (PKCS#8, unencrypted), for whoever keeps it in a file: a secret."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self._private.private_bytes(encoding, form, serialization.NoEncryption()).decode("ascii")

    def jwk(self) -> dict[str, str]:
        """The public half as it stands in a JWKS (RFC 7517)."""
        return dict(self._jwk)

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:  # Any: JSON values
        """A compact token over the claims. Takes 0.2 to 1 ms of CPU.

        Args:
            claims: as they are to be; nothing is added.
            headers: more header members, for example `typ`.

        Raises:
            ValueError: `headers` names `alg` or `kid`, which are the key's own.
        """
        extra = dict(headers or {})
        if not extra.keys().isdisjoint({"alg", "kid"}):
            raise ValueError("alg and kid are the key's own; leave them out of headers")
        return jwt.encode(dict(claims), self._private, algorithm=ALGORITHM, headers={**extra, "kid": self.kid})

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"
