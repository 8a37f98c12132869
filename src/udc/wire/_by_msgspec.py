"""Reads plain envelopes with msgspec, at a third of pydantic's price; where it is installed.

Raises:
    ImportError: what is installed makes other numbers of some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from udc.messages import MessageType, Priority
from udc.wire import fields
from udc.wire.ids import MAX_NUMBER

_LARGE: Final = 19_709_764_613_395_712_363
if msgspec.json.decode(b"%d" % _LARGE) != _LARGE:  # 0.18 keeps its lower 64 bits, and says nothing
    raise ImportError(f"msgspec {msgspec.__version__} does not read large numbers as they are", name="msgspec")

_Id: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=fields.MAX_COUNT)]
_Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=fields.MAX_ID)]


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """What has been read; see `plain.Envelope`. Null counts as left out, as everywhere."""

    message_type: MessageType
    payload: dict[str, Any]  # Any: JSON values
    trace_id: str
    timestamp: str
    source: _Id | None = None
    target: _Id | None = None
    message_id: _Text | None = None
    correlation_id: _Text | None = None
    timeout_ms: _Count | None = None
    deadline: str | None = None
    attempt: Annotated[int, Meta(ge=1, le=fields.MAX_COUNT)] = 1
    hops: _Count = 0
    on_behalf_of: _Id | None = None
    priority: Priority = Priority.NORMAL
    reply_to: Annotated[str, Meta(min_length=1, max_length=fields.MAX_REPLY_TO)] | None = None
    signature: str | None = None
    udc_version: str | None = None


REFUSALS: Final = (msgspec.MsgspecError, ValueError)
"""What reading raises for all it does not take. Until version 0.21 the former was none of the latter."""


def reader() -> Callable[[bytes], _Envelope]:
    """What reads the envelope in a body; raises one of the refusals for unknown keys and other types.

    It goes as deep as Python does, deeper than other readers.
    """
    return msgspec.json.Decoder(_Envelope).decode
