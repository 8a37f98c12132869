"""Attaches droplets to an aiohttp application: `udc.aiohttp.attach(app, Billing())`.

A droplet's paths are routes of the application that none of its middlewares stands before; one of ours in front of them
answers what routes do not know. The droplet starts after and stops before whatever the application had opened when it
was attached.
"""

from __future__ import annotations

from typing import Final

from udc._attachment import Attachable, Attachment, Attachments, D, Permission, check_permission
from udc.context import Context
from udc.errors import DefinitionError, LifecycleError, UdcError
from udc.identity.claims import Principal
from udc.surface._base import HttpResponse

try:
    from aiohttp import web
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "aiohttp":
        raise
    _NEEDED = "udc.aiohttp needs aiohttp: pip install 'udc-mesh[aiohttp]'"
    raise ModuleNotFoundError(_NEEDED, name=_missing.name) from None

from udc.aiohttp._answers import content_of, headers_of, request_in
from udc.aiohttp._routes import Served, front

__all__ = ["attach", "mesh", "principal"]

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
    served = Served(app, attachment)
    attached = app.get(_DROPLETS)
    if attached is None:
        attached = Attachments()
    attached.add(attachment, served.others())
    if _DROPLETS not in app:
        app[_DROPLETS] = attached
        app.middlewares.insert(0, front(attached))
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
    attached, asked = _attached_to(request), request_in(request, request.path)
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
        raise _Refused(attached.refuse(error, request_in(request, request.path))) from error


class _Refused(web.HTTPException):
    """The contract's answer to a route's caller. An exception of aiohttp's, which its middlewares let pass."""

    def __init__(self, answer: HttpResponse) -> None:
        self.status_code = answer.status
        super().__init__()
        self.body = content_of(answer)  # set apart, for the constructor would add a charset
        for name, value in headers_of(answer):
            self.headers[name] = value


def _attached_to(request: web.Request) -> Attachments:
    found: Attachments | None = request.config_dict.get(_DROPLETS)
    if found is None:
        raise DefinitionError("no droplet is attached to this application; see attach()")
    return found
