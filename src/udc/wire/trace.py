"""Trace ids and the W3C `traceparent` header (W3C Trace Context, level 1; contract section 8)."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

HOPS_HEADER: Final = "x-udc-hops"
"""How many droplets the trace of a request has been through, where the body has no place for it."""

TIMEOUT_HEADER: Final = "x-udc-timeout-ms"
"""How much time was left when such a request was sent, in milliseconds."""

MAX_FOREIGN: Final = 128
"""The longest trace id that is taken from a foreign form, in characters."""

_HEX: Final = b"0123456789abcdefABCDEF"
_SHAPE: Final = bytes(ord("0") if code in _HEX else code if code == ord("-") else ord("?") for code in range(256))
"""Hex digits become `0`, hyphens stay, all else becomes `?`: at each message, a quarter of what a pattern costs."""
_UUID: Final = b"00000000-0000-0000-0000-000000000000"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_NIL = "0" * 32


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in its 36-character form, of any version and case."""
    return len(text) == 36 and text.isascii() and text.encode().translate(_SHAPE) == _UUID


def as_uuid(trace_id: str) -> str:
    """The trace id itself when it is a UUID, else one derived from it, always the same (uuid5)."""
    return trace_id if is_uuid(trace_id) else str(uuid.uuid5(uuid.NAMESPACE_URL, trace_id))


def traceparent(trace_id: str, *, new_span: Callable[[], float]) -> str:
    """The header for a trace id and a fresh span; `new_span` gives a chance in [0, 1). Sampled."""
    return _header(trace_id, int(new_span() * 2**64))


def traceparent_of(trace_id: str, span_seed: str) -> str:
    """The header for a trace id and a span that follows from `span_seed`: the same seed, the same span."""
    digest = hashlib.blake2b(span_seed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return _header(trace_id, int.from_bytes(digest, "big"))


def _header(trace_id: str, span: int) -> str:
    digits = as_uuid(trace_id).replace("-", "").lower()
    if digits == _NIL:  # forbidden by W3C, legal as a UUID
        digits = uuid.uuid5(uuid.NAMESPACE_URL, trace_id).hex
    return f"00-{digits}-{span or 1:016x}-01"


def trace_id_from(header: str) -> str | None:
    """The trace id in a `traceparent` header as a UUID; `None` when the header is not valid, as W3C asks.

    Any flags are taken, and of versions above 00 what version 00 knows.
    """
    match = _TRACEPARENT.fullmatch(header.strip())
    if match is None:
        return None
    version, trace, span, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace == _NIL or span == _NIL[:16]:
        return None
    return str(uuid.UUID(trace))


def header_value(text: str) -> str:
    """The text as a header may carry it: itself if printable ASCII, else percent-encoded."""
    return text if text.isascii() and text.isprintable() else quote(text, safe="", errors="replace")
