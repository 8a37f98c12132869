"""The envelope's optional fields: how each is read, and what is refused (contract section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from udc.errors import InvalidRequest
from udc.messages import Priority
from udc.wire.ids import canonical_id
from udc.wire.trace import MAX_FOREIGN, is_uuid
from udc.wire.words import moment

MAX_ID: Final = 128
"""The longest message, correlation or foreign trace id, in characters."""

MAX_REPLY_TO: Final = 2048
"""The longest `reply_to`, in characters."""

MAX_COUNT: Final = 2**53 - 1
"""The largest count or duration: what a JSON number holds exactly everywhere."""


def text(value: object, name: str, *, longest: int = MAX_ID) -> str:
    """A text of 1 to `longest` characters.

    Raises:
        InvalidRequest: anything else; names the field.
    """
    if not isinstance(value, str):
        raise InvalidRequest.field(name, "must be a string")
    if not 0 < len(value) <= longest:
        raise InvalidRequest.field(name, f"must have 1 to {longest} characters")
    return value


def trace_id(value: object, name: str) -> str:
    """A trace id of the contract's own form: a UUID with 36 characters.

    Raises:
        InvalidRequest: anything else; names the field.
    """
    if not isinstance(value, str) or not is_uuid(value):
        raise InvalidRequest.field(name, "must be a UUID of 36 characters, or left out")
    return value


def foreign_trace_id(value: object, name: str) -> str:
    """A trace id of a foreign form: any text of 1 to 128 characters.

    Raises:
        InvalidRequest: anything else; names the field.
    """
    return text(value, name, longest=MAX_FOREIGN)


def _count(lowest: int) -> Callable[[object, str], int]:
    def read(value: object, name: str) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)  # JSON knows one kind of number: 5.0 is 5
        if type(value) is not int or not lowest <= value <= MAX_COUNT:  # `type`: a boolean is an int to isinstance
            raise InvalidRequest.field(name, f"must be an integer from {lowest}")
        return value

    return read


def _priority(value: object, name: str) -> Priority:
    known = _PRIORITIES.get(value) if isinstance(value, str) else None
    if known is None:
        raise InvalidRequest.field(name, f"must be one of {', '.join(_PRIORITIES)}")
    return known


_PRIORITIES = {word.value: word for word in Priority}


def _foreign_priority(value: object, name: str) -> Priority:
    # Numbers and words such as "urgent" mean something else in each mesh; a hint nobody shares is no reason to refuse.
    del name
    return _PRIORITIES.get(value, Priority.NORMAL) if isinstance(value, str) else Priority.NORMAL


def _reply_to(value: object, name: str) -> str:
    return text(value, name, longest=MAX_REPLY_TO)


def _foreign_reply_to(value: object, name: str) -> str | None:
    del name
    return value if isinstance(value, str) and 0 < len(value) <= MAX_REPLY_TO else None


Reader = Callable[[object, str], Any]  # Any: a value of the field's own type

OPTIONAL: Final[dict[str, Reader]] = {
    "message_id": text,
    "correlation_id": text,
    "timeout_ms": _count(0),
    "deadline": lambda value, name: moment(value, field=name),
    "attempt": _count(1),
    "hops": _count(0),
    "on_behalf_of": lambda value, name: canonical_id(value, field=name),
    "priority": _priority,
    "reply_to": _reply_to,
}
"""Reader by field, for the contract's own form. JSON null counts as left out."""

FOREIGN_OPTIONAL: Final[dict[str, Reader]] = {**OPTIONAL, "priority": _foreign_priority, "reply_to": _foreign_reply_to}
"""Reader by field, for foreign forms: what they have invented themselves is taken as they mean it."""

UNKEPT: Final = ("signature", "udc_version")
"""Fields whose type the contract's own form checks and whose value is never kept: `signature` may be a bearer."""
