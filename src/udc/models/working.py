"""What a droplet is given to do: sends, tasks and chat (contract sections 2 and 5)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from udc._types import DropletId
from udc.messages import Priority
from udc.models._fields import Body, Id, Number, Payload, TextId, Time, Whole


class SendRequest(Body):
    """Body of `POST /send`."""

    target: Id = Field(description="Id or name of the droplet to send to; never a URL.")
    message_type: Literal["status", "event", "command", "query"] = Field(description="The kind of message.")
    payload: Payload = Field(description="Written as it is.")
    priority: Priority = Field(default=Priority.NORMAL, description="How urgent it is.")
    retry_count: Annotated[int, Field(strict=True, ge=0, le=10), Whole] = Field(
        default=3, description="Tries after the first."
    )


class SendResult(Body):
    """Answer of `POST /send`. A delivery that failed is HTTP 200 with `sent` false."""

    sent: bool = Field(description="Whether the peer took it.")
    trace_id: str = Field(description="Of the message that was sent.")
    target: DropletId = Field(description="Whom it was sent to.")
    timestamp: Time = Field(description="When it was done.")
    result: Literal["success", "queued", "error"] = Field(description="How it ended.")
    data: Any = Field(default=None, description="What the peer's handler returned.")  # Any: a JSON value
    error: dict[str, Any] | None = Field(default=None, description="The peer's error object.")  # Any: JSON values


class TaskRequest(Body):
    """Body of `POST /task`."""

    task_id: TextId = Field(
        validation_alias=AliasChoices("task_id", "id"), description="The task's id; also read from `id`."
    )
    task_type: Annotated[str, Field(min_length=1)] = Field(
        validation_alias=AliasChoices("task_type", "type"), description="Which handler; also read from `type`."
    )
    payload: Payload = Field(default_factory=dict, description="What the handler works on.")
    deadline: Time | None = Field(default=None, description="When it must be done.")
    priority: Annotated[int, Field(strict=True, ge=1, le=10), Whole] = Field(default=5, description="1 first, 10 last.")
    trace_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="The trace it belongs to."
    )
    attempt: Annotated[int, Field(strict=True, ge=1), Whole] = Field(
        default=1, description="Counted up when it is given out again."
    )


class TaskAccepted(Body):
    """Answer of `POST /task`."""

    status: Literal["accepted"] = Field(default="accepted", description="It will be worked on.")
    task_id: str = Field(description="The task's id.")


class ChatRequest(Body):
    """Body of `POST /handle-chat`."""

    message: str = Field(description="What was said.")
    session_id: str | None = Field(default=None, description="The conversation it belongs to.")
    context: dict[str, Any] | None = Field(default=None, description="What is known so far.")  # Any: JSON values
    metadata: dict[str, Any] | None = Field(default=None, description="About the message.")  # Any: JSON values


class ChatReply(Body):
    """Answer of `POST /handle-chat`."""

    response: str = Field(description="What to say.")
    confidence: Annotated[Number, Field(ge=0, le=1)] = Field(default=1.0, description="0 to 1.")
    context: dict[str, Any] = Field(default_factory=dict, description="What is known now.")  # Any: JSON values
