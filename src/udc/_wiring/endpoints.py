"""The tables of endpoints that a droplet serves about itself, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from udc.surface._base import Endpoint
from udc.surface.control import Control
from udc.surface.describe import Describe
from udc.surface.observe import Observe

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


def describe(parts: Composition, rows: Callable[[], tuple[Endpoint, ...]]) -> Describe:
    """How it describes itself."""
    return Describe(
        parts.facts,
        lifecycle=parts.lifecycle,
        stats=parts.stats,
        proofs=parts.proofs,
        ambient=parts.ambient,
        actions=parts.table.actions,
        rows=rows,
        measured=parts.dependencies.measured,
        services_down=lambda: parts.runtime.services_down,
        load=lambda: parts.dispatcher.in_flight.count / parts.dispatcher.in_flight.limit,
        presence=lambda: parts.membership.presence,
    )


def observe(parts: Composition) -> Observe:
    """What can be seen of it."""
    return Observe(
        droplet_id=parts.facts.id,
        stats=parts.stats,
        logs=parts.logs,
        events=parts.events,
        proofs=parts.proofs,
        in_flight=lambda: parts.dispatcher.in_flight.count,
        public_metrics=parts.settings.config.security.public_metrics,
    )


def control(parts: Composition) -> Control:
    """What can be done to it."""
    enabled = parts.settings.config.security.emergency_stop
    return Control(
        reload=parts.settings.reload,
        spawn=parts.spawn,
        stop=parts.request_stop,
        exit_process=parts.surroundings.exit_process if enabled else None,
        proofs=parts.proofs,
        instrument=parts.instrument,
        ambient=parts.ambient,
    )
