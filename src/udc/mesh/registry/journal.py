"""What changed, in order: revisions, and the way from an old one to the present (contract section 6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field
from pydantic_core import to_json

from udc._types import DropletId
from udc.errors import InvalidRequest
from udc.lifecycle import Status
from udc.mesh.registry.instances import Row
from udc.surface._query import QueryParameter
from udc.wire import words

KEPT_SECONDS: Final = 180.0
KEPT_CHANGES: Final = 10_000
_MAX_WANTED: Final = 1000
_Some = Annotated[list[str], Field(max_length=_MAX_WANTED)]

FILTER: Final = (
    QueryParameter("capability", _Some, description="Only who can do this, or one of these."),
    QueryParameter("status", _Some, description="Only who is active, inactive or error; words of other styles count."),
    QueryParameter("name", _Some, description="Only who is called so."),
)
"""What `Filter.read` reads."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows a caller wants; an empty set wants all. Values of one kind are alternatives."""

    capabilities: frozenset[str] = frozenset()
    statuses: frozenset[Status] = frozenset()
    names: frozenset[str] = frozenset()

    @classmethod
    def read(cls, query: Mapping[str, list[str]]) -> Filter:
        """From a query string: `?capability=&status=&name=`.

        Raises:
            InvalidRequest: a status that is none, or too many values.
        """
        for name in ("capability", "status", "name"):
            if len(query.get(name, ())) > _MAX_WANTED:
                raise InvalidRequest.field(name, f"is given more than {_MAX_WANTED} times")
        return cls(
            capabilities=frozenset(query.get("capability", ())),
            statuses=frozenset(words.status(word) for word in query.get("status", ())),
            names=frozenset(query.get("name", ())),
        )

    @property
    def empty(self) -> bool:
        """Whether it lets everything through."""
        return not (self.capabilities or self.statuses or self.names)

    def takes(self, row: Row | None) -> bool:
        """Whether the row is among the wanted; no row never is."""
        return (
            row is not None
            and (not self.names or row.name in self.names)
            and (not self.statuses or row.status in self.statuses)
            and (not self.capabilities or not self.capabilities.isdisjoint(row.capabilities))
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was replaced at some revision; `None` = there was, or is, none."""

    number: int
    at: float
    droplet_id: DropletId
    before: Row | None


class Journal:
    """The last changes, bounded in time and number.

    Args:
        epoch: names this life of the Registry: revisions of another one say nothing here.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._number = 0
        self._changes: deque[Change] = deque()

    @property
    def revision(self) -> str:
        """The present one: opaque to everybody else."""
        return f"{self._epoch}.{self._number}"

    def note(self, droplet_id: DropletId, before: Row | None, *, now: float) -> None:
        """The row of this droplet has just been replaced."""
        self._number += 1
        self._changes.append(Change(self._number, now, droplet_id, before))
        while len(self._changes) > KEPT_CHANGES or self._changes[0].at < now - KEPT_SECONDS:
            self._changes.popleft()

    def since(self, revision: str) -> dict[DropletId, Row | None] | None:
        """The droplets that changed since, each with its row of then; `None` = nobody knows any more."""
        epoch, _, text = revision.rpartition(".")
        if epoch != self._epoch or not (text.isascii() and text.isdigit()) or len(text) > 18:
            return None
        number = int(text)
        oldest = self._number - len(self._changes)
        if not oldest <= number <= self._number:
            return None
        then: dict[DropletId, Row | None] = {}
        for change in reversed(self._changes):
            if change.number <= number:
                break
            then[change.droplet_id] = change.before  # the earliest one, which is met last, stays
        return then


def encode_changes(revision: str, puts: Iterable[Row], removes: Iterable[Row], *, snapshot: bool) -> bytes:
    """The body of a delta or a snapshot, from the rows' ready fragments."""
    parts = [b'{"op":"put","record":%b}' % row.fragment for row in puts]
    parts += [b'{"op":"remove","record":%b}' % to_json({"id": row.id, "name": row.name}) for row in removes]
    return b'{"revision":%b,"changes":[%b],"snapshot":%b}' % (
        to_json(revision),
        b",".join(parts),
        b"true" if snapshot else b"false",
    )
