"""Attaches droplets to a Starlette application: `udc.starlette.attach(app, Billing())`.

A droplet's requests are answered in front of the application's middleware and routing, by one ASGI callable; all
others pass it by. The droplet lives within the application's lifespan.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from udc._attachment import Attachable, Attachment, Attachments, D, HostRoute, Permission, check_permission
from udc._bodies import Receive
from udc._host import living
from udc.asgi import Scope, Send, request_of
from udc.context import Context
from udc.errors import DefinitionError, LifecycleError, UdcError
from udc.identity.claims import Principal
from udc.surface._base import HttpResponse

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Mount, Route
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "starlette":
        raise
    _NEEDED = "udc.starlette needs Starlette: pip install 'udc-mesh[starlette]'"
    raise ModuleNotFoundError(_NEEDED, name=_missing.name) from None

__all__ = ["attach", "mesh", "principal"]

_KEY: Final = "udc_droplets"
"""Where an application's state, and the scope of a request, keep the droplets that are attached."""

Walk: TypeAlias = Callable[[Iterable[BaseRoute]], Iterable[HostRoute]]
"""Goes through an application's routes."""


def attach(app: Starlette, droplet: D, prefix: str = "", *, root_paths: bool = False) -> D:
    """Serve the droplet in the application, before its own routes, and let it live as long as the application.

    The application's routes, middleware, lifespan and exception handlers stay as they are; the droplet's requests
    do not pass its middleware. `UdcError`s of its routes are answered as the contract says, unless it has a handler
    for them.

    Args:
        prefix: of the droplet's paths, like `/billing`; put it into `DROPLET_URL` too.
        root_paths: serve the paths without the prefix as well.

    Returns:
        The droplet.

    Raises:
        DefinitionError: a path that is also a route's or another droplet's (names both), or a prefix that is none.
        LifecycleError: the application has served already.
        TypeError: a class was given for the droplet.
    """
    attach_to(app, Attachment(droplet, prefix=prefix, root_paths=root_paths), walk)
    return droplet


async def principal(
    request: HTTPConnection, permission: Permission, *, scope: str | None = None, droplet: Attachable | None = None
) -> Principal:
    """Who calls a route of the application, if their token has the permission.

    Verified as for the droplet's own endpoints, with the same keys, cache and limit of failures.

    Args:
        permission: `read`, `write` or `admin`, which includes both.
        scope: a scope that will do in place of the permission.
        droplet: whose keys and audience count; needed only where several are attached and none without a prefix.

    Raises:
        ContractError: they may not; answered as the contract says.
        DefinitionError: no such permission or droplet.
    """
    check_permission(permission)
    return await attachments_of(request).of(droplet).admit(request_of(request.scope), permission, scope=scope)


def mesh(request: HTTPConnection, *, droplet: Attachable | None = None) -> Context:
    """Calls to peers from a route of the application, in the droplet's name.

    Args:
        droplet: which; needed only where several are attached and none without a prefix.

    Raises:
        NotReady: the droplet does not run; answered as the contract says.
        DefinitionError: no such droplet.
    """
    return attachments_of(request).of(droplet).mesh()


def attachments_of(request: HTTPConnection) -> Attachments:
    """The droplets attached to the application that a request came to.

    Raises:
        DefinitionError: there are none.
    """
    found: Attachments | None = request.scope.get(_KEY)
    if found is None:
        raise DefinitionError("no droplet is attached to this application; see attach()")
    return found


def attach_to(app: Starlette, attachment: Attachment, walk: Walk, *, begun: Callable[[], None] = lambda: None) -> None:
    """Attach what has been prepared; see `attach`.

    Args:
        begun: called at each start, when the droplet's endpoints are those of its configuration.
    """
    if app.middleware_stack is not None:
        raise LifecycleError(f"the application has served already; attach {attachment.name} where it is put together")
    attached: Attachments = getattr(app.state, _KEY, None) or Attachments()
    attached.add(attachment, walk(app.routes))
    setattr(app.state, _KEY, attached)
    _live_within(app, attachment, attached, walk, begun)
    _stand_before(app, attachment, attached)
    if UdcError not in app.exception_handlers:
        app.add_exception_handler(UdcError, _refuse)


def walk(routes: Iterable[BaseRoute]) -> Iterator[HostRoute]:
    """The HTTP routes of an application, those of what is mounted in it included."""
    return walk_tree(routes, lambda level: level)


def walk_tree(
    routes: Iterable[BaseRoute], level: Callable[[Iterable[BaseRoute]], Iterable[Any]], prefix: str = ""
) -> Iterator[HostRoute]:
    """Routes of any depth.

    Args:
        level: the routes of one level, each with what a route or mount has, or stands for one as its `original_route`.
    """
    for route in level(routes):
        original = getattr(route, "original_route", route)
        if isinstance(original, Mount):
            path = prefix + route.path
            if original.routes:
                yield from walk_tree(original.routes, level, path)
            else:
                yield HostRoute(path=path, name=f"the mount {path!r} of the application", below=True)
        elif isinstance(original, Route):
            yield HostRoute(path=prefix + route.path_format, name=f"the route {route.name!r} of the application")


def _live_within(
    app: Starlette, attachment: Attachment, attached: Attachments, walk: Walk, begun: Callable[[], None]
) -> None:
    around = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[Any]:  # Any: the state that the application's own gives
        life = attachment.begin(alone=attached.alone)
        attachment.check(walk(app.routes))  # routes may have been added after the droplet was attached
        begun()
        async with around(app) as state:
            async with living(life):
                if life.failure is None:
                    yield state
        # Only now, so that the application's own lifespan has ended as it should.
        life.check_started()

    app.router.lifespan_context = lifespan


def _stand_before(app: Starlette, attachment: Attachment, attached: Attachments) -> None:
    build = app.build_middleware_stack

    def build_behind() -> Front:
        return Front(attachment, attached, build())

    app.build_middleware_stack = build_behind  # type: ignore[method-assign]  # the one way to stand before them all


class Front:
    """Answers a droplet's requests and passes all others on. An ASGI application.

    Args:
        behind: the application's own middleware and routing.
    """

    def __init__(self, attachment: Attachment, attached: Attachments, behind: Any) -> None:  # Any: an ASGI application
        self._attachment = attachment
        self._attached = attached
        self._behind = behind

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one connection: what is to be awaited for it."""
        if scope["type"] == "http":
            path: str = scope["path"]
            root: str = scope.get("root_path", "")
            if root and path.startswith(f"{(root := root.rstrip('/'))}/"):
                path = path[len(root) :]
            place = self._attachment.place_of(path)
            if place is not None:
                inner = {**scope, "path": path[len(place) :], "root_path": ""} if place else scope
                return self._attachment.app(inner, receive, send)
        scope[_KEY] = self._attached
        behind: Awaitable[None] = self._behind(scope, receive, send)
        return behind


async def _refuse(request: Request, error: Exception) -> Response:
    return response_of(attachments_of(request).refuse(error, request_of(request.scope)))


def response_of(answer: HttpResponse) -> Response:
    """A whole answer of the droplet's, as the framework has it."""
    content = answer.body if isinstance(answer.body, bytes) else b""
    return Response(content, answer.status, headers=dict(answer.headers), media_type=answer.media_type)
