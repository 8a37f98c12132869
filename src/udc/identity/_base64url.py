"""base64url without padding (RFC 4648 section 5, RFC 7515 appendix C), in its one canonical spelling."""

from __future__ import annotations

import base64
import binascii
import re

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def encode(data: bytes) -> str:
    """The text of the bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of the text.

    Raises:
        ValueError: padding, a foreign character, or a second spelling of the same bytes.
    """
    if not _ALPHABET.fullmatch(text):
        raise ValueError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    # Unused trailing bits may hold anything: without this, one value has several texts.
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data
