"""The key pair of one running instance: Ed25519, made anew at every start (contract sections 1 and 6)."""

from __future__ import annotations

from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from udc.identity import _base64url


class InstanceKey:
    """Signs what this instance proves, for example the body of `/proof`. Never shows its private half.

    The pair is made from the system's randomness when it is first needed: who is alone proves nothing to anybody.
    """

    @classmethod
    def generate(cls) -> InstanceKey:
        """A fresh pair."""
        return cls()

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.generate()

    @cached_property
    def public_key(self) -> str:
        """The public half as registered: base64url without padding of the raw 32 bytes."""
        return _base64url.encode(self._private.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> str:
        """The signature (RFC 8032): base64url without padding of the raw 64 bytes."""
        return _base64url.encode(self._private.sign(data))

    def __repr__(self) -> str:
        return f"InstanceKey(public_key={self.public_key!r})"


def verify_signature(public_key: str, signature: str, data: bytes) -> bool:
    """Whether the signature over the data is by the holder of that key.

    Args:
        public_key: base64url without padding of 32 bytes, as `InstanceKey.public_key` gives it.
        signature: base64url without padding of 64 bytes.
        data: what was signed.

    Returns:
        False too for a key or signature that is none; raises nothing.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(_base64url.decode(public_key))
        key.verify(_base64url.decode(signature), data)
    except (ValueError, InvalidSignature):
        return False
    return True
