"""`Droplet`: the class that users subclass."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from udc._types import DropletId
from udc.context import Context
from udc.dispatch.declare import On, place_of
from udc.dispatch.table import HandlerTable, check_class
from udc.errors import DefinitionError, LifecycleError
from udc.surface._base import Endpoint

if TYPE_CHECKING:  # named in signatures only, and what a running droplet needs costs start-up time
    from udc._wiring.definition import Definition, Premises
    from udc._wiring.hosted import Hosted
    from udc._wiring.surroundings import Surroundings
    from udc.dispatch.run import Middleware
    from udc.identity._base import TokenSource, Verifier
    from udc.instrument import Hook

_ATTRIBUTES: Final = ("id", "name", "steward", "version", "capabilities", "needs", "wants", "endpoints")
_LISTS: Final = ("capabilities", "needs", "wants", "endpoints")
_OURS: Final = ("on", "mesh", "run", "_host", "_outline", "_attached", "_inside", "_definition")
"""What a subclass must not have of its own: a method of the same name would be called in place of ours."""


class Droplet:
    """A service that speaks the Universal Droplet Contract. Subclass it and decorate handlers.

    ```python
    class Greeter(Droplet):
        id, name, steward = 21, "Greeter", "docs-team"

        @query("greet")
        async def greet(self, who: str) -> str:
            return f"Hello {who}"
    ```

    Run it with `Greeter().run()` or `udc run`, serve it with any ASGI server (`udc.asgi.app(Greeter())`), test it
    with `udc.testing.mesh(Greeter())`.
    Identity and everything else can also come from the environment or `udc_config.json`, which win over
    class attributes (contract section 9); they are read when the droplet is served, not before.

    Attributes:
        id: the droplet id, an int from 1.
        name: what people and peers call it.
        steward: who answers for it.
        version: its own version.
        capabilities: what it can do; shown as `features`.
        needs: ids or names of peers it cannot do without.
        wants: ids or names of peers it uses when they are there.
        endpoints: further HTTP endpoints, as rows of a table; methods can be declared with `@endpoint`.

    Args:
        config: settings that win over all other sources, nested or dotted: `{"limits.in_flight": 50}`.
        hooks: take every `udc.instrument` event; called in line, so they must be quick.
        middleware: wraps every handler, the first one outermost.
        verifier: checks bearer tokens instead of the one that the configuration names.
        token_source: gets tokens for outgoing calls instead of the one that the configuration names.
    """

    id: int | None = None
    name: str = ""
    steward: str = ""
    version: str = ""
    capabilities: Sequence[str] = ()
    needs: Sequence[DropletId] = ()
    wants: Sequence[DropletId] = ()
    endpoints: Sequence[Endpoint] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _check_names(cls)
        check_class(cls)

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | None = None,  # Any: values of many types
        hooks: Sequence[Hook] = (),
        middleware: Sequence[Middleware] = (),
        verifier: Verifier | None = None,
        token_source: TokenSource | None = None,
    ) -> None:
        self._inside = _Inside(
            table=HandlerTable.collect(self),
            explicit=dict(config or {}),
            hooks=tuple(hooks),
            middleware=tuple(middleware),
            verifier=verifier,
            token_source=token_source,
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """What is open as long as the droplet runs; override it with an async context manager.

        Entered before the `@on_start` hooks, left after the `@on_stop` hooks.
        """
        yield

    @property
    def on(self) -> On:
        """Registers handlers on this one droplet: `@droplet.on.query("quota")`, `droplet.on.include(handlers)`.

        Raises:
            LifecycleError: handlers are added after the start.
        """
        return _inside_of(self).table.on

    @property
    def mesh(self) -> Context:
        """Calls to peers from outside a handler: `await droplet.mesh.query("billing", "balance", {...})`.

        Raises:
            LifecycleError: the droplet is not running.
        """
        context = _inside_of(self).context
        if context is None:
            raise LifecycleError(f"{type(self).__name__} is not running: droplet.mesh needs its connections")
        return context

    def run(self, *, host: str | None = None, port: int | None = None, data: str | PathLike[str] | None = None) -> None:
        """Serve until SIGTERM, SIGINT or `/shutdown`, then end gracefully; blocks. Needs `udc-mesh[run]`.

        The signals belong to it while it runs; a second one ends the process at once. Call it in the main thread.

        Args:
            host, port: what to listen on (0 = any free port); by default what the configuration says.
            data: the data directory.

        Raises:
            SystemExit: 2: the configuration cannot work, or the port cannot be had; 1: the droplet failed.
                What and why stands on stderr.
        """
        from udc._wiring.program import run  # here for the same reason as below

        run(self, host=host, port=port, data=data)

    def _host(self, surroundings: Surroundings | None = None) -> Hosted:
        """Make ready for one life; called by adapters and by `udc.testing`."""
        # Here, because what a running droplet needs costs start-up time.
        from udc._wiring.compose import compose
        from udc._wiring.surroundings import Surroundings

        return compose(self._definition(), surroundings or Surroundings.of_process())

    def _outline(self) -> Sequence[Endpoint]:
        """The endpoints that it will have, but for what its configuration adds; for adapters."""
        from udc._wiring.outline import outline  # here for the same reason

        return outline(self._definition())

    def _attached(self, *, alone: bool) -> Hosted:
        """Make ready for one life in an application; called by adapters.

        Args:
            alone: no other droplet is in that application.
        """
        from udc._wiring.surroundings import Surroundings  # here for the same reason

        return self._host(Surroundings.of_process(identity_aliases=alone))

    def _definition(self) -> Definition:
        from udc._wiring.definition import Definition  # here, because a running droplet's parts cost start-up time

        inside = _inside_of(self)
        named = {f"droplet.{name}": getattr(self, name) for name in ("id", "name", "steward", "version")}
        return Definition(
            attributes={name: value for name, value in named.items() if value not in (None, "")},
            explicit=inside.explicit,
            capabilities=tuple(self.capabilities),
            needs=tuple(self.needs),
            wants=tuple(self.wants),
            endpoints=tuple(self.endpoints),
            table=inside.table,
            lifespan=self.lifespan,
            hooks=inside.hooks,
            middleware=inside.middleware,
            verifier=inside.verifier,
            token_source=inside.token_source,
            settle=self._udc_settle,
            attach=inside.attach,
        )

    def _udc_settle(self, premises: Premises) -> Sequence[Endpoint]:
        """Told where it is about to run; returns further endpoints, which this life alone has.

        For droplets that need more than their `lifespan` knows.
        """
        return ()


@dataclass(slots=True, kw_only=True)
class _Inside:
    """All that a droplet holds for the framework, under one name, so that a subclass's own names stay free."""

    table: HandlerTable
    explicit: dict[str, Any]  # Any: values of many types
    hooks: tuple[Hook, ...]
    middleware: tuple[Middleware, ...]
    verifier: Verifier | None
    token_source: TokenSource | None
    context: Context | None = None

    def attach(self, context: Context | None) -> None:
        self.context = context


def _inside_of(droplet: Droplet) -> _Inside:
    """What the droplet holds for us.

    Raises:
        DefinitionError: its class has forgotten to call our `__init__`; names the line to add.
    """
    inside: _Inside | None = getattr(droplet, "_inside", None)
    if inside is None:
        raise DefinitionError(f"{type(droplet).__qualname__}.__init__ does not call super().__init__(); add that line")
    return inside


def _check_names(cls: type[Droplet]) -> None:
    """Refuse a subclass that hides part of `Droplet` from the framework.

    Raises:
        DefinitionError: with the name and what to do.
    """
    for name in _OURS:
        if name in cls.__dict__ and not cls.__module__.startswith("udc."):
            raise DefinitionError(
                f"{place_of(cls.__dict__[name])}: {cls.__qualname__}.{name} hides Droplet.{name}; give it another name"
            )
    for name in _ATTRIBUTES:
        if inspect.isfunction(cls.__dict__.get(name)):
            raise DefinitionError(
                f"{cls.__qualname__}.{name} is a method, but Droplet.{name} is an attribute; "
                "give the method another name"
            )
    for name in _LISTS:
        alone = cls.__dict__.get(name)
        if isinstance(alone, str):  # a sequence too, of letters: `needs = ("Billing")` without its comma
            raise DefinitionError(
                f"{cls.__qualname__}.{name} is the text {alone!r}, but it holds several; write {name} = ({alone!r},)"
            )
