"""What a droplet is made of, as its class and constructor say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from udc._frozen import dataclass
from udc._http import HttpClient
from udc._ids import Ambient
from udc._types import DropletId
from udc.config import DropletConfig
from udc.context import Context
from udc.discovery import Discovery
from udc.dispatch.run import Middleware
from udc.dispatch.table import HandlerTable
from udc.identity._base import TokenSource, Verifier
from udc.identity.instance_key import InstanceKey
from udc.instrument import Hook
from udc.surface._base import Endpoint
from udc.surface.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What a droplet finds where it is about to run, before anything of it has started.

    Attributes:
        loopback: only this machine can reach it.
        key: of this instance; its public half is what is registered.
        client: for HTTP requests of its own; open from the start hooks to the stop hooks.
        directory: who is in the mesh, as far as it is known.
        threads: blocking work may run in threads; false in virtual time.
    """

    config: DropletConfig
    facts: Facts
    loopback: bool
    key: InstanceKey
    client: HttpClient
    directory: Discovery
    ambient: Ambient
    threads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A droplet as its author made it.

    Attributes:
        attributes: settings that the class gives, by their dotted names.
        explicit: settings of the constructor.
        settle: told the premises, once they are known and before the start; returns further endpoints.
        attach: told the context for `droplet.mesh` while the droplet runs, and `None` after.
    """

    attributes: Mapping[str, object]
    explicit: Mapping[str, object]
    capabilities: tuple[str, ...]
    needs: tuple[DropletId, ...]
    wants: tuple[DropletId, ...]
    endpoints: tuple[Endpoint, ...]
    table: HandlerTable
    lifespan: Callable[[], AbstractAsyncContextManager[object]]
    hooks: tuple[Hook, ...]
    middleware: tuple[Middleware, ...]
    verifier: Verifier | None
    token_source: TokenSource | None
    settle: Callable[[Premises], Sequence[Endpoint]]
    attach: Callable[[Context | None], None]
