"""Reads plain envelopes with pydantic, which is always there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import SchemaValidator, core_schema, from_json

from udc.messages import MessageType, Priority
from udc.wire import fields, json_text
from udc.wire.ids import MAX_NUMBER


@dataclass(slots=True)
class _Envelope:
    """What has been read; see `plain.Envelope`."""

    message_type: MessageType
    payload: dict[str, Any]  # Any: JSON values
    trace_id: str
    timestamp: str
    source: int | None = None
    target: int | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    timeout_ms: int | None = None
    deadline: str | None = None
    attempt: int = 1
    hops: int = 0
    on_behalf_of: int | None = None
    priority: Priority = Priority.NORMAL
    reply_to: str | None = None
    signature: str | None = None
    udc_version: str | None = None


def _text(longest: int | None = None) -> core_schema.CoreSchema:
    return core_schema.str_schema(strict=True, min_length=1, max_length=longest)


def _whole(lowest: int, highest: int = fields.MAX_COUNT) -> core_schema.CoreSchema:
    return core_schema.int_schema(strict=True, ge=lowest, le=highest)


_ID: Final = _whole(1, MAX_NUMBER)
_REQUIRED: Final[dict[str, core_schema.CoreSchema]] = {
    "message_type": core_schema.enum_schema(MessageType, list(MessageType), sub_type="str"),
    "payload": core_schema.dict_schema(strict=True),
    "trace_id": _text(),
    "timestamp": _text(),
}
_NULLABLE: Final[dict[str, core_schema.CoreSchema]] = {
    "source": _ID,
    "target": _ID,
    "message_id": _text(fields.MAX_ID),
    "correlation_id": _text(fields.MAX_ID),
    "timeout_ms": _whole(0),
    "deadline": _text(),
    "on_behalf_of": _ID,
    "reply_to": _text(fields.MAX_REPLY_TO),
    **{name: core_schema.str_schema(strict=True) for name in fields.UNKEPT},
}
_OPTIONAL: Final[dict[str, core_schema.CoreSchema]] = {
    **{name: core_schema.nullable_schema(schema) for name, schema in _NULLABLE.items()},
    "attempt": _whole(1),
    "hops": _whole(0),
    "priority": core_schema.enum_schema(Priority, list(Priority), sub_type="str"),
}


def reader() -> Callable[[bytes], _Envelope]:
    """What reads the envelope in a body; raises `ValueError` for unknown keys and other types."""
    rows = {name: core_schema.typed_dict_field(schema) for name, schema in _REQUIRED.items()}
    for name, schema in _OPTIONAL.items():
        rows[name] = core_schema.typed_dict_field(schema, required=False)
    validate = SchemaValidator(core_schema.typed_dict_schema(rows, extra_behavior="forbid")).validate_json

    def read(body: bytes) -> _Envelope:
        envelope = _Envelope(**validate(body))
        if b"NaN" in body or b"Infinity" in body:  # read, and forgotten where another of its key comes after
            from_json(body, allow_inf_nan=False)
        if json_text.overflows(envelope.payload):
            raise ValueError("a number that no float holds")
        return envelope

    return read
