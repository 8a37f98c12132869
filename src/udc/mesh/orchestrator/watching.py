"""Every change of a task as server-sent events: `GET /tasks/events` (contract section 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Annotated, Final

import anyio
from pydantic import Field
from pydantic_core import from_json, to_json

from udc._ids import Ambient
from udc.errors import InvalidRequest
from udc.identity.claims import Principal
from udc.mesh.orchestrator import bodies
from udc.mesh.orchestrator.book import Book
from udc.mesh.orchestrator.records import shown
from udc.mesh.orchestrator.reports import caller_of
from udc.mesh.orchestrator.store import Change, Filter
from udc.mesh.orchestrator.task import Task
from udc.mesh.registry.seats import Seats
from udc.surface._base import HttpRequest, HttpResponse
from udc.surface._query import QueryParameter

QUERY: Final = (
    QueryParameter("task_id", description="Only this task, as it is now and until it is over."),
    *bodies.FILTER,
    QueryParameter(
        "since",
        Annotated[int, Field(ge=0, lt=10**18)],
        description="The last event that the caller has; `Last-Event-ID` wins. By default from now on.",
    ),
)
"""What `events` reads; an empty value is none."""

KEEP_ALIVE_SECONDS: Final = 15.0
_PAGE: Final = 50
_KEPT: Final = 1000
_KEPT_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Event:
    """One change, written once for all who watch."""

    seq: int
    task: Task
    text: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    filter: Filter
    task_id: str | None

    def takes(self, task: Task) -> bool:
        """Whether the watcher asked for this."""
        return (
            self.task_id in (None, task.task_id)
            and self.filter.status in (None, task.status)
            and self.filter.task_type in (None, task.task_type)
            and self.filter.assigned_droplet_id in (None, task.assigned and task.assigned.droplet_id)
        )


class Watching:
    """The handler of this endpoint. The newest events are in memory, older ones come from the store.

    Args:
        stopping: the droplet is about to end, so nobody waits any more.
        seats: how many may watch at once.
    """

    def __init__(
        self, book: Book, *, stopping: Callable[[], bool], ambient: Ambient, seats: Seats | None = None
    ) -> None:
        self._seats = seats or Seats()
        self._book, self._stopping, self._ambient = book, stopping, ambient
        self._newest: deque[_Event] = deque()
        self._bytes = 0
        self._read = 0
        self._reading = anyio.Lock()
        self._news = anyio.Event()

    async def open(self) -> None:
        """Begin after what is there already."""
        _, self._read = await self._book.store.bounds()

    def wake(self) -> None:
        """Something has changed."""
        news, self._news = self._news, anyio.Event()
        news.set()

    async def events(self, request: HttpRequest) -> HttpResponse:
        """Every change from now on, or since `Last-Event-ID`; with `task_id` until that task is over.

        Raises:
            InvalidRequest: a parameter that is none.
            NotFound: there is no task of that id.
            RateLimited, Overloaded: this caller, or everybody, watches too often already.
        """
        query = request.query
        task_id = query.get("task_id", [""])[-1].lower() or None
        wanted = _Wanted(bodies.filter_of(query), task_id)
        since = _since(request.headers.get("last-event-id") or query.get("since", [""])[-1])
        if task_id is not None:
            await self._book.store.get(task_id)
        who = caller_of(request.caller, None)
        return HttpResponse(
            media_type="text/event-stream",
            headers=(("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")),
            body=self._seats.seated(who, self._stream(request.caller, wanted, since)),
        )

    async def _stream(self, caller: Principal, wanted: _Wanted, since: int | None) -> AsyncGenerator[bytes]:
        """Until the droplet stops, or the caller's token ends: who may no longer read must not go on hearing."""
        until = None if not caller.expires_at else anyio.current_time() + caller.expires_at - self._ambient.wall()
        await self._catch_up()
        _, newest = await self._book.store.bounds()
        after = newest if since is None else since
        missed = since is not None and await self._is_gap(since)
        afresh, told = wanted.task_id is not None and after == newest, -1
        while not self._stopping() and (until is None or anyio.current_time() < until):
            news = self._news  # before the look: what comes meanwhile is not missed
            if missed:
                _, after = await self._book.store.bounds()
                yield b"event: reset\ndata: %b\n\n" % to_json({"seq": after})
            if wanted.task_id is not None and (afresh or missed):
                kept = await self._book.store.get(wanted.task_id)
                # May be newer than `after`: what led to it is not told any more.
                afresh, told = False, kept.task.version
                yield _text(Change(after, kept.task, kept.payload))
                if kept.task.over:
                    return
            events, until_seq, missed = await self._after(after)
            if missed:
                continue
            for event in events:
                after = event.seq
                if wanted.takes(event.task) and event.task.version > told:
                    yield event.text
                if wanted.task_id == event.task.task_id and event.task.over:
                    return
            # Of what has been forgotten there is nothing to tell: the end may be further than the last event.
            after = max(after, until_seq)
            if news.is_set() or self._read > after:
                continue
            with anyio.move_on_after(KEEP_ALIVE_SECONDS) as pause:
                await news.wait()
            if pause.cancelled_caught:
                yield b": still here\n\n"

    async def _after(self, seq: int) -> tuple[list[_Event], int, bool]:
        """The next events, up to where they are all there are, and whether some before them are kept no more."""
        await self._catch_up()
        read = self._read
        if seq >= read:
            return [], seq, False
        if self._newest and self._newest[0].seq <= seq + 1:
            return [event for event in self._newest if event.seq > seq], read, False
        events = [_event(change) for change in await self._book.store.changes(seq, limit=_PAGE)]
        if (not events or events[0].seq > seq + 1) and await self._is_gap(seq):
            return [], seq, True
        return events, events[-1].seq if events else read, False

    async def _is_gap(self, seq: int) -> bool:
        """Whether changes after this one are kept no more, or it is none of ours."""
        oldest, newest = await self._book.store.bounds()
        return not (oldest or newest + 1) - 1 <= seq <= newest

    async def _catch_up(self) -> None:
        """Read what has been committed since, once for all who watch."""
        async with self._reading:
            while changes := await self._book.store.changes(self._read, limit=_PAGE):
                if changes[0].seq > self._read + 1:  # the events in memory have no gaps
                    self._newest.clear()
                    self._bytes = 0
                for change in changes:
                    event = _event(change)
                    self._newest.append(event)
                    self._bytes += len(event.text)
                    self._read = change.seq
                while len(self._newest) > _KEPT or self._bytes > _KEPT_BYTES:
                    self._bytes -= len(self._newest.popleft().text)


def _event(change: Change) -> _Event:
    return _Event(change.seq, change.task, _text(change))


def _text(change: Change) -> bytes:
    record = shown(change.task, from_json(change.payload), history=False)
    # JSON as it is encoded here holds no line ends, so one data line is enough.
    return b"id: %d\nevent: task\ndata: %b\n\n" % (change.seq, to_json({"seq": change.seq, "task": record}))


def _since(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest.field("Last-Event-ID", "is no id of an event of this Orchestrator")
    return int(text)
