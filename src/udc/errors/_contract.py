"""Errors with a place in the contract's table (section 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from udc.errors._root import UdcError


class ContractError(UdcError):
    """An error with a place in the contract's table (section 4).

    Args:
        message: what happened, for the caller to read.
        details: more of it, for a program to read; must be JSON.
        hint: one line, what to do about it; defaults to the class's own.
        retry_after_seconds: when trying again makes sense.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,  # Any: JSON values
        hint: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message or type(self).__doc__ or self.code)
        self.details: Mapping[str, Any] = details or {}  # Any: JSON values
        self.hint: str | None = hint or self.default_hint
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(ContractError):
    """The request is malformed."""

    code: ClassVar[str] = "INVALID_REQUEST"
    http_status: ClassVar[int] = 400

    @classmethod
    def field(cls, name: str, problem: str, *, hint: str | None = None) -> InvalidRequest:
        """The refusal that names the field at fault."""
        return cls(f"{name}: {problem}", details={"field": name}, hint=hint)

    default_hint: ClassVar[str | None] = (
        "correct what the message names and send it again; the same request will be refused again"
    )


class HopLimit(ContractError):
    """The message went through more than 16 droplets."""

    code: ClassVar[str] = "HOP_LIMIT"
    http_status: ClassVar[int] = 400
    default_hint: ClassVar[str | None] = "look for droplets that forward a trace in a circle"


class Unauthorized(ContractError):
    """The bearer token is missing or not valid here."""

    code: ClassVar[str] = "UNAUTHORIZED"
    http_status: ClassVar[int] = 401
    default_hint: ClassVar[str | None] = "send 'Authorization: Bearer <token>' with a valid token of this mesh"


class Forbidden(ContractError):
    """The token does not allow this."""

    code: ClassVar[str] = "FORBIDDEN"
    http_status: ClassVar[int] = 403
    default_hint: ClassVar[str | None] = "ask for a token with the permission or scope that is missing"


class NotFound(ContractError):
    """There is nothing here."""

    code: ClassVar[str] = "NOT_FOUND"
    http_status: ClassVar[int] = 404
    default_hint: ClassVar[str | None] = "check the path, id or name"


class NoHandler(ContractError):
    """No handler takes this action."""

    code: ClassVar[str] = "NO_HANDLER"
    http_status: ClassVar[int] = 404
    default_hint: ClassVar[str | None] = "GET /capabilities lists the actions that this droplet takes"


class MethodNotAllowed(ContractError):
    """This path does not take that method."""

    code: ClassVar[str] = "METHOD_NOT_ALLOWED"
    http_status: ClassVar[int] = 405
    default_hint: ClassVar[str | None] = "use one of the methods of the Allow header"


class DeadlineExceeded(ContractError):
    """The deadline had passed when the message arrived; nothing ran."""

    code: ClassVar[str] = "DEADLINE_EXCEEDED"
    http_status: ClassVar[int] = 408
    default_hint: ClassVar[str | None] = "give it more time, or send it again with a later deadline"


class Conflict(ContractError):
    """The request contradicts an earlier one."""

    code: ClassVar[str] = "CONFLICT"
    http_status: ClassVar[int] = 409
    default_hint: ClassVar[str | None] = "look at what is there already before trying again"


class PayloadTooLarge(ContractError):
    """The body is larger than this droplet takes."""

    code: ClassVar[str] = "PAYLOAD_TOO_LARGE"
    http_status: ClassVar[int] = 413
    default_hint: ClassVar[str | None] = "send less, or in parts"


class UnsupportedMediaType(ContractError):
    """The body is not of a type this path takes."""

    code: ClassVar[str] = "UNSUPPORTED_MEDIA_TYPE"
    http_status: ClassVar[int] = 415
    default_hint: ClassVar[str | None] = "send 'Content-Type: application/json'"


class RateLimited(ContractError):
    """Too many requests; nothing ran."""

    code: ClassVar[str] = "RATE_LIMITED"
    http_status: ClassVar[int] = 429
    retryable: ClassVar[bool] = True
    default_hint: ClassVar[str | None] = "wait for the time of the Retry-After header"


class InternalError(ContractError):
    """Something failed inside this droplet."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    http_status: ClassVar[int] = 500
    default_hint: ClassVar[str | None] = "the droplet's log has the cause under this trace_id"


class NotReady(ContractError):
    """The droplet is still starting; nothing ran."""

    code: ClassVar[str] = "NOT_READY"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    default_hint: ClassVar[str | None] = "wait for the time of the Retry-After header; GET /readyz says why"


class Draining(ContractError):
    """The droplet is stopping and takes no new work; nothing ran."""

    code: ClassVar[str] = "DRAINING"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    default_hint: ClassVar[str | None] = "send it to another instance, or wait for the time of the Retry-After header"


class Overloaded(ContractError):
    """The droplet has as much in flight as it may; nothing ran."""

    code: ClassVar[str] = "OVERLOADED"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    default_hint: ClassVar[str | None] = "wait for the time of the Retry-After header"


class KeysUnavailable(ContractError):
    """There are no keys yet to check the token with; nothing ran."""

    code: ClassVar[str] = "KEYS_UNAVAILABLE"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    default_hint: ClassVar[str | None] = (
        "wait for the time of the Retry-After header; the droplet cannot reach its source of keys"
    )


class DependencyUnavailable(ContractError):
    """A peer that this droplet needed could not be reached or failed."""

    code: ClassVar[str] = "DEPENDENCY_UNAVAILABLE"
    http_status: ClassVar[int] = 503
    default_hint: ClassVar[str | None] = "look at the peer that details name; GET /dependencies shows all of them"


class Timeout(ContractError):
    """The handler, or a peer it called, overran the deadline."""

    code: ClassVar[str] = "TIMEOUT"
    http_status: ClassVar[int] = 504
    default_hint: ClassVar[str | None] = "give it more time, or look at what made it slow under this trace_id"


_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


class BusinessError(ContractError):
    """A handler's own refusal, with its own code, status and details.

    Args:
        code: UPPER_CASE, at most 64 characters.
        message: what happened, for the caller to read.
        status: the HTTP status, 400 to 599.
        retryable: whether the same message may succeed later.

    Raises:
        ValueError: the code or the status is out of range.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 422,
        details: Mapping[str, Any] | None = None,  # Any: JSON values
        hint: str | None = None,
        retryable: bool = False,
    ) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(f"error code {code!r} is not UPPER_CASE, for example 'QUOTA_SPENT'")
        if not 400 <= status <= 599:
            raise ValueError(f"error status {status} is not between 400 and 599")
        super().__init__(message, details=details, hint=hint)
        # The table's values are the class's; a business error is the one kind that brings its own.
        self.code = code  # type: ignore[misc]  # shadows the ClassVar on purpose
        self.http_status = status  # type: ignore[misc]  # likewise
        self.retryable = retryable  # type: ignore[misc]  # likewise
