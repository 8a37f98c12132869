"""Messages as our own kind writes them, read in one step: from bytes to the fields, each checked on the way.

Reads the contract's own form where nothing about it is unusual, and nothing else. Whatever it does not read goes the
long way, which knows the other forms and says what is wrong; so the two must agree, and a test compares them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Protocol, TypeAlias

from udc._types import DropletId
from udc.messages import Message, MessageDraft, MessageType, Priority
from udc.wire import forms
from udc.wire.actions import choose
from udc.wire.trace import is_uuid

_log = logging.getLogger("udc.wire")


class Envelope(Protocol):
    """What is in the body of a message, its times still as text; see `Message`."""

    message_type: MessageType
    payload: dict[str, Any]  # Any: JSON values
    trace_id: str
    timestamp: str
    source: int | None
    target: int | None
    message_id: str | None
    correlation_id: str | None
    timeout_ms: int | None
    deadline: str | None
    attempt: int
    hops: int
    on_behalf_of: int | None
    priority: Priority
    reply_to: str | None


_DEEPEST: Final = 190
"""The long way refuses a nesting of some 200. A body with fewer brackets is nested less."""

Read: TypeAlias = tuple[Envelope, str | None, Any]  # Any: JSON
"""An envelope, the action that its payload names, and the data."""

EnvelopeReader: TypeAlias = Callable[[bytes], Read | None]
"""Reads a body of the contract's own form; `None` where something about it asks for the long way."""


def reader_with(
    read: Callable[[bytes], Envelope], refusals: tuple[type[Exception], ...] = (ValueError,)
) -> EnvelopeReader:
    """What reads bodies.

    Args:
        read: reads the envelope. It need not mind how deep anything is nested.
        refusals: what it raises where a field is unknown or of another type, or a number is too large.
    """
    moment: Final = datetime.fromisoformat

    def read_envelope(body: bytes) -> Read | None:
        if len(body) > 2 * _DEEPEST and body.count(b"[") + body.count(b"{") > _DEEPEST:
            return None
        try:
            envelope = read(body)
            odd_time = moment(envelope.timestamp).tzinfo is not UTC
            if envelope.deadline is not None:
                odd_time |= moment(envelope.deadline).tzinfo is not UTC
        except refusals:
            return None
        payload = envelope.payload
        if odd_time or "message_type" in payload or not is_uuid(envelope.trace_id):
            return None
        if len(payload) == 2 and "data" in payload and (action := payload.get("type")) and type(action) is str:
            return envelope, action, payload["data"]  # as our own kind writes it; `choose` would come to the same
        return envelope, *choose(payload)

    return read_envelope


@cache
def envelope_reader() -> EnvelopeReader:
    """What reads bodies here: with msgspec where it is installed, else with pydantic."""
    try:
        from udc.wire import _by_msgspec
    except ImportError as error:  # also where what is installed cannot be used; that somebody may want to know
        if not isinstance(error, ModuleNotFoundError):
            _log.info("messages are read with pydantic, for msgspec is of no use here: %s", error)
        from udc.wire import _by_pydantic

        return reader_with(_by_pydantic.reader())
    return reader_with(_by_msgspec.reader(), _by_msgspec.REFUSALS)


def message_of(read: Read, size: int, source: DropletId | None, target: DropletId | None) -> Message:
    """The message in what has been read from a body of that size.

    Args:
        source, target: the envelope's own, or what they are where it names none.
    """
    envelope, action, data = read
    draft = MessageDraft()
    draft.message_type = envelope.message_type
    draft.payload = envelope.payload
    draft.trace_id = envelope.trace_id
    draft.timestamp = datetime.fromisoformat(envelope.timestamp)
    draft.action, draft.data = action, data
    draft.source, draft.target = source, target
    draft.message_id, draft.correlation_id = envelope.message_id, envelope.correlation_id
    draft.timeout_ms, deadline = envelope.timeout_ms, envelope.deadline
    draft.deadline = None if deadline is None else datetime.fromisoformat(deadline)
    draft.attempt, draft.hops = envelope.attempt, envelope.hops
    draft.on_behalf_of, draft.priority = envelope.on_behalf_of, envelope.priority
    draft.reply_to = envelope.reply_to
    draft.dialect = forms.CONTRACT
    draft.size = size
    draft.__class__ = Message
    message: Message = draft
    return message


def read_plain(body: bytes) -> Message | None:
    """The message in a body of the contract's own form; `None` where something about it asks for the long way."""
    read = envelope_reader()(body)
    return None if read is None else message_of(read, len(body), read[0].source, read[0].target)
