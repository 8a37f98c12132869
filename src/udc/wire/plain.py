"""Messages as our own kind writes them, read in one step: from bytes to the fields, each checked on the way.

Reads the contract's own form where nothing about it is unusual, and nothing else. Whatever it does not read goes the
long way, which knows the other forms and says what is wrong; so the two must agree, and a test compares them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

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
    """Fills the slots of a draft; unknown keys, nulls and other types are errors here."""
    rows = [core_schema.dataclass_field(name, schema, kw_only=True) for name, schema in _REQUIRED.items()]
    for name, (schema, default) in _OPTIONAL.items():
        optional = core_schema.with_default_schema(schema, default=default)
        rows.append(core_schema.dataclass_field(name, optional, kw_only=True))
    for name, schema in _UNKEPT.items():
        optional = core_schema.with_default_schema(schema, default="")
        rows.append(core_schema.dataclass_field(name, optional, kw_only=True, init_only=True))
    arguments = core_schema.dataclass_args_schema("Message", rows, extra_behavior="forbid", collect_init_only=True)
    filled = [*_REQUIRED, *_OPTIONAL]
    return SchemaValidator(core_schema.dataclass_schema(MessageDraft, arguments, filled, slots=True))


_read: Final = _reader().validate_json


def read_plain(body: bytes) -> Message | None:
    """The message in a body of the contract's own form; `None` where something about it asks for the long way."""
    try:
        draft = _read(body)
        stamp = datetime.fromisoformat(draft.timestamp)
        deadline = draft.deadline
        if deadline is not None:
            draft.deadline = deadline = datetime.fromisoformat(deadline)
    except (ValidationError, ValueError):
        return None
    payload = draft.payload
    odd_time = stamp.tzinfo is not UTC or (deadline is not None and deadline.tzinfo is not UTC)
    if odd_time or "message_type" in payload or json_text.overflows(payload):
        return None
    draft.timestamp = stamp
    draft.action, draft.data = choose(payload)
    draft.dialect = forms.CONTRACT
    draft.size = len(body)
    draft.__class__ = Message
    message: Message = draft
    return message
