"""Errors to answers and back: the contract's table in both directions (contract section 4)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from udc._ids import iso_utc
from udc._types import DropletId
from udc.errors import (
    CallTimeout,
    ContractError,
    DeliveryError,
    DependencyUnavailable,
    InternalError,
    InvalidRequest,
    PeerError,
    Timeout,
    TokenError,
    UdcError,
)
from udc.wire import json_text
from udc.wire.words import MESSAGE_TYPES

RETRY_AFTER_DEFAULT_SECONDS: Final = 1.0
"""What a retryable refusal asks for when it names no time of its own."""

MAX_TEXT: Final = 500
"""How much of a peer's error text is kept, in characters."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OUT_OF_TIME = frozenset({"TIMEOUT", "DEADLINE_EXCEEDED"})


def answer_for(error: BaseException) -> ContractError:
    """The contract's answer to anything that was raised. Never holds the text of what was raised.

    A group of one (a task group's way of raising) counts as that one.
    """
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return answer_for(error.exceptions[0])
    if isinstance(error, ContractError):
        return error
    for kind, answer in _ANSWERS:
        if isinstance(error, kind):
            return answer(error)
    return InternalError()


def _for_peer_error(error: Any) -> ContractError:  # Any: the table proves it a PeerError
    details = {"peer": error.peer, "code": error.code}
    if error.code in _OUT_OF_TIME:
        return Timeout("a peer overran the deadline", details=details)
    if 400 <= error.status < 500:
        return InternalError()  # the peer says that this droplet asked wrongly: its bug, not the caller's
    return DependencyUnavailable(details=details)


def _for_call_timeout(error: Any) -> ContractError:  # Any: the table proves it a CallTimeout
    return Timeout("a peer overran the deadline", details={"peer": error.peer})


def _for_delivery(error: Any) -> ContractError:  # Any: the table proves it a DeliveryError
    return DependencyUnavailable(details={"peer": error.peer})


_ANSWERS: Final[tuple[tuple[type[UdcError], Callable[[Any], ContractError]], ...]] = (  # Any: the row's own kind
    (PeerError, _for_peer_error),
    (CallTimeout, _for_call_timeout),
    (DeliveryError, _for_delivery),
    (TokenError, lambda _: DependencyUnavailable("there is no token for a peer this droplet needed")),
    (UdcError, lambda _: InternalError()),
)


def encode_error(
    error: ContractError, *, trace_id: str | None, now: datetime
) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """HTTP status, further headers and body of an error's answer. Total: details that are no JSON are left out.

    Headers: `WWW-Authenticate` (401), `Allow` (405, from `details["allow"]`), `Retry-After` (what may be retried).
    """
    retry_after = _retry_after_of(error)
    inner: dict[str, Any] = {  # Any: JSON values
        "code": error.code,
        "message": error.message,
        "details": dict(error.details),
        "retryable": error.retryable,
    }
    if retry_after is not None:
        inner["retry_after_seconds"] = retry_after
    if error.hint is not None:
        inner["hint"] = error.hint
    body = {"status": "error", "error": inner, "timestamp": iso_utc(now), "trace_id": trace_id}
    return error.http_status, _headers(error, retry_after), _written(body, inner)


def _written(body: dict[str, Any], inner: dict[str, Any]) -> bytes:  # Any: JSON values
    try:
        return json_text.write(body)
    except TypeError:
        inner["details"] = {}
        for place, key in ((inner, "message"), (inner, "hint"), (body, "trace_id")):
            if place.get(key) is not None:
                place[key] = str(place[key]).encode("utf-8", "replace").decode()
        return json_text.write(body)


def _retry_after_of(error: ContractError) -> float | None:
    given = error.retry_after_seconds
    if given is not None and math.isfinite(given):
        return round(max(0.0, given), 3)
    return RETRY_AFTER_DEFAULT_SECONDS if error.retryable and error.http_status in (429, 503) else None


def _headers(error: ContractError, retry_after: float | None) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    if error.http_status == 401:
        # RFC 6750, 3.1: a request without any token is told no error code.
        known = error.details.get("error") == "invalid_token"
        headers.append(("WWW-Authenticate", 'Bearer realm="udc"' + (', error="invalid_token"' if known else "")))
    allow = error.details.get("allow")
    if error.http_status == 405 and isinstance(allow, list | tuple):
        headers.append(("Allow", ", ".join(map(str, allow))))
    if retry_after is not None:
        headers.append(("Retry-After", str(math.ceil(retry_after))))
    return tuple(headers)


CODE_BY_STATUS: Final[dict[int, str]] = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "INVALID_REQUEST",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    504: "TIMEOUT",
}
"""The code of an error body that names none. 408 and 503 are not here: their codes say that nothing ran, and only
a peer that says so itself can know."""


def _subclasses(kind: type[ContractError]) -> list[type[ContractError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _subclasses(child))]


STATUS_BY_CODE: Final[dict[str, int]] = {
    kind.code: kind.http_status for kind in _subclasses(ContractError) if kind.code
}
"""The status of each of the contract's codes, for an error that came inside a success."""

RETRYABLE_CODES: Final = frozenset(kind.code for kind in _subclasses(ContractError) if kind.retryable)
"""The contract's codes that may be retried, for peers that do not say so themselves."""


def decode_error(
    body: bytes,
    *,
    status: int,
    headers: Mapping[str, str],
    peer: DropletId,
    now: datetime | None = None,
) -> PeerError:
    """The error in a peer's answer, whatever form it has; total, also over bodies that are not JSON.

    Forms: the contract's, `{error: {…}}`, `{detail: str | list}`, `{error: true, message, type}`,
    `{success: false, error, detail}`, each also inside `payload` or `result`.

    Args:
        headers: of the answer, names in any case.
        now: to read a `Retry-After` date with when the answer has no `Date`.
    """
    whole = _parsed(body)
    found = _find(whole)
    code = _code(found) or _code(whole) or _code_of_status(status)
    retryable = found.get("retryable")
    details = found.get("details")
    hint = found.get("hint")
    return PeerError(
        _text(found) or _text(whole) or "no reason given",
        peer=peer,
        status=status,
        code=code,
        retryable=retryable if isinstance(retryable, bool) else code in RETRYABLE_CODES,
        details=details if isinstance(details, dict) else _foreign_details(whole),
        hint=hint[:MAX_TEXT] if isinstance(hint, str) else None,
        retry_after_seconds=_seconds(found.get("retry_after_seconds"), headers, now),
    )


def _parsed(body: bytes) -> Mapping[str, Any]:  # Any: JSON values
    try:
        return json_text.as_mapping(json_text.parse(body))
    except InvalidRequest:
        return {}


def _find(body: Mapping[str, Any]) -> Mapping[str, Any]:  # Any: JSON values
    """The object that tells of the error: the body, or what it wraps."""
    for key in ("error", "payload", "result", "detail"):
        inner = json_text.as_mapping(body.get(key))
        if inner:
            return json_text.as_mapping(inner.get("error")) or inner
    return body


def _code(found: Mapping[str, Any]) -> str | None:  # Any: JSON values
    for key in ("code", "error_code", "type"):
        value = found.get(key)
        # A `type` may also be the message type of an envelope around the error.
        if isinstance(value, str) and value not in MESSAGE_TYPES:
            code = _CAMEL.sub("_", value.strip()).upper().replace("-", "_").replace(" ", "_")
            if _CODE.fullmatch(code):
                return code
    return None


def _code_of_status(status: int) -> str:
    return CODE_BY_STATUS.get(status) or (f"HTTP_{status}" if status >= 300 else "ERROR")


def _text(found: Mapping[str, Any]) -> str:  # Any: JSON values
    for key in ("message", "error", "detail", "reason", "error_message"):
        value = found.get(key)
        if isinstance(value, list):
            value = "; ".join(filter(None, map(_line, value)))
        if isinstance(value, str) and value.strip():
            return value.strip()[:MAX_TEXT]
    return ""


def _line(entry: object) -> str:
    """One entry of a list of problems, as FastAPI writes them: `{loc: [...], msg}`."""
    if not isinstance(entry, dict):
        return str(entry)
    place = entry.get("loc")
    where = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
    return f"{where}{entry.get('msg') or entry.get('message') or ''}"


def _foreign_details(found: Mapping[str, Any]) -> Mapping[str, Any]:  # Any: JSON values
    detail = found.get("detail")
    return {} if detail is None else {"detail": detail}


def _seconds(told: object, headers: Mapping[str, str], now: datetime | None) -> float | None:
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= 1e9:
        return float(told)
    named = {name.lower(): value for name, value in headers.items()}
    return retry_after_seconds(named.get("retry-after"), date=named.get("date"), now=now)


def retry_after_seconds(value: str | None, *, date: str | None = None, now: datetime | None = None) -> float | None:
    """A `Retry-After` header in seconds: a number, or an HTTP date seen from the answer's own `Date` or `now`.

    `None` when it is missing or unreadable, or a date with nothing to compare it with. Never negative.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    until, since = _http_date(text), _http_date(date or "") or now
    return None if until is None or since is None else max(0.0, (until - since).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
