"""The bodies of `/message` and of errors, for documents; the wire itself is read and written by `udc.wire`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from udc.messages import MAX_HOPS, Priority
from udc.models._fields import Body, Id, Number, Time, Whole
from udc.wire.fields import MAX_COUNT, MAX_ID, MAX_REPLY_TO

_Text128 = Annotated[str, Field(min_length=1, max_length=MAX_ID)]


class MessageBody(Body):
    """Body of `POST /message` (contract section 3). Foreign forms are read too."""

    message_type: Literal["status", "event", "command", "query"] = Field(description="The kind of message.")
    payload: dict[str, Any] = Field(description="Names the action and holds its data.")  # Any: JSON values
    trace_id: UUID | None = Field(default=None, description="UUID of 36 characters; made when missing.")
    source: Id | None = Field(default=None, description="Who sends; must be the token's droplet.")
    target: Id | None = Field(default=None, description="For whom; this droplet.")
    timestamp: Time | None = Field(default=None, description="When it was sent.")
    message_id: _Text128 | None = Field(default=None, description="Its identity for de-duplication.")
    correlation_id: _Text128 | None = Field(default=None, description="What it answers to.")
    timeout_ms: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT), Whole] | None = Field(
        default=None, description="Time left when it was sent, milliseconds."
    )
    deadline: Time | None = Field(default=None, description="When it must be done.")
    attempt: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT), Whole] = Field(
        default=1, description="From 1; counted up when it is sent again."
    )
    hops: Annotated[int, Field(strict=True, ge=0, le=MAX_HOPS), Whole] = Field(
        default=0, description="How many droplets the trace has been through; at most 16."
    )
    on_behalf_of: Id | None = Field(default=None, description="For whom the work is done.")
    priority: Priority = Field(default=Priority.NORMAL, description="How urgent it is.")
    reply_to: Annotated[str, Field(min_length=1, max_length=MAX_REPLY_TO)] | None = Field(
        default=None, description="Where an answer is awaited."
    )
    udc_version: str = Field(default="1.0", description="The contract's version.")


class ReceiptBody(Body):
    """Answer of `POST /message`."""

    received: Literal[True] = Field(default=True, description="Always true.")
    trace_id: str = Field(description="The message's.")
    processed_at: Time = Field(description="When its handler was done, or it was queued.")
    result: Literal["success", "queued"] = Field(description="How it ended.")
    data: Any = Field(default=None, description="What the handler returned.")  # Any: a JSON value
    message_id: str = Field(description="The message's; its trace id when it has none.")
    handled: bool = Field(description="Whether a handler took it.")
    duplicate: bool = Field(default=False, description="It had been done before.")


class ErrorBody(Body):
    """What went wrong (contract section 4)."""

    code: str = Field(description="One of the contract's codes, or a handler's own.")
    message: str = Field(description="What happened.")
    details: dict[str, Any] = Field(default_factory=dict, description="More of it.")  # Any: JSON values
    retryable: bool = Field(default=False, description="Whether trying again may help.")
    retry_after_seconds: Number | None = Field(default=None, description="When.")
    hint: str | None = Field(default=None, description="What to do.")


class ErrorAnswer(Body):
    """Every answer that is no success (contract section 4)."""

    status: Literal["error"] = Field(default="error", description="Always error.")
    error: ErrorBody = Field(description="What went wrong.")
    timestamp: Time = Field(description="When.")
    trace_id: str | None = Field(default=None, description="To find it in the logs.")
