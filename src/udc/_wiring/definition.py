"""What a droplet is made of, as its class and constructor say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from udc._types import DropletId
from udc.context import Context
from udc.dispatch.run import Middleware
from udc.dispatch.table import HandlerTable
from udc.identity._base import TokenSource, Verifier
from udc.instrument import Hook
from udc.surface._base import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A droplet as its author made it.

    Attributes:
        attributes: settings that the class gives, by their dotted names.
        explicit: settings of the constructor.
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
    attach: Callable[[Context | None], None]
