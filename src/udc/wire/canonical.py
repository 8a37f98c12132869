"""The one way to write JSON that is hashed or signed (contract section 6, "Canonical JSON")."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:  # Any: a JSON value
    """UTF-8 of `json.dumps` with sorted keys, separators `,` and `:`, and nothing but JSON's own escapes.

    Raises:
        TypeError: not a JSON value; names the type.
        ValueError: holds itself, or text that UTF-8 cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()
