"""Server-sent events as they are read (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from udc._frozen import dataclass
from udc.errors import InvalidRequest

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""The longest event that is read."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        kind: its `event` field; "message" where there is none.
        data: its `data` lines, joined.
        id: the id to resume after, where this event names one.
    """

    kind: str
    data: str
    id: str | None = None


class EventReader:
    """Takes bytes as they come and gives the events that are complete. Comments are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []
        self._size = 0
        self._id: str | None = None

    def feed(self, part: bytes) -> list[Event]:
        """The events that end in this part.

        Raises:
            InvalidRequest: one is longer than `MAX_EVENT_BYTES`.
        """
        return [event for line in self._lines(part) if (event := self._line(line)) is not None]

    def _lines(self, part: bytes) -> Iterator[str]:
        text = self._rest + part
        # A carriage return at the end may be the first half of a line's end.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        self._size += len(part)
        for line in lines:
            yield line.decode("utf-8", "replace")
        if self._size > MAX_EVENT_BYTES:
            raise InvalidRequest.field("event", f"is longer than {MAX_EVENT_BYTES} bytes")

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _complete(self) -> Event | None:
        kind, data, given = self._kind or "message", self._data, self._id
        self._kind, self._data, self._id, self._size = "", [], None, 0
        # A kind alone is an event too: strictly read it would not be, but who writes it means something by it.
        return Event(kind, "\n".join(data), given) if data or kind != "message" else None
