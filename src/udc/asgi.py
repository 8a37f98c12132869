"""Serves a droplet with any ASGI 3 server: `app = udc.asgi.app(MyDroplet())`.

The server's lifespan starts and stops the droplet. Requests that come without a started droplet (a server
run with its lifespan switched off, say) are answered 503 NOT_READY with the remedy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias

import anyio
from anyio.abc import TaskStatus

from udc._bodies import CallerLeft, Event, Receive, TooLarge, TooLate, abandon, begin, may_begin, read, whole
from udc._foreign_server import heeded
from udc._ids import system
from udc.errors import LifecycleError, NotReady
from udc.surface._base import HttpRequest, HttpResponse, Standing, Surface, requested
from udc.surface.edge import Edge
from udc.surface.headers import HeaderNames
from udc.wire.faults import encode_error

Scope: TypeAlias = MutableMapping[str, Any]  # Any: ASGI's own
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Until: TypeAlias = Callable[[], Awaitable[None]]

_CLOSE_SECONDS: Final = 5.0
"""How long a stream that is cut short may take to clean up."""

_NO_CONTENT: Final = HTTPStatus.NO_CONTENT.value
_JSON: Final = (b"content-type", b"application/json")


class Hosted(Protocol):
    """A droplet made ready to be served once."""

    @property
    def surface(self) -> Surface:
        """Where its requests go."""
        ...

    @property
    def grace_seconds(self) -> float:
        """How long work in flight may go on when it stops."""
        ...

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Start, report `started()`, run until asked to stop, stop."""
        ...

    async def over(self) -> None:
        """Returns once the droplet's work is over and what still streams must end."""
        ...

    def request_stop(self) -> None:
        """Ask for the graceful end."""
        ...


class Hostable(Protocol):
    """What can be hosted: a droplet."""

    def _host(self) -> Hosted: ...


class App:
    """The ASGI application of one droplet. Each lifespan is one life of the droplet."""

    def __init__(self, droplet: Hostable) -> None:
        self._droplet: Hostable | None = droplet
        self._hosted: Hosted | None = None
        self._names = HeaderNames()
        self._by_hand: bool | None = None

    @classmethod
    def of(cls, hosted: Hosted) -> App:
        """The application of a droplet whose life somebody else looks after; it has no lifespan."""
        app = cls.__new__(cls)
        app._droplet, app._hosted = None, hosted  # noqa: SLF001 - a constructor
        app._names, app._by_hand = HeaderNames(), None  # noqa: SLF001 - likewise
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        hosted = self._hosted
        if hosted is None:
            request = _request(scope, self._names)
            await _send(_not_started(request), request.method, receive, send, anyio.sleep_forever)
            return
        surface = hosted.surface
        if (by_hand := self._by_hand) is None:
            by_hand = self._by_hand = may_begin()  # an application lives in one loop at a time
        begun = begin(receive, by_hand=by_hand)
        express = surface.express
        if express is not None and (usual := self._usual(scope, begun, surface.max_body_bytes)) is not None:
            scheme = scope.get("scheme", "http")
            answer = await express.answer(*usual, scheme)
            if isinstance(answer, bytes):
                headers = [*express.standing(scheme).encoded, _JSON, (b"content-length", b"%d" % len(answer))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": answer})
                return
            if answer is not None:
                await _send(answer, "POST", receive, send, hosted.over)
                return
        await self._http(scope, receive, send, hosted, begun)

    def _usual(self, scope: Scope, begun: Event | Awaitable[Event], max_body_bytes: int) -> tuple[bytes, bytes] | None:
        """Token and body of a message that comes as most do, for the surface's shorter way; `None` for all others."""
        if scope["path"] != "/message" or scope["method"] != "POST" or scope.get("root_path"):
            return None
        if type(begun) is not dict or begun["type"] != "http.request" or begun.get("more_body"):
            return None
        body: bytes = begun.get("body", b"")
        raw = scope["headers"]
        if type(raw) is not list:  # it may be one that can be read once only (ASGI asks for no more than an iterable)
            return None
        headers = self._names.plain(raw)
        if headers is None or headers.get(b"content-type") != b"application/json" or b"content-encoding" in headers:
            return None
        given = headers.get(b"authorization", b"")
        return (given[7:], body) if given.startswith(b"Bearer ") and len(body) <= max_body_bytes else None

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        self._by_hand = may_begin()
        await receive()
        started = False
        try:
            if self._droplet is None:
                raise LifecycleError("this droplet is started and stopped by whoever runs it: switch the lifespan off")
            self._hosted = self._droplet._host()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - kept out of users' way
            async with anyio.create_task_group() as tasks:
                await tasks.start(_serve, self._hosted)
                started = True
                with heeded(self._hosted.request_stop, grace_seconds=self._hosted.grace_seconds):
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
                self._hosted.request_stop()
        except Exception as error:
            kind = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{kind}.failed", "message": _reason(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(
        self, scope: Scope, receive: Receive, send: Send, hosted: Hosted, begun: Event | Awaitable[Event]
    ) -> None:
        request = _request(scope, self._names)
        surface = hosted.surface
        try:
            response = await _take_body(request, begun, receive, surface, scope)
        except CallerLeft:
            return  # half a request: nothing runs, and nobody would read the answer
        if response is None:
            request.disconnected = partial(_until_disconnect, receive)
            response = await surface.handle(request)
        await _send(response, request.method, receive, send, hosted.over)


def app(droplet: Hostable) -> App:
    """The ASGI application that serves `droplet`.

    Raises:
        TypeError: it is a class; give an instance.
    """
    if isinstance(droplet, type):
        raise TypeError(f"a class has no life to serve; give an instance: udc.asgi.app({droplet.__name__}())")
    return App(droplet)


async def _serve(hosted: Hosted, *, task_status: TaskStatus[None]) -> None:
    await hosted.serve(task_status=task_status)


def _not_started(request: HttpRequest) -> HttpResponse:
    refusal = NotReady(
        "the droplet has not been started",
        retry_after_seconds=1,
        hint="run the server with its lifespan on (uvicorn: --lifespan on)",
    )
    ambient = system()
    status, headers, body = encode_error(refusal, trace_id=ambient.new_id(), now=ambient.now())
    return Edge().dressed(HttpResponse(status=status, headers=headers, body=body), request, guarded=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_reason, error.exceptions))
    return str(error) or type(error).__name__


def _request(scope: Scope, names: HeaderNames) -> HttpRequest:
    path: str = scope["path"]
    if prefix := scope.get("root_path"):
        prefix = prefix.rstrip("/")
        if prefix and (path == prefix or path.startswith(prefix + "/")):
            path = path[len(prefix) :] or "/"
    client, query = scope.get("client"), scope.get("query_string")
    return requested(
        scope["method"],
        path,
        names.read(scope["headers"]),
        query.decode("latin-1") if query else "",
        client[0] if client else None,
        scope.get("scheme", "http"),
    )


def request_of(scope: Scope) -> HttpRequest:
    """The request that a connection's scope tells of, without its body; for other adapters.

    A WebSocket begins as a GET (RFC 6455 section 4.1), which its scope does not say.
    """
    return _request({"method": "GET", **scope}, HeaderNames())


async def _take_body(
    request: HttpRequest, begun: Event | Awaitable[Event], receive: Receive, surface: Surface, scope: Scope
) -> HttpResponse | None:
    """Give the request its body; the answer to one that gets none."""
    limit = surface.max_body_bytes
    try:
        body = whole(begun, limit)
        if body is None:
            if (refusal := surface.turned_away(request)) is not None:
                await abandon(begun)
                return refusal
            body = await read(begun, receive, limit=limit, seconds=surface.body_timeout_seconds)
    except TooLarge:
        return surface.turned_away(request) or surface.refuse_body(request)
    except TooLate:
        return _closing(surface.refuse_late(request), scope)
    request.body = body
    return None


def _closing(response: HttpResponse, scope: Scope) -> HttpResponse:
    """The answer after which the connection is of no use: it still holds a body that nobody waits for."""
    if not scope.get("http_version", "1.1").startswith("1"):
        return response
    return replace(response, headers=(*response.headers, ("connection", "close")))


def _headers(response: HttpResponse) -> list[tuple[bytes, bytes]]:
    given = response.headers
    headers = list((given if isinstance(given, Standing) else Standing(given)).encoded)
    if response.status == _NO_CONTENT:  # RFC 9110 section 8.6
        return headers
    media_type = response.media_type
    if media_type is not None:
        headers.append(_JSON if media_type == "application/json" else (b"content-type", media_type.encode("latin-1")))
    if isinstance(response.body, bytes):
        headers.append((b"content-length", b"%d" % len(response.body)))
    return headers


async def _send(response: HttpResponse, method: str, receive: Receive, send: Send, over: Until) -> None:
    headers = _headers(response)
    if isinstance(response.body, bytes):
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
        return
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if method != "HEAD":
            await _stream(response.body, receive, send, over)
        await send({"type": "http.response.body", "body": b""})
    finally:
        await _close(response.body)


async def _stream(body: AsyncIterator[bytes], receive: Receive, send: Send, over: Until) -> None:
    """Send the parts as they come, until the end, until the caller leaves, or until the droplet's work is over."""
    async with anyio.create_task_group() as tasks:

        async def watch(until: Until) -> None:
            await until()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch, lambda: _until_disconnect(receive))
        tasks.start_soon(watch, over)
        async for part in body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        tasks.cancel_scope.cancel()


async def _close(body: AsyncIterator[bytes]) -> None:
    """Let a stream clean up, however it ended; one that never began too."""
    close = getattr(body, "aclose", None)
    if close is not None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await close()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


close_stream = _close
"""For other adapters."""
