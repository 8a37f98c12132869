"""How a `FakeRegistry` tells what has changed in its list: long poll and server-sent events (contract section 6)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, TypeAlias

import anyio

from udc._types import DropletId
from udc.errors import InvalidRequest
from udc.surface._base import HttpRequest
from udc.testing.records import OUR_LEASE_SECONDS, Records
from udc.wire.canonical import canonical_json
from udc.wire.records import capabilities

KEPT_CHANGES: Final = 10_000
MAX_WAIT_SECONDS: Final = 60.0
KEEP_ALIVE_SECONDS: Final = 15.0
_LATE_SECONDS: Final = 0.001
"""After a lease's end, so that it has surely ended by the wall clock too."""

Row: TypeAlias = Mapping[str, Any]  # Any: JSON values
Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows a caller wants; `None` wants all."""

    status: list[str] | None = None
    name: list[str] | None = None
    capability: list[str] | None = None

    @classmethod
    def of(cls, query: Mapping[str, list[str]]) -> Filter:
        """From a query string."""
        return cls(query.get("status"), query.get("name"), query.get("capability"))

    def takes(self, row: Row | None) -> bool:
        """Whether the row is among the wanted; no row never is."""
        return (
            row is not None
            and _meets(self.status, [row["status"]])
            and _meets(self.name, [row.get("name")])
            and _meets(self.capability, capabilities(row))
        )


class Watch:
    """The list at every revision, and who waits for the next one.

    Args:
        wall: seconds since the epoch, by the Registry's clock.
        is_down: the Registry is not there for anybody now; `wake` after a change.
        name: unlike that of any other Registry, so that nobody takes this one's revisions for that one's.
    """

    def __init__(self, wall: Callable[[], float], *, name: str, is_down: Callable[[], bool]) -> None:
        self._wall = wall
        self._is_down = is_down
        self._name = name
        self._lives = 0
        self._stopping = False
        self._begin(Records())

    def _begin(self, records: Records) -> None:
        self.records: Records = records
        self._lives += 1
        self._number = 0
        self._rows: dict[DropletId, Row] = {}
        self._past: deque[tuple[int, DropletId, Row | None]] = deque(maxlen=KEPT_CHANGES)
        self._next_at = -math.inf
        self._warm_at = -math.inf
        self._news = anyio.Event()

    @property
    def _epoch(self) -> str:
        return f"{self._name}-{self._lives}"

    @property
    def _open(self) -> bool:
        return not self._stopping and not self._is_down()

    @property
    def revision(self) -> str:
        """Of the present list."""
        self._settle()
        return f"{self._epoch}.{self._number}"

    @property
    def headers(self) -> Headers:
        """What every answer about the list carries."""
        warming = (("X-UDC-Warming", "1"),) if self._wall() < self._warm_at else ()
        return (("X-UDC-Revision", self.revision), *warming)

    def changed(self) -> None:
        """Something in the records may have."""
        self._next_at = -math.inf
        self._settle()

    def forget(self) -> None:
        """Be a Registry that has lost its disk: another epoch, and it warms."""
        news = self._news
        self._begin(Records())
        self._warm()
        news.set()

    def restarted(self) -> None:
        """Be a Registry that was started again on its data: nobody expires until everybody may have beaten."""
        self._stopping = False
        self._lives += 1
        self._past.clear()
        self._number = 0
        self._warm()
        self.records.renew(self._warm_at)
        self.changed()

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """All who wait look again."""
        news, self._news = self._news, anyio.Event()
        news.set()

    def rows(self, wanted: Filter) -> list[Row]:
        """The wanted rows as they are now, the load of each instance included."""
        self._settle()
        return [row for row in self.records.rows(self._wall()) if wanted.takes(row)]

    async def poll(self, request: HttpRequest, since: str, wait_seconds: float) -> bytes:
        """What changed since, as soon as there is something; nothing after `wait_seconds`."""
        wanted = Filter.of(request.query)
        found = self._since(since, wanted)
        if found is None and wait_seconds > 0:
            with anyio.move_on_after(wait_seconds):
                async with anyio.create_task_group() as tasks:
                    if request.disconnected is not None:
                        tasks.start_soon(_leave, request.disconnected, tasks.cancel_scope)
                    while (found := self._since(since, wanted)) is None and self._open:
                        await self._until_news(math.inf)
                    tasks.cancel_scope.cancel()
        return found or self._encoded((), (), snapshot=False)

    async def stream(self, request: HttpRequest, since: str) -> AsyncIterator[bytes]:
        """Every change as a server-sent event, the first one a snapshot unless it goes on from `since`."""
        wanted = Filter.of(request.query)
        body = self._since(since, wanted) if since else self._snapshot(wanted)
        yield self._event(body or self._encoded((), (), snapshot=False))
        revision = self.revision
        while self._open:
            body, revision = self._since(revision, wanted), self.revision
            if body is not None:
                yield self._event(body)
            elif not await self._until_news(KEEP_ALIVE_SECONDS):
                yield b": still here\n\n"

    def _warm(self) -> None:
        self._warm_at = self._wall() + 2 * OUR_LEASE_SECONDS

    def _settle(self) -> None:
        """Note what changed: called for, or because time has passed."""
        now = self._wall()
        if now < self._next_at:
            return
        self._next_at = self.records.expire(now)
        rows = {row["id"]: _without_load(row) for row in self.records.rows(now)}
        for droplet_id in {**self._rows, **rows}:
            before = self._rows.get(droplet_id)
            if before != rows.get(droplet_id):
                self._number += 1
                self._past.append((self._number, droplet_id, before))
        if self._rows != rows:
            self._rows = rows
            self.wake()

    async def _until_news(self, seconds: float) -> bool:
        """Wait for a change, or until a lease ends; whether the wait was shorter than that."""
        news, now = self._news, self._wall()
        with anyio.move_on_after(min(seconds, max(0.0, self._next_at - now) + _LATE_SECONDS)):
            await news.wait()
        return self._wall() - now < seconds

    def _since(self, revision: str, wanted: Filter) -> bytes | None:
        """What a caller who knows that list has to change in it; `None` = nothing."""
        self._settle()
        then = self._then(revision)
        if then is None:
            return self._snapshot(wanted)
        puts: list[Row] = []
        removes: list[Row] = []
        for droplet_id, before in then.items():
            now = self._rows.get(droplet_id)
            if now is not None and wanted.takes(now):
                puts += [self.records.row(droplet_id, self._wall()) or now] if now != before else []
            elif before is not None and wanted.takes(before):
                removes.append(before)
        return self._encoded(puts, removes, snapshot=False) if puts or removes else None

    def _then(self, revision: str) -> dict[DropletId, Row | None] | None:
        """The droplets that changed since, each with its row of then; `None` = that list is not known here."""
        epoch, _, text = revision.rpartition(".")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if epoch != self._epoch or not self._number - len(self._past) <= number <= self._number:
            return None
        later = list(takewhile(lambda change: change[0] > number, reversed(self._past)))
        then: dict[DropletId, Row | None] = {}
        for _, droplet_id, before in reversed(later):
            then.setdefault(droplet_id, before)
        return then

    def _snapshot(self, wanted: Filter) -> bytes:
        return self._encoded(self.rows(wanted), (), snapshot=True)

    def _encoded(self, puts: Iterable[Row], removes: Iterable[Row], *, snapshot: bool) -> bytes:
        changes = [{"op": "put", "record": row} for row in puts]
        changes += [{"op": "remove", "record": {"id": row["id"], "name": row.get("name")}} for row in removes]
        return canonical_json({"revision": self.revision, "changes": changes, "snapshot": snapshot})

    def _event(self, body: bytes) -> bytes:
        return b"id: %b\nevent: changes\ndata: %b\n\n" % (self.revision.encode(), body)


def wait_seconds(query: Mapping[str, list[str]]) -> float:
    """The `wait` of a long poll.

    Raises:
        InvalidRequest: it is no number of seconds from 0.
    """
    try:
        seconds = float(query.get("wait", ["0"])[0])
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # so that NaN is refused, too
        raise InvalidRequest.field("wait", "must be a number of seconds from 0")
    return min(seconds, MAX_WAIT_SECONDS)


def _without_load(row: Row) -> Row:
    """A row without what changes with every beat: that is no news to who watches."""
    return {**row, "instances": [{**each, "in_flight": 0} for each in row["instances"]]}


def _meets(wanted: list[str] | None, found: Iterable[Any]) -> bool:  # Any: JSON values
    return wanted is None or not set(wanted).isdisjoint(found)


async def _leave(disconnected: Callable[[], Awaitable[object]], scope: anyio.CancelScope) -> None:
    await disconnected()
    scope.cancel()
