"""A droplet's paths as routes of an aiohttp application."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from udc._attachment import Attachment, Attachments, HostRoute
from udc._host import Life
from udc.aiohttp._answers import droplets_answer, request_in, whole_answer
from udc.errors import UdcError


class Served:
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
            if resource is not None and not isinstance(getattr(route.handler, "__self__", None), DropletPath):
                below = isinstance(resource, web.StaticResource)
                name = getattr(route.handler, "__qualname__", type(route.handler).__qualname__)
                yield HostRoute(
                    path=resource.canonical[mount:], name=f"the route {name!r} of the application", below=below
                )

    def route(self) -> None:
        """Add the droplet's paths."""
        for path in sorted(self._attachment.paths):
            handler = DropletPath(self._attachment, path).answer
            if "{" in path:
                self._app.router.add_route("*", path, handler)
            else:
                self._app.router.register_resource(FixedPath(path, self._app, handler))

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


class FixedPath(web.PlainResource):
    """A path without names in it: no middleware of its application is asked, not even the one in front."""

    def __init__(self, path: str, app: web.Application, handler: Handler) -> None:
        super().__init__(path)
        self._app = app
        self._only = self.add_route("*", handler)

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


class DropletPath:
    """Answers one of a droplet's paths.

    Args:
        path: whole, as it stands in the application; the prefix of a sub-application comes before it.
    """

    def __init__(self, attachment: Attachment, path: str) -> None:
        self._attachment = attachment
        self._path = path
        place = len(attachment.place_of(path) or "")
        self._skip = place - len(path)
        self._inner = None if "{" in path or "%" in path else path[place:]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        inner = self._inner
        if inner is None:
            resource = request.match_info.route.resource
            before = 0 if resource is None else len(resource.canonical) + self._skip
            inner = request.path[before:]
        return await droplets_answer(self._attachment, request, inner)

    def mounted_at(self, resource: web.AbstractResource) -> str:
        """What comes before the application's own paths, as a resource of this path tells."""
        return resource.canonical[: len(resource.canonical) - len(self._path)]


def _mounted_at(app: web.Application) -> str:
    """The prefix of a sub-application that has droplets, which only its resources know; else nothing."""
    for route in app.router.routes():
        path = getattr(route.handler, "__self__", None)
        if isinstance(path, DropletPath) and route.resource is not None:
            return path.mounted_at(route.resource)
    return ""


def front(attached: Attachments) -> Middleware:
    """Stands before all other middlewares: for paths with names in them, and for what no route knows."""

    @web.middleware
    async def in_front(request: web.Request, handler: Handler) -> web.StreamResponse:
        own = request.match_info.handler
        if isinstance(getattr(own, "__self__", None), DropletPath):
            return await own(request)
        if request.match_info.http_exception is not None:  # paths that only the configuration has added
            path = request.path[len(_mounted_at(request.app)) :]
            for attachment in attached:
                if (place := attachment.place_of(path)) is not None:
                    return await droplets_answer(attachment, request, path[len(place) :])
        try:
            return await handler(request)
        except UdcError as error:
            return whole_answer(attached.refuse(error, request_in(request, request.path)))

    return in_front
