"""Outgoing messages that did not succeed, and a Registry that says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from udc._types import DropletId
from udc.errors._root import UdcError


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


class RegistryRefused(UdcError):
    """The Registry answered, and said no: wrong secret, wrong path, bad record. Says what to do.

    Attributes:
        status: its HTTP status.
        retry_after_seconds: when it asked us to come back, if it did.
    """

    def __init__(self, message: str, *, status: int, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class UnknownInstance(RegistryRefused):
    """The Registry does not know this instance: register again, after a random part of `spread_seconds`."""

    def __init__(self, message: str, *, status: int = 404, spread_seconds: float = 0.0) -> None:
        super().__init__(message, status=status)
        self.spread_seconds = spread_seconds


class InstanceRetired(RegistryRefused):
    """A newer instance of the same droplet and endpoint has taken this one's place (`retired_by`)."""

    def __init__(self, message: str, *, status: int = 409, retired_by: str | None = None) -> None:
        super().__init__(message, status=status)
        self.retired_by = retired_by
