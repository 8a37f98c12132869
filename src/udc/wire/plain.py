"""Messages as our own kind writes them, read in one step: from bytes to the fields, each checked on the way.

Reads the contract's own form where nothing about it is unusual, and nothing else. Whatever it does not read goes the
long way, which knows the other forms and says what is wrong; so the two must agree, and a test compares them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from pydantic_core import SchemaValidator, ValidationError, core_schema

from udc.messages import Message, MessageDraft, MessageType, Priority
from udc.wire import fields, forms, json_text
from udc.wire.actions import choose
from udc.wire.ids import MAX_NUMBER

_UUID: Final = r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def _text(longest: int | None = None, *, pattern: str | None = None) -> core_schema.CoreSchema:
    return core_schema.str_schema(strict=True, min_length=1, max_length=longest, pattern=pattern)


def _whole(lowest: int, highest: int = fields.MAX_COUNT) -> core_schema.CoreSchema:
    return core_schema.int_schema(strict=True, ge=lowest, le=highest)


_ID: Final = _whole(1, MAX_NUMBER)
_REQUIRED: Final[dict[str, core_schema.CoreSchema]] = {
    "message_type": core_schema.enum_schema(MessageType, list(MessageType), sub_type="str"),
    "payload": core_schema.dict_schema(strict=True),
    "trace_id": _text(pattern=_UUID),
    "timestamp": _text(),
}
_OPTIONAL: Final[dict[str, tuple[core_schema.CoreSchema, Any]]] = {  # Any: a default of the field's own type
    "source": (_ID, None),
    "target": (_ID, None),
    "message_id": (_text(fields.MAX_ID), None),
    "correlation_id": (_text(fields.MAX_ID), None),
    "timeout_ms": (_whole(0), None),
    "deadline": (_text(), None),
    "attempt": (_whole(1), 1),
    "hops": (_whole(0), 0),
    "on_behalf_of": (_ID, None),
    "priority": (core_schema.enum_schema(Priority, list(Priority), sub_type="str"), Priority.NORMAL),
    "reply_to": (_text(fields.MAX_REPLY_TO), None),
}
_UNKEPT: Final[dict[str, core_schema.CoreSchema]] = {
    name: core_schema.str_schema(strict=True) for name in fields.UNKEPT
}


def _reader() -> SchemaValidator:
    """Reads the envelope; unknown keys, nulls and other types are errors here."""
    rows = {name: core_schema.typed_dict_field(schema) for name, schema in _REQUIRED.items()}
    for name, schema in ({name: schema for name, (schema, _) in _OPTIONAL.items()} | _UNKEPT).items():
        rows[name] = core_schema.typed_dict_field(schema, required=False)
    return SchemaValidator(core_schema.typed_dict_schema(rows, extra_behavior="forbid"))


_read: Final = _reader().validate_json
_DEFAULTS: Final = {name: default for name, (_, default) in _OPTIONAL.items()}

Envelope: TypeAlias = dict[str, Any]  # Any: values that have been checked
"""What is in the body of a message, its times still as text."""


def read_envelope(body: bytes) -> tuple[Envelope, str | None, Any] | None:  # Any: JSON
    """The envelope in a body of the contract's own form, the action and the data.

    `None` where something about it asks for the long way.
    """
    try:
        envelope: Envelope = _read(body)
        moment = datetime.fromisoformat
        odd_time = moment(envelope["timestamp"]).tzinfo is not UTC
        if "deadline" in envelope:
            odd_time |= moment(envelope["deadline"]).tzinfo is not UTC
    except (ValidationError, ValueError):
        return None
    payload = envelope["payload"]
    if odd_time or "message_type" in payload:
        return None
    if len(payload) == 2 and "data" in payload and (action := payload.get("type")) and type(action) is str:
        data = payload["data"]  # as our own kind writes it; `choose` would come to the same
        return None if json_text.overflows(data) else (envelope, action, data)
    return None if json_text.overflows(payload) else (envelope, *choose(payload))


def message_of(envelope: Envelope, action: str | None, data: Any, size: int) -> Message:  # Any: JSON
    """The message in such an envelope."""
    draft = MessageDraft()
    draft.message_type = envelope["message_type"]
    draft.payload = envelope["payload"]
    draft.trace_id = envelope["trace_id"]
    draft.timestamp = datetime.fromisoformat(envelope["timestamp"])
    draft.action, draft.data = action, data
    given = _DEFAULTS | envelope
    draft.source, draft.target = given["source"], given["target"]
    draft.message_id, draft.correlation_id = given["message_id"], given["correlation_id"]
    draft.timeout_ms, deadline = given["timeout_ms"], given["deadline"]
    draft.deadline = None if deadline is None else datetime.fromisoformat(deadline)
    draft.attempt, draft.hops = given["attempt"], given["hops"]
    draft.on_behalf_of, draft.priority = given["on_behalf_of"], given["priority"]
    draft.reply_to = given["reply_to"]
    draft.dialect = forms.CONTRACT
    draft.size = size
    draft.__class__ = Message
    message: Message = draft
    return message


def read_plain(body: bytes) -> Message | None:
    """The message in a body of the contract's own form; `None` where something about it asks for the long way."""
    read = read_envelope(body)
    return None if read is None else message_of(*read, len(body))
