"""Attaches droplets to a FastAPI application: `udc.fastapi.attach(app, Billing())`.

As `udc.starlette` does; and the droplet's endpoints stand in the application's OpenAPI document, as routes that are
never run: nothing of FastAPI is on their way. Those that only the configuration opens join them at the start.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Final

from udc._attachment import Attachable, Attachment, D, HostRoute, Permission, check_permission
from udc.context import Context
from udc.identity.claims import Principal
from udc.models import ErrorAnswer
from udc.surface._base import Endpoint
from udc.surface.openapi import operation_ids, summary

try:
    from fastapi import FastAPI, Query, Request, Response, Security
    from fastapi.routing import APIRoute, iter_route_contexts
    from fastapi.security import HTTPBearer
    from starlette.routing import BaseRoute, Match

    from udc import starlette
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] not in ("fastapi", "starlette"):
        raise
    _NEEDED = "udc.fastapi needs FastAPI: pip install 'udc-mesh[fastapi]'"
    raise ModuleNotFoundError(_NEEDED, name=_missing.name) from None

__all__ = ["attach", "mesh", "principal"]

_DOCUMENT: Final = "/openapi.json"
_NAME: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_BEARER: Final = HTTPBearer(scheme_name="bearer", bearerFormat="JWT", auto_error=False)


def attach(app: FastAPI, droplet: D, prefix: str = "", *, root_paths: bool = False) -> D:
    """Serve the droplet in the application, before its own routes, and let it live as long as the application.

    See `udc.starlette.attach`. The droplet's endpoints stand in the application's OpenAPI document, which stays where
    and as open as it is: the droplet does not serve one at the same path. What the configuration adds or opens stands
    there from the application's start on.

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
    left = frozenset({_DOCUMENT} if app.openapi_url == _DOCUMENT else ())
    attachment = Attachment(droplet, prefix=prefix, root_paths=root_paths, left=left)
    document = _Document(app, attachment)
    starlette.attach_to(app, attachment, _walk, begun=document.write)
    document.write()
    return droplet


def principal(
    permission: Permission, *, scope: str | None = None, droplet: Attachable | None = None
) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets only callers in whose token has the permission: `Depends(principal("write"))`.

    Verified as for the droplet's own endpoints, with the same keys, cache and limit of failures; refused with the
    contract's errors. In the OpenAPI document it is the same bearer scheme.

    Args:
        permission: `read`, `write` or `admin`, which includes both.
        scope: a scope that will do in place of the permission.
        droplet: whose keys and audience count; needed only where several are attached and none without a prefix.

    Returns:
        What gives the `Principal`.

    Raises:
        DefinitionError: there is no such permission.
    """
    check_permission(permission)

    async def caller(request: Request, _: Annotated[object, Security(_BEARER)]) -> Principal:
        return await starlette.principal(request, permission, scope=scope, droplet=droplet)

    return caller


def mesh(*, droplet: Attachable | None = None) -> Callable[..., Awaitable[Context]]:
    """A dependency that gives calls to peers in the droplet's name: `Depends(mesh())`.

    Args:
        droplet: which; needed only where several are attached and none without a prefix.

    Returns:
        What gives the `Context`; the request is answered 503 while the droplet does not run.
    """

    async def context(request: Request) -> Context:
        return starlette.mesh(request, droplet=droplet)

    return context


def _walk(routes: Iterable[BaseRoute]) -> Iterator[HostRoute]:
    def level(routes: Iterable[BaseRoute]) -> Iterator[Any]:  # Any: FastAPI's contexts, which stand for routes
        for context in iter_route_contexts(list(routes)):
            if not isinstance(context.original_route, _Documented):
                yield context

    return starlette.walk_tree(routes, level)


class _Documented(APIRoute):
    """A route for the OpenAPI document alone; requests never reach it."""

    def matches(self, scope: Any) -> tuple[Match, Any]:  # Any: ASGI's own
        """No: the droplet has answered."""
        return Match.NONE, {}


class _Document:
    """A droplet's endpoints in the application's OpenAPI document."""

    def __init__(self, app: FastAPI, attachment: Attachment) -> None:
        self._app = app
        self._attachment = attachment
        self._rows: tuple[Endpoint, ...] = ()
        self._routes: list[APIRoute] = []

    def write(self) -> None:
        """Have the endpoints stand there that are known now, in the place of those that were before."""
        rows = tuple(replace(row, handler=_nobody) for row in self._attachment.rows)
        if rows == self._rows:
            return
        routes, before = self._app.router.routes, set(map(id, self._routes))
        at = next((at for at, route in enumerate(routes) if id(route) in before), len(routes))
        listed = [
            (row, place + row.path)
            for place in self._attachment.places
            for row in rows
            if place + row.path in self._attachment.paths
        ]
        names = operation_ids((row.method, path) for row, path in listed)
        self._routes = [
            _documented(row, path, name, self._attachment.name) for (row, path), name in zip(listed, names, strict=True)
        ]
        routes[:] = [*routes[:at], *self._routes, *(each for each in routes[at:] if id(each) not in before)]
        self._rows = rows
        self._app.openapi_schema = None


async def _nobody(_: object) -> None:
    """Stands for all handlers: which function answers is nothing that a document tells."""


def _documented(row: Endpoint, path: str, name: str, droplet: str) -> APIRoute:
    typed: dict[str, Any] = {}  # Any: options of FastAPI's
    if row.response_model is None:
        typed["response_class"] = Response  # JSON would be promised else
    return _Documented(
        path,
        _signed(row),
        methods=[row.method],
        response_model=row.response_model,
        summary=summary(row),
        name=f"{droplet} {row.method} {row.path}",
        operation_id=name,
        tags=[droplet],
        dependencies=[] if row.access == "public" else [Security(_BEARER)],
        responses={"default": {"model": ErrorAnswer, "description": "The contract's error"}},
        **typed,
    )


def _signed(row: Endpoint) -> Callable[..., Any]:  # Any: it returns nothing, ever
    """A function with the signature that FastAPI reads the parameters and the body from."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, keyword, annotation=str) for name in _NAME.findall(row.path)]
    # With capitals, so that no name of a path's is the same.
    if row.request_model is not None:
        parameters.append(inspect.Parameter("Body", keyword, annotation=row.request_model))
    for number, each in enumerate(row.query):
        told = Query(alias=each.name, description=each.description or None)
        default = inspect.Parameter.empty if each.required else each.default
        parameters.append(
            inspect.Parameter(f"Query{number}", keyword, annotation=Annotated[each.type, told], default=default)
        )

    async def never_run(**_: object) -> None:
        """Stands in the document only."""

    never_run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions take it
    never_run.__doc__ = None
    return never_run
