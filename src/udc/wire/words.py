"""Words and times as they are met out there, and what they mean here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from udc.errors import InvalidRequest
from udc.lifecycle import Status
from udc.messages import MessageType

STATUS_WORDS: Final[dict[str, Status]] = {
    "active": Status.ACTIVE,
    "healthy": Status.ACTIVE,
    "ok": Status.ACTIVE,
    "true": Status.ACTIVE,
    "running": Status.ACTIVE,
    "inactive": Status.INACTIVE,
    "degraded": Status.INACTIVE,
    "idle": Status.INACTIVE,
    "busy": Status.INACTIVE,
    "maintenance": Status.INACTIVE,
    "unknown": Status.INACTIVE,
    "error": Status.ERROR,
    "unhealthy": Status.ERROR,
    "down": Status.ERROR,
    "failed": Status.ERROR,
}
"""Every status word that is read, the contract's three among them."""

MESSAGE_TYPES: Final[dict[str, MessageType]] = {
    **{kind.value: kind for kind in MessageType},
    "task_assignment": MessageType.COMMAND,
    "task": MessageType.COMMAND,
    "status_update": MessageType.EVENT,
    "heartbeat": MessageType.EVENT,
    "data": MessageType.EVENT,
    "registry": MessageType.EVENT,
    "registration": MessageType.EVENT,
    "proof": MessageType.EVENT,
}
"""Every `message_type` that is read, the contract's own among them."""


def status(word: object, *, field: str = "status") -> Status:
    """The contract's status for a status word in any case; JSON `true` counts as the word.

    Raises:
        InvalidRequest: not a status word; names `field`.
    """
    text = "true" if word is True else word
    known = STATUS_WORDS.get(text.strip().lower()) if isinstance(text, str) else None
    if known is None:
        raise InvalidRequest.field(field, f"must be a status word: {', '.join(STATUS_WORDS)}")
    return known


def moment(value: object, *, field: str = "timestamp") -> datetime:
    """The time as an aware UTC one: ISO 8601 with `Z`, an offset or none (taken as UTC), or epoch seconds.

    Raises:
        InvalidRequest: no such time; names `field`.
    """
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            if read.tzinfo is UTC:
                return read
            # An offset can push the first and last day of the calendar over its edge: OverflowError.
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidRequest.field(field, "must be a time: ISO 8601, or seconds since the epoch")
