"""Attaches droplets to an aiohttp application: `udc.aiohttp.attach(app, Billing())`.

A droplet's paths are routes of the application that none of its middlewares stands before; one of ours in front of them
answers what routes do not know. The droplet starts after and stops before whatever the application had opened when it
was attached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Final

import anyio

from udc._attachment import Attachable, Attachment, Attachments, D, Hosted, HostRoute, Permission, check_permission
from udc._host import Life
from udc.asgi import Until, close_stream, request_of
from udc.context import Context
from udc.errors import DefinitionError, InvalidRequest, LifecycleError, UdcError
from udc.identity.claims import Principal
from udc.surface._base import HttpRequest, HttpResponse, Standing, Surface
from udc.surface.messages import packed

try:
    from aiohttp import hdrs, web
    from aiohttp.typedefs import Handler, LooseHeaders, Middleware
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "aiohttp":
        raise
    _NEEDED = "udc.aiohttp needs aiohttp: pip install 'udc-mesh[aiohttp]'"
    raise ModuleNotFoundError(_NEEDED, name=_missing.name) from None

__all__ = ["attach", "mesh", "principal"]

_LOOK_SECONDS: Final = 0.25
"""How soon a caller that has left is noticed while nothing is sent: aiohttp 3 tells nobody."""

_DROPLETS: Final = web.AppKey("udc_droplets", Attachments)


def attach(app: web.Application, droplet: D, prefix: str = "", *, root_paths: bool = False) -> D:
    """Serve the droplet in the application, and let it live as long as the application.

    The application's routes, middlewares, signals and contexts stay as they are; the droplet's requests do not pass
    its middlewares. `UdcError`s of its routes are answered as the contract says.

    Args:
        prefix: of the droplet's paths, like `/billing`; put it into `DROPLET_URL` too.
        root_paths: serve the paths without the prefix as well.

    Returns:
        The droplet.

    Raises:
        DefinitionError: a path that is also a route's or another droplet's (names both), or a prefix that is none.
        LifecycleError: the application has started already.
        TypeError: a class was given for the droplet.
    """
    attachment = Attachment(droplet, prefix=prefix, root_paths=root_paths)
    if app.frozen:
        raise LifecycleError(f"the application has started already; attach {attachment.name} where it is put together")
    served = _Served(app, attachment)
    attached = app.get(_DROPLETS)
    if attached is None:
        attached = Attachments()
    attached.add(attachment, served.others())
    if _DROPLETS not in app:
        app[_DROPLETS] = attached
        app.middlewares.insert(0, _front(attached))
    served.route()
    served.live_within(attached)
    return droplet


async def principal(
    request: web.Request, permission: Permission, *, scope: str | None = None, droplet: Attachable | None = None
) -> Principal:
    """Who calls a route of the application, if their token has the permission.

    Verified as for the droplet's own endpoints, with the same keys, cache and limit of failures.

    Args:
        permission: `read`, `write` or `admin`, which includes both.
        scope: a scope that will do in place of the permission.
        droplet: whose keys and audience count; needed only where several are attached and none without a prefix.

    Raises:
        aiohttp.web.HTTPException: they may not; it holds the contract's answer.
        DefinitionError: no such permission or droplet.
    """
    check_permission(permission)
    attached, asked = _attached_to(request), _request(request, request.path)
    try:
        return await attached.of(droplet).admit(asked, permission, scope=scope)
    except UdcError as error:
        raise _Refused(attached.refuse(error, asked)) from error


def mesh(request: web.Request, *, droplet: Attachable | None = None) -> Context:
    """Calls to peers from a route of the application, in the droplet's name.

    Args:
        droplet: which; needed only where several are attached and none without a prefix.

    Raises:
        aiohttp.web.HTTPException: the droplet does not run; it holds the contract's answer.
        DefinitionError: no such droplet.
    """
    attached = _attached_to(request)
    attachment = attached.of(droplet)
    try:
        return attachment.mesh()
    except UdcError as error:
        raise _Refused(attached.refuse(error, _request(request, request.path))) from error


class _Refused(web.HTTPException):
    """The contract's answer to a route's caller. An exception of aiohttp's, which its middlewares let pass."""

    def __init__(self, answer: HttpResponse) -> None:
        self.status_code = answer.status
        super().__init__()
        self.body = _content(answer)  # set apart, for the constructor would add a charset
        for name, value in _headers(answer):
            self.headers[name] = value


class _Served:
    """A droplet's routes and life in an application."""

    def __init__(self, app: web.Application, attachment: Attachment) -> None:
        self._app = app
        self._attachment = attachment
        self._life: Life | None = None

    def others(self) -> Iterator[HostRoute]:
        """The application's own routes, those of what is mounted in it included."""
        mount = len(_mounted_at(self._app))
        for route in self._app.router.routes():
            resource = route.resource
            if resource is not None and not isinstance(getattr(route.handler, "__self__", None), _Path):
                below = isinstance(resource, web.StaticResource)
                name = getattr(route.handler, "__qualname__", type(route.handler).__qualname__)
                yield HostRoute(
                    path=resource.canonical[mount:], name=f"the route {name!r} of the application", below=below
                )

    def route(self) -> None:
        """Add the droplet's paths."""
        for path in sorted(self._attachment.paths):
            answer = _Path(self._attachment, path).answer
            if "{" in path:
                self._app.router.add_route("*", path, answer)
            else:
                self._app.router.register_resource(_Fixed(path, self._app, answer))

    def live_within(self, attached: Attachments) -> None:
        """Start and stop with the application."""

        async def start(_: web.Application) -> None:
            self._life = self._attachment.begin(alone=attached.alone)
            self._attachment.check(self.others())  # routes may have been added after the droplet was attached
            await self._life.start()
            self._life.check_started()

        async def stop(_: web.Application) -> None:
            if self._life is not None:
                await self._life.stop()

        self._app.on_startup.append(start)
        self._app.on_shutdown.append(stop)  # while connections are still open, so that streams end
        self._app.on_cleanup.insert(0, stop)  # for an application whose start failed


class _Fixed(web.PlainResource):
    """A path without names in it: no middleware of its application is asked, not even the one in front."""

    def __init__(self, path: str, app: web.Application, answer: Handler) -> None:
        super().__init__(path)
        self._app = app
        self._only = self.add_route("*", answer)

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """What aiohttp's own comes to, for any method."""
        if request.rel_url.path_safe != self.canonical:
            return None, set()
        match = _Match({}, self._only)
        match.own = self._app
        return match, set()


class _Match(web.UrlMappingMatchInfo):
    """A request for such a path."""

    __slots__ = ("own",)

    own: web.Application

    @property
    def apps(self) -> tuple[web.Application, ...]:
        """The applications whose middlewares it passes: those around its own."""
        apps = super().apps
        return () if len(apps) == 1 else tuple(app for app in apps if app is not self.own)


class _Path:
    """Answers one of a droplet's paths.

    Args:
        path: whole, as it stands in the application; the prefix of a sub-application comes before it.
    """

    def __init__(self, attachment: Attachment, path: str) -> None:
        self._attachment = attachment
        self._path = path
        place = len(attachment.place_of(path) or "")
        self._skip = place - len(path)
        self._inner = None if "{" in path else path[place:]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        inner = self._inner
        if inner is None:
            resource = request.match_info.route.resource
            before = 0 if resource is None else len(resource.canonical) + self._skip
            inner = request.path[before:]
        return await _answer(self._attachment, request, inner)

    def mounted_at(self, resource: web.AbstractResource) -> str:
        """What comes before the application's own paths, as a resource of this path tells."""
        return resource.canonical[: len(resource.canonical) - len(self._path)]


def _mounted_at(app: web.Application) -> str:
    """The prefix of a sub-application that has droplets, which only its resources know; else nothing."""
    for route in app.router.routes():
        path = getattr(route.handler, "__self__", None)
        if isinstance(path, _Path) and route.resource is not None:
            return path.mounted_at(route.resource)
    return ""


def _front(attached: Attachments) -> Middleware:
    @web.middleware
    async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
        own = request.match_info.handler
        if isinstance(getattr(own, "__self__", None), _Path):
            return await own(request)
        if request.match_info.http_exception is not None:  # paths that only the configuration has added
            path = request.path[len(_mounted_at(request.app)) :]
            for attachment in attached:
                if (place := attachment.place_of(path)) is not None:
                    return await _answer(attachment, request, path[len(place) :])
        try:
            return await handler(request)
        except UdcError as error:
            return _whole(attached.refuse(error, _request(request, request.path)))

    return front


def _attached_to(request: web.Request) -> Attachments:
    found: Attachments | None = request.config_dict.get(_DROPLETS)
    if found is None:
        raise DefinitionError("no droplet is attached to this application; see attach()")
    return found


def _request(request: web.Request, path: str) -> HttpRequest:
    return request_of(
        {
            "method": request.method,
            "path": path,
            "headers": request.raw_headers,
            "query_string": request.rel_url.raw_query_string.encode("latin-1"),
            "client": (request.remote, 0) if request.remote else None,
            "scheme": request.scheme,
        }
    )


async def _answer(attachment: Attachment, request: web.Request, path: str) -> web.StreamResponse:
    """What the droplet answers."""
    hosted = attachment.hosted
    if hosted is None:
        return _whole(attachment.refuse_unbegun(_request(request, path)))
    surface = hosted.surface
    express, body = surface.express, None
    if express is not None and path == "/message" and (token := _usual(request, surface.max_body_bytes)) is not None:
        body = request.content.read_nowait()
        answer = await express.answer(token, body, request.scheme)
        if isinstance(answer, bytes):
            return web.Response(body=answer, headers=express.standing(request.scheme).form(_of_receipts))
        if answer is not None:
            return _whole(answer)
    return await _answered(hosted, request, _request(request, path), body)


def _usual(request: web.Request, max_body_bytes: int) -> bytes | None:
    """The token of a message that comes as most do, for the surface's shorter way; `None` for all others."""
    headers, content = request.headers, request.content
    given = headers.getall(hdrs.AUTHORIZATION, ())
    if (
        len(given) != 1
        or not given[0].startswith("Bearer ")
        or request.method != "POST"
        or headers.getall(hdrs.CONTENT_TYPE, ()) != ["application/json"]
        or hdrs.CONTENT_ENCODING in headers
        or not content.is_eof()
        or content.exception() is not None
        or content.total_bytes > max_body_bytes
    ):
        return None
    return given[0][7:].encode("utf-8", "surrogateescape")  # as aiohttp reads headers


def _of_receipts(standing: Standing) -> LooseHeaders:
    """The headers of a receipt, in the form from which aiohttp copies them quickest."""
    return web.StreamResponse(headers=[*standing, ("content-type", "application/json")]).headers


async def _answered(hosted: Hosted, request: web.Request, asked: HttpRequest, body: bytes | None) -> web.StreamResponse:
    surface = hosted.surface
    if body is None:
        read = await _given(hosted, request, asked)
        if not isinstance(read, bytes):
            return read
        body = read
    asked.body = body
    asked.disconnected = lambda: _until_left(request)
    response = await surface.handle(asked)
    return await _sent(response, request, hosted.over)


async def _given(hosted: Hosted, request: web.Request, asked: HttpRequest) -> bytes | web.StreamResponse:
    """The body, or the answer to a request that gets none."""
    surface = hosted.surface
    if not request.content.is_eof() and (refusal := surface.turned_away(asked)) is not None:
        return _whole(refusal)
    try:
        body = await _body(request, surface)
    except TimeoutError:
        late = _whole(surface.refuse_late(asked))
        late.force_close()
        return late
    except web.RequestPayloadError:  # a `ConnectionError` is aiohttp's to end: nobody would read the answer
        coding = asked.headers.get("content-encoding")
        error = packed(coding) if coding else InvalidRequest("the body does not arrive as its headers say")
        return _whole(surface.turned_away(asked) or surface.refuse_unread(error, asked))
    if body is None:
        return _whole(surface.turned_away(asked) or surface.refuse_body(asked))
    return body


async def _body(request: web.Request, surface: Surface) -> bytes | None:
    """The whole body; `None` when it is over the limit.

    Raises:
        TimeoutError: it did not arrive in its time.
    """
    limit = surface.max_body_bytes
    if request.content.is_eof():
        return await _read(request, limit)  # all of it is there: a timer would cost more than the reading
    with anyio.fail_after(surface.body_timeout_seconds):
        return await _read(request, limit)


async def _read(request: web.Request, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    content = request.content
    while not content.at_eof():
        part = await content.readany()
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _sent(response: HttpResponse, request: web.Request, over: Until) -> web.StreamResponse:
    if isinstance(response.body, bytes):
        return _whole(response)
    answer = web.StreamResponse(status=response.status, headers=_headers(response))
    try:
        await answer.prepare(request)
        if request.method != "HEAD":
            await _stream(response.body, answer, request, over)
        await answer.write_eof()
    except ConnectionError:
        pass  # the caller has left
    finally:
        await close_stream(response.body)
    return answer


async def _stream(body: AsyncIterator[bytes], answer: web.StreamResponse, request: web.Request, over: Until) -> None:
    """Send the parts as they come, until the end, until the caller leaves, or until the droplet's work is over."""
    async with anyio.create_task_group() as tasks:

        async def watch(until: Until) -> None:
            await until()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch, lambda: _until_left(request))
        tasks.start_soon(watch, over)
        async for part in body:
            await answer.write(part)
        tasks.cancel_scope.cancel()


async def _until_left(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(_LOOK_SECONDS)


def _headers(response: HttpResponse) -> list[tuple[str, str]]:
    headers = list(response.headers)
    if response.media_type is not None and response.status != HTTPStatus.NO_CONTENT:
        headers.append(("content-type", response.media_type))
    return headers


def _content(response: HttpResponse) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _whole(response: HttpResponse) -> web.Response:
    return web.Response(status=response.status, headers=_headers(response), body=_content(response))
