"""The endpoints that tell who is there: lists, single records, long poll and watch (contract section 6)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Final

import anyio
from pydantic import Field

from udc._ids import Ambient
from udc.errors import InvalidRequest, NotFound
from udc.identity.claims import Principal
from udc.mesh.registry.catalog import Catalog
from udc.mesh.registry.instances import Row
from udc.mesh.registry.journal import FILTER, Filter
from udc.mesh.registry.seats import Seats
from udc.surface._base import HttpRequest, HttpResponse
from udc.surface._query import QueryParameter
from udc.wire.ids import canonical_id

MAX_WAIT_SECONDS: Final = 60.0
KEEP_ALIVE_SECONDS: Final = 15.0
_LONGEST_REVISION: Final = 128

_SINCE: Final = QueryParameter(
    "since",
    Annotated[str, Field(max_length=_LONGEST_REVISION)],
    description="Only what has changed since this revision.",
)
CHANGES: Final = (
    *FILTER,
    _SINCE,
    QueryParameter(
        "wait",
        Annotated[float, Field(ge=0)],
        default=0.0,
        description=f"For how many seconds, at most {MAX_WAIT_SECONDS:g}, to wait for a change since then.",
    ),
)
"""What `droplets` reads."""

WATCH: Final = (*FILTER, _SINCE)
"""What `watch` reads; `Last-Event-ID` wins over `since`."""


class Reading:
    """The handlers of these endpoints.

    Args:
        warming: the Registry has just started, and may not know everybody yet.
        stopping: the droplet is about to end, so nobody waits any more.
        seats: how many may wait for changes at once.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        warming: Callable[[], bool],
        stopping: Callable[[], bool],
        ambient: Ambient,
        seats: Seats | None = None,
    ) -> None:
        self._seats = seats or Seats()
        self._catalog = catalog
        self._warming, self._stopping, self._ambient = warming, stopping, ambient

    async def droplets(self, request: HttpRequest) -> HttpResponse:
        """The list, or what changed in it since a revision."""
        query = request.query
        wanted = Filter.read(query)
        since = query.get("since", [""])[0]
        if not since:
            return self._answer(self._catalog.listing(wanted))
        if len(since) > _LONGEST_REVISION:
            raise InvalidRequest.field("since", "is no revision of this Registry")
        return self._answer(await self._changes(request, since, wanted, _seconds(query.get("wait", ["0"])[0])))

    async def wrapped(self, request: HttpRequest) -> HttpResponse:
        """The list in the shape of the `/registry/…` style: `{droplets, count}`."""
        return self._wrapped(request, b"droplets")

    async def services(self, request: HttpRequest) -> HttpResponse:
        """The list in the shape of service lists: `{services, count}`."""
        return self._wrapped(request, b"services")

    async def one(self, request: HttpRequest) -> HttpResponse:
        """One record by its id."""
        droplet_id = canonical_id(request.params["id"])
        return self._record(self._catalog.find(droplet_id), f"droplet {droplet_id}")

    async def named(self, request: HttpRequest) -> HttpResponse:
        """One record by its name."""
        name = request.params["name"]
        return self._record(self._catalog.named(name), "a droplet of that name")

    async def watch(self, request: HttpRequest) -> HttpResponse:
        """Every change as a server-sent event; the first one is a snapshot, or goes on from `since`."""
        query = request.query
        wanted = Filter.read(query)
        since = request.headers.get("last-event-id") or query.get("since", [""])[0]
        if len(since) > _LONGEST_REVISION:
            raise InvalidRequest.field("since", "is no revision of this Registry")
        return HttpResponse(
            media_type="text/event-stream",
            headers=(*self._headers(), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")),
            body=self._seats.seated(_who(request), self._events(request.caller, since, wanted)),
        )

    async def _changes(self, request: HttpRequest, since: str, wanted: Filter, wait: float) -> bytes:
        changes = self._catalog.changes(since, wanted)
        if changes is not None or wait == 0:
            return changes or self._catalog.unchanged()
        seen = self._catalog.revision
        with self._seats.taken(_who(request)), anyio.move_on_after(wait):
            async with anyio.create_task_group() as tasks:
                if request.disconnected is not None:
                    tasks.start_soon(_leave, request.disconnected, tasks.cancel_scope)
                while (changes := self._catalog.changes(seen, wanted)) is None and not self._stopping():
                    seen = self._catalog.revision  # what came until here concerns this caller not
                    await self._catalog.changed()
                tasks.cancel_scope.cancel()
        return changes or self._catalog.unchanged()

    async def _events(self, caller: Principal, since: str, wanted: Filter) -> AsyncGenerator[bytes]:
        """Until the droplet stops, or the caller's token ends: who may no longer read must not go on hearing."""
        until = None if not caller.expires_at else anyio.current_time() + caller.expires_at - self._ambient.wall()
        body: bytes | None = self._catalog.changes(since, wanted) if since else self._catalog.snapshot(wanted)
        revision = self._catalog.revision
        yield _event(revision, body or self._catalog.unchanged())
        while not self._stopping() and (until is None or anyio.current_time() < until):
            # Looked for before the wait: something may have changed while the last event was on its way.
            body = self._catalog.changes(revision, wanted)
            revision = self._catalog.revision
            if body is not None:
                yield _event(revision, body)
                continue
            with anyio.move_on_after(KEEP_ALIVE_SECONDS) as pause:
                await self._catalog.changed()
            if pause.cancelled_caught:
                yield b": still here\n\n"

    def _wrapped(self, request: HttpRequest, name: bytes) -> HttpResponse:
        rows = self._catalog.select(Filter.read(request.query))
        return self._answer(b'{"%b":[%b],"count":%d}' % (name, b",".join(row.fragment for row in rows), len(rows)))

    def _record(self, row: Row | None, what: str) -> HttpResponse:
        if row is None:
            raise NotFound(f"{what} is not registered")
        return self._answer(row.fragment)

    def _answer(self, body: bytes) -> HttpResponse:
        return HttpResponse(body=body, headers=self._headers())

    def _headers(self) -> tuple[tuple[str, str], ...]:
        revision = ("X-UDC-Revision", self._catalog.revision)
        return (revision, ("X-UDC-Warming", "1")) if self._warming() else (revision,)


def _who(request: HttpRequest) -> object:
    caller = request.caller
    return caller.droplet_id if caller.droplet_id is not None else (caller.subject, request.client)


def _event(revision: str, body: bytes) -> bytes:
    # JSON as it is encoded here holds no line ends, so one data line is enough.
    return b"id: %b\nevent: changes\ndata: %b\n\n" % (revision.encode(), body)


async def _leave(disconnected: Callable[[], object], scope: anyio.CancelScope) -> None:
    await disconnected()  # type: ignore[misc]  # an awaitable: see `HttpRequest.disconnected`
    scope.cancel()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # so that NaN is refused, too
        raise InvalidRequest.field("wait", "must be a number of seconds from 0")
    return min(seconds, MAX_WAIT_SECONDS)
