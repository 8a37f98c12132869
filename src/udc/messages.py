"""The values that travel: messages, replies and the peers between which they do (contract section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from udc._drafts import draft_of
from udc._frozen import dataclass
from udc._types import DropletId

MAX_HOPS: Final = 16
"""How many droplets one trace may pass through (contract section 3)."""


class MessageType(StrEnum):
    """What kind of message it is. `response` and `error` are read, never written by us."""

    STATUS = "status"
    EVENT = "event"
    COMMAND = "command"
    QUERY = "query"
    RESPONSE = "response"
    ERROR = "error"


class Priority(StrEnum):
    """How urgent the sender finds the message."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as its sender meant it, whatever dialect it came in.

    Attributes:
        message_type: its kind.
        payload: the whole payload, as received or as it will be written.
        action: what it asks for or tells of; `None` when the payload names none.
        data: what the handler works on, without the action key.
        trace_id: shared by every message that one first message caused.
        timestamp: when it was sent; aware.
        source, target: canonical ids; `None` = not named (me, on arrival).
        message_id: its identity for de-duplication.
        timeout_ms: time left when it was sent, in milliseconds.
        deadline: absolute end; aware. The earlier of the two counts.
        attempt: from 1, counted up when it is sent again.
        hops: how many droplets the trace has been through.
        dialect: the form it was recognised in, so that the answer fits ("udc" = the contract's own).
        size: bytes of the body it came in; 0 for one made here.
    """

    message_type: MessageType
    payload: Mapping[str, Any]  # Any: JSON values
    trace_id: str
    timestamp: datetime
    action: str | None = None
    data: Any = None  # Any: JSON, or what a caller hands in to be made JSON
    source: DropletId | None = None
    target: DropletId | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    timeout_ms: int | None = None
    deadline: datetime | None = None
    attempt: int = 1
    hops: int = 0
    on_behalf_of: DropletId | None = None
    priority: Priority = Priority.NORMAL
    reply_to: str | None = None
    dialect: str = "udc"
    size: int = 0


MessageDraft: Final = draft_of(Message)
"""A message that is being read: see `draft_of`."""


def received(
    message_type: MessageType,
    payload: Mapping[str, Any],  # Any: JSON values
    trace_id: str,
    timestamp: datetime,
    action: str | None,
    data: Any,  # Any: JSON
    source: DropletId | None,
    target: DropletId | None,
    message_id: str | None,
    correlation_id: str | None,
    timeout_ms: int | None,
    deadline: datetime | None,
    attempt: int,
    hops: int,
    on_behalf_of: DropletId | None,
    priority: Priority,
    reply_to: str | None,
    dialect: str,
    size: int,
) -> Message:
    """A `Message` with all its fields in their order, at a fraction of its constructor's price: for the codec."""
    draft = MessageDraft()
    draft.message_type = message_type
    draft.payload = payload
    draft.trace_id = trace_id
    draft.timestamp = timestamp
    draft.action = action
    draft.data = data
    draft.source = source
    draft.target = target
    draft.message_id = message_id
    draft.correlation_id = correlation_id
    draft.timeout_ms = timeout_ms
    draft.deadline = deadline
    draft.attempt = attempt
    draft.hops = hops
    draft.on_behalf_of = on_behalf_of
    draft.priority = priority
    draft.reply_to = reply_to
    draft.dialect = dialect
    draft.size = size
    draft.__class__ = Message
    made: Message = draft
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another droplet, as far as a sender must know it.

    Attributes:
        id: its droplet id, when known.
        name: its name; for an unnamed one the id as text.
        endpoint: its base URL, without a trailing slash.
        ours: it runs this library: canonical envelope, its own token audience, de-duplication.
        capabilities: what it says it can do.
        instance_id: which of its instances this is, when known.
        wants_signature: it reads the bearer from the envelope's `signature`.
        without_audience: it refuses tokens that carry `aud`.
    """

    endpoint: str
    id: DropletId | None = None
    name: str = ""
    ours: bool = False
    capabilities: tuple[str, ...] = ()
    instance_id: str | None = None
    wants_signature: bool = False
    without_audience: bool = False

    @property
    def label(self) -> str:
        """What a person calls it: its name, else its id, else its address."""
        return self.name or (str(self.id) if self.id is not None else self.endpoint)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What is said in answer to one message of a conversation (contract section 2).

    Returned by `ctx.chat`, and by chat handlers that have more to say than a text.

    Attributes:
        response: what is said.
        confidence: how sure the one who says it is, 0 to 1.
        context: what is known now, to be sent with the next message.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """

    response: str
    confidence: float = 1.0
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: JSON values

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence is {self.confidence}, not between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A peer's receipt for a message it took (contract section 3).

    Attributes:
        data: what its handler returned.
        handled: whether a handler took it (an event may find none).
        result: `success`, or `queued` when the work goes on.
        duplicate: it had been done before; this is the same receipt again.
        receipt: the whole receipt as it came.
    """

    peer: Peer
    trace_id: str
    data: Any = None  # Any: JSON values
    handled: bool = True
    result: str = "success"
    duplicate: bool = False
    message_id: str | None = None
    processed_at: datetime | None = None
    receipt: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: JSON values
