"""What one call knows of itself while it goes on, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from udc.context import Order
from udc.errors import CallTimeout, ConfigError, DeliveryError, PeerUnreachable
from udc.instrument import SendAttempted, SendFinished
from udc.messages import Message, Peer


@dataclass(slots=True)
class Call:
    """What one call knows of itself while it goes on.

    Attributes:
        peer: the instance that was tried last.
        bound: the instance that may have begun the work, when that must not be begun by another.
        last: how the last try failed.
        asked: all instances that were tried.
    """

    order: Order
    message: Message
    began: float
    deadline: float
    peer: Peer | None = None
    bound: Peer | None = None
    attempts: int = 0
    last: DeliveryError | None = None
    asked: list[Peer] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What people call whom it goes to."""
        return self.peer.label if self.peer is not None else str(self.order.target)


def late(call: Call) -> CallTimeout:
    """The error of a call whose deadline passed."""
    kind, action = call.order.message_type.value, call.message.action
    what = f"{kind} {action!r}" if action else kind
    if not call.attempts:
        text = f"no time was left to send {what} to {call.label}: its deadline had passed"
        return CallTimeout(text, peer=call.label)
    tries = f"{call.attempts} attempt{'s' if call.attempts != 1 else ''}"
    last = f"; the last one that ended: {call.last}" if call.last is not None else ""
    seconds = f"{call.deadline - call.began:.3g} s"
    return CallTimeout(f"{call.label} did not answer {what} within {seconds} ({tries}{last})", peer=call.label)


def out_of_reach(call: Call, error: BaseException) -> bool:
    """Whether the call failed because nothing listens where its peer should be."""
    if isinstance(error, CallTimeout):
        error = call.last or error  # out of time between two tries: what the last one met
    # What our own configuration forbids says nothing of the peer.
    return isinstance(error, PeerUnreachable) and not isinstance(error.__cause__, ConfigError)


def failure_of(error: BaseException) -> str:
    """The class's name; for a cancellation one word, whatever the backend's class is called."""
    return type(error).__name__ if isinstance(error, Exception) else "Cancelled"


def attempted(message: Message, peer: Peer, seconds: float, failure: str | None) -> SendAttempted:
    """The event of one try."""
    return SendAttempted(
        peer=peer.label,
        message_type=message.message_type.value,
        action=message.action,
        attempt=message.attempt,
        seconds=seconds,
        trace_id=message.trace_id,
        error=failure,
    )


def finished(call: Call, failure: str | None) -> SendFinished:
    """The event of a call's end."""
    return SendFinished(
        peer=call.label,
        message_type=call.order.message_type.value,
        action=call.message.action,
        attempts=call.attempts,
        peer_id=None if call.peer is None else call.peer.id,
        seconds=anyio.current_time() - call.began,
        trace_id=call.message.trace_id,
        error=failure,
    )
