"""The endpoints that a droplet will have, known before it has a configuration, a loop or a life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from udc._ids import system
from udc.surface._base import Endpoint
from udc.surface.control import Control
from udc.surface.describe import Describe
from udc.surface.messages import Messages
from udc.surface.observe import Observe
from udc.surface.openapi import OpenApi
from udc.surface.sending import Sending
from udc.surface.working import Working

if TYPE_CHECKING:
    from udc._wiring.definition import Definition


class _Later:
    """Stands for everything that a life brings; rooms may take parts of it when they are made."""

    def __getattr__(self, name: str) -> _Later:
        return self

    def __call__(self, *_: object, **__: object) -> _Later:
        return self


_LATER: Final[Any] = _Later()  # Any: as it says
"""What the rooms work with here. Only their tables are read; nothing of them is ever run."""


def outline(definition: Definition) -> tuple[Endpoint, ...]:
    """The endpoint table of a droplet, but for what its configuration adds or opens. Its handlers must not be called.

    Reads nothing but the class: applications are put together at import, and configuration is read at the start.
    """
    return (*_contract(), *definition.table.endpoints, *definition.endpoints)


def _contract() -> list[Endpoint]:
    describe = Describe(
        _LATER,
        lifecycle=_LATER,
        stats=_LATER,
        proofs=_LATER,
        ambient=_LATER,
        actions=_LATER,
        rows=_LATER,
        measured=_LATER,
        services_down=_LATER,
        load=_LATER,
        presence=_LATER,
    )
    messages = Messages(
        _LATER,
        type_for_action=_LATER,
        me=0,
        name="",
        ledger=_LATER,
        check_accepts=_LATER,
        reserved={},
        instrument=_LATER,
        ambient=system(),
    )
    observe = Observe(
        droplet_id=0, stats=_LATER, logs=_LATER, events=_LATER, proofs=_LATER, in_flight=_LATER, public_metrics=False
    )
    control = Control(
        reload=_LATER,
        spawn=_LATER,
        stop=_LATER,
        exit_process=None,
        proofs=_LATER,
        instrument=_LATER,
        ambient=_LATER,
    )
    working = Working(_LATER, chat=None, orchestrator=0, me=0, proofs=_LATER, ambient=_LATER)
    return [
        *describe.table(),
        *messages.table(),
        *Sending(_LATER, ambient=_LATER).table(),
        *observe.table(),
        *control.table(),
        *working.table(),
        *OpenApi(_LATER, rows=_LATER, public=False).table(),
    ]
