"""A droplet attached to an application: which paths are its own, and who holds it while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, get_args

from udc import _host, asgi
from udc._host import Life
from udc._ids import system
from udc._types import Access
from udc.context import Context
from udc.errors import DefinitionError, LifecycleError, NotReady
from udc.identity.claims import Principal
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface.edge import Edge
from udc.wire.faults import answer_for, encode_error

_NAME: Final = re.compile(r"\{[a-z_][a-z0-9_]*\}")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")

Permission: TypeAlias = Literal["read", "write", "admin"]
"""What a token must allow."""

D = TypeVar("D", bound="Attachable")


class Hosted(_host.Hosted, Protocol):
    """A droplet ready for one life inside an application, with what that application's routes need of it."""

    @property
    def rows(self) -> Sequence[Endpoint]:
        """Its endpoint table."""
        ...

    async def admit(self, request: HttpRequest, access: Access, *, scope: str | None) -> Principal:
        """Who calls a route of the application; raises `ContractError` for those who may not."""
        ...

    def refuse(self, error: Exception, request: HttpRequest) -> HttpResponse:
        """The contract's answer to what a route of the application raised."""
        ...


class Attachable(asgi.Hostable, Protocol):
    """What can be attached: a droplet."""

    @property
    def mesh(self) -> Context:
        """Its calls to peers; raises `LifecycleError` while it does not run."""
        ...

    def _outline(self) -> Sequence[Endpoint]: ...

    def _attached(self, *, alone: bool) -> Hosted: ...


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route of the application itself.

    Attributes:
        path: its path or template, whole.
        name: what to call it in an error.
        below: it takes everything below its path as well.
    """

    path: str
    name: str
    below: bool = False


class Attachment:
    """One droplet in one application.

    Attributes:
        rows: its endpoints, by their paths without the prefix; those of its class until it has begun.
        app: answers for it; 503 before it has begun.
        places: what comes before its paths: the prefix, or nothing, or each in turn.
        paths: all of them, whole.

    Args:
        root_paths: it serves its endpoints without the prefix as well.
        left: whole paths that stay the application's own.

    Raises:
        DefinitionError: the prefix is none.
        TypeError: it is a class; give an instance.
    """

    def __init__(
        self, droplet: Attachable, *, prefix: str, root_paths: bool, left: frozenset[str] = frozenset()
    ) -> None:
        if isinstance(droplet, type):
            raise TypeError(f"a class has no life to attach; give an instance: attach(app, {droplet.__name__}())")
        if not _PREFIX.fullmatch(prefix):
            raise DefinitionError(f"the prefix {prefix!r} must look like '/billing': no slash at its end, no braces")
        self.droplet = droplet
        self.name: str = type(droplet).__name__
        self.prefix = prefix
        self.hosted: Hosted | None = None
        self.app: asgi.App = asgi.App(droplet)
        self.places: tuple[str, ...] = ("", prefix) if root_paths and prefix else (prefix,)
        self._left = left
        self._take(droplet._outline())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - kept out of users' way

    def _take(self, rows: Sequence[Endpoint]) -> None:
        self.rows: tuple[Endpoint, ...] = tuple(rows)
        fixed: dict[str, str] = {}
        templates: dict[str, tuple[re.Pattern[str], str]] = {}
        for place in self.places:
            for path in {row.path for row in rows if place + row.path not in self._left}:
                if _NAME.search(path):
                    templates[place + path] = (_pattern(place + path), place)
                else:
                    fixed[place + path] = place
        self._fixed = fixed
        self._templates = tuple(templates.values())
        self.paths: frozenset[str] = frozenset((*fixed, *templates))

    def place_of(self, path: str) -> str | None:
        """The prefix under which the path is the droplet's; `None` when it is the application's own."""
        place = self._fixed.get(path)
        if place is None and self._templates:
            place = next((place for pattern, place in self._templates if pattern.fullmatch(path)), None)
        return place

    def begin(self, *, alone: bool) -> Life:
        """Read the configuration and make ready for one life.

        Args:
            alone: it is the only droplet here, so `DROPLET_ID` and the like are meant for it.

        Raises:
            ConfigError: every problem of the configuration at once.
            DefinitionError: endpoints that clash, or types that do not resolve.
        """
        hosted = self.droplet._attached(alone=alone)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - likewise
        self._take(hosted.rows)
        self.hosted, self.app = hosted, asgi.App.of(hosted)
        return Life(hosted, name=self.name)

    def check(self, routes: Iterable[HostRoute]) -> None:
        """Refuse paths that are somebody else's too: such a route would never be reached.

        A template of the application's that only happens to match (`/{page}` and `/health`) is no clash.

        Raises:
            DefinitionError: names both.
        """
        for route in routes:
            taken = self._clash(route)
            if taken is not None:
                raise DefinitionError(
                    f"{taken} is claimed twice: by {route.name} and by the droplet {self.name}; "
                    "attach the droplet under a prefix of its own, or move the route"
                )

    def _clash(self, route: HostRoute) -> str | None:
        if route.below and route.path:
            return next((path for path in sorted(self.paths) if f"{path}/".startswith(f"{route.path}/")), None)
        return route.path if self.place_of(route.path) is not None else None

    async def admit(self, request: HttpRequest, permission: Permission, *, scope: str | None) -> Principal:
        """Who calls a route of the application, if their token has the permission, or the scope.

        Raises:
            ContractError: they may not, or the droplet has not begun.
        """
        if self.hosted is None:
            raise self._not_begun()
        return await self.hosted.admit(request, permission, scope=scope)

    def refuse_unbegun(self, request: HttpRequest) -> HttpResponse:
        """The answer while the droplet has not begun."""
        return _refusal(self._not_begun(), request)

    def mesh(self) -> Context:
        """Calls to peers in the droplet's name.

        Raises:
            NotReady: the droplet does not run.
        """
        try:
            return self.droplet.mesh
        except LifecycleError as error:
            raise self._not_begun() from error

    def _not_begun(self) -> NotReady:
        return NotReady(
            f"the droplet {self.name} does not run",
            retry_after_seconds=1,
            hint="run the server with its lifespan on; mounted applications have none",
        )


class Attachments:
    """The droplets of one application."""

    def __init__(self) -> None:
        self._all: list[Attachment] = []

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self._all)

    @property
    def alone(self) -> bool:
        """There is only one."""
        return len(self._all) == 1

    def add(self, attachment: Attachment, routes: Iterable[HostRoute]) -> None:
        """Take one more.

        Raises:
            DefinitionError: it shares a path with a route or with another droplet (names both), or is here already.
        """
        if any(each.droplet is attachment.droplet for each in self._all):
            raise DefinitionError(f"this {attachment.name} is attached already; make another instance of it")
        attachment.check(routes)
        for other in self._all:
            named = f"the droplet {other.name}"
            attachment.check(HostRoute(path=path, name=named) for path in sorted(other.paths))
            other.check(HostRoute(path=path, name=f"the droplet {attachment.name}") for path in attachment.paths)
        self._all.append(attachment)

    def of(self, droplet: Attachable | None) -> Attachment:
        """That droplet's; when none is named that of the only one, or of the one without a prefix.

        Raises:
            DefinitionError: it is not attached here, or none was named of several.
        """
        for each in self._all:
            if each.droplet is droplet or (droplet is None and (self.alone or not each.prefix)):
                return each
        names = ", ".join(each.name for each in self._all) or "none"
        wanted = "say which droplet is meant" if droplet is None else f"{type(droplet).__name__} is not attached here"
        raise DefinitionError(f"{wanted}; attached to this application: {names}")

    def refuse(self, error: Exception, request: HttpRequest) -> HttpResponse:
        """The contract's answer to what a route of the application raised."""
        for each in self._all:
            if each.hosted is not None:
                return each.hosted.refuse(error, request)
        return _refusal(error, request)


def check_permission(permission: str) -> None:
    """Refuse what is none, before anything is served.

    Raises:
        DefinitionError: names the known ones.
    """
    known = get_args(Permission)
    if permission not in known:
        raise DefinitionError(f"{permission!r} is no permission; give one of {', '.join(map(repr, known))}")


def _refusal(error: Exception, request: HttpRequest) -> HttpResponse:
    """The answer where no droplet can give it; with the headers that all of theirs have."""
    ambient = system()
    status, headers, body = encode_error(answer_for(error), trace_id=ambient.new_id(), now=ambient.now())
    return Edge().dressed(HttpResponse(status=status, headers=headers, body=body), request, guarded=True)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]+)".join(map(re.escape, _NAME.split(path))))
