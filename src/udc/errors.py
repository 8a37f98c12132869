"""Everything that `udc` raises.

    UdcError
    ├── ContractError             an answer of contract section 4; also what a handler may raise
    │   ├── InvalidRequest        400 INVALID_REQUEST
    │   ├── HopLimit              400 HOP_LIMIT
    │   ├── Unauthorized          401 UNAUTHORIZED
    │   ├── Forbidden             403 FORBIDDEN
    │   ├── NotFound              404 NOT_FOUND
    │   ├── NoHandler             404 NO_HANDLER
    │   ├── MethodNotAllowed      405 METHOD_NOT_ALLOWED
    │   ├── DeadlineExceeded      408 DEADLINE_EXCEEDED
    │   ├── Conflict              409 CONFLICT
    │   ├── PayloadTooLarge       413 PAYLOAD_TOO_LARGE
    │   ├── UnsupportedMediaType  415 UNSUPPORTED_MEDIA_TYPE
    │   ├── RateLimited           429 RATE_LIMITED
    │   ├── InternalError         500 INTERNAL_ERROR
    │   ├── NotReady              503 NOT_READY
    │   ├── Draining              503 DRAINING
    │   ├── Overloaded            503 OVERLOADED
    │   ├── KeysUnavailable       503 KEYS_UNAVAILABLE
    │   ├── DependencyUnavailable 503 DEPENDENCY_UNAVAILABLE
    │   ├── Timeout               504 TIMEOUT
    │   └── BusinessError         a handler's own code, status and details
    ├── DeliveryError             an outgoing message that did not succeed
    │   ├── PeerError             the peer answered with an error
    │   ├── PeerUnreachable       nothing reached the peer: safe to send again
    │   ├── ConnectionLost        it may have reached the peer
    │   ├── CallTimeout           the call's deadline passed first
    │   ├── UnknownPeer           no peer of that id or name
    │   └── InvalidReply          the peer's answer is not what `returns=` asked for
    ├── TokenError                no token to be had for an audience
    ├── ConfigError               every problem of a configuration at once
    ├── DefinitionError           a droplet class or handler that cannot work
    └── LifecycleError            an illegal step between phases

The class carries `code`, `http_status`, `retryable` and a default `hint`; `udc.wire` turns errors into
answers and back. Texts of `ContractError`s reach the caller, so they never hold another exception's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from udc._types import DropletId


class UdcError(Exception):
    """The root of all errors of this library."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:  # Any: pickle's own
        # The constructors take more than `args` holds, so pickle and copy must not call them.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[UdcError], args: tuple[Any, ...], state: dict[str, Any]) -> UdcError:  # Any: pickle's own
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


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


class NotFound(ContractError):
    """There is nothing here."""

    code: ClassVar[str] = "NOT_FOUND"
    http_status: ClassVar[int] = 404


class NoHandler(ContractError):
    """No handler takes this action."""

    code: ClassVar[str] = "NO_HANDLER"
    http_status: ClassVar[int] = 404


class MethodNotAllowed(ContractError):
    """This path does not take that method."""

    code: ClassVar[str] = "METHOD_NOT_ALLOWED"
    http_status: ClassVar[int] = 405


class DeadlineExceeded(ContractError):
    """The deadline had passed when the message arrived; nothing ran."""

    code: ClassVar[str] = "DEADLINE_EXCEEDED"
    http_status: ClassVar[int] = 408


class Conflict(ContractError):
    """The request contradicts an earlier one."""

    code: ClassVar[str] = "CONFLICT"
    http_status: ClassVar[int] = 409


class PayloadTooLarge(ContractError):
    """The body is larger than this droplet takes."""

    code: ClassVar[str] = "PAYLOAD_TOO_LARGE"
    http_status: ClassVar[int] = 413


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


class Draining(ContractError):
    """The droplet is stopping and takes no new work; nothing ran."""

    code: ClassVar[str] = "DRAINING"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True


class Overloaded(ContractError):
    """The droplet has as much in flight as it may; nothing ran."""

    code: ClassVar[str] = "OVERLOADED"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True


class KeysUnavailable(ContractError):
    """There are no keys yet to check the token with; nothing ran."""

    code: ClassVar[str] = "KEYS_UNAVAILABLE"
    http_status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True


class DependencyUnavailable(ContractError):
    """A peer that this droplet needed could not be reached or failed."""

    code: ClassVar[str] = "DEPENDENCY_UNAVAILABLE"
    http_status: ClassVar[int] = 503


class Timeout(ContractError):
    """The handler, or a peer it called, overran the deadline."""

    code: ClassVar[str] = "TIMEOUT"
    http_status: ClassVar[int] = 504


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


class DeliveryError(UdcError):
    """An outgoing message that did not succeed.

    Args:
        message: what happened, naming the peer.
        peer: the peer's name or id as the caller gave it.
        may_have_run: false only when the peer provably never began to work on it.
    """

    may_have_run: ClassVar[bool] = True

    def __init__(self, message: str, *, peer: DropletId) -> None:
        super().__init__(message)
        self.peer = peer


class PeerError(DeliveryError):
    """The peer answered with an error.

    Attributes:
        peer, status, code, retryable, details, hint, retry_after_seconds: as the peer gave them.
    """

    def __init__(
        self,
        message: str,
        *,
        peer: DropletId,
        status: int,
        code: str,
        retryable: bool = False,
        details: Mapping[str, Any] | None = None,  # Any: JSON values
        hint: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, peer=peer)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.details: Mapping[str, Any] = details or {}  # Any: JSON values
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.peer} answered {self.status} {self.code}: {self.message}"


class PeerUnreachable(DeliveryError):
    """Nothing reached the peer (no address, refused, connect timed out): any message may be sent again."""

    may_have_run: ClassVar[bool] = False


class ConnectionLost(DeliveryError):
    """The connection broke after bytes had gone out: the peer may have worked on the message."""


class CallTimeout(DeliveryError):
    """The call's own deadline passed before the peer answered."""


class UnknownPeer(DeliveryError):
    """No peer has that id or name."""

    may_have_run: ClassVar[bool] = False


class InvalidReply(DeliveryError):
    """The peer answered, but not with what the call's `returns=` asked for, or not with a receipt at all."""


class TokenError(UdcError):
    """No token could be had for an audience; the text says which and why, never the token."""


class ConfigError(UdcError):
    """A configuration that cannot work: all its problems, each naming the value's place.

    Attributes:
        problems: one line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        count = len(self.problems)
        head = f"the configuration has {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {line}" for line in self.problems)]))


class DefinitionError(UdcError):
    """A droplet class, handler or endpoint that cannot work; names file, line and fix."""


class LifecycleError(UdcError):
    """A step between phases, or a use of a droplet, that its life does not allow."""
