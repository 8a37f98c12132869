"""Puts together the way in: every endpoint table, the guard, the border."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from udc._ids import Stamps
from udc._wiring.edge import make_edge
from udc.config import DropletConfig
from udc.identity._base import recall_of
from udc.surface._base import Endpoint
from udc.surface.border import HttpSurface, check_accepts
from udc.surface.control import Control
from udc.surface.describe import Describe
from udc.surface.express import Express, Ways
from udc.surface.guard import FailureLimit, Guard
from udc.surface.messages import Messages
from udc.surface.observe import Observe
from udc.surface.openapi import OpenApi
from udc.surface.sending import Sending
from udc.surface.working import reserved

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


def make_surface(parts: Composition) -> tuple[HttpSurface, Describe]:
    """The HTTP surface with all endpoints, and what describes the droplet."""
    security = parts.settings.config.security
    failures = FailureLimit(
        limit=security.failed_auth_limit, window_seconds=security.failed_auth_window_seconds, clock=parts.clock
    )
    messages = Messages(
        parts.dispatcher,
        type_for_action=lambda action: None if action is None else parts.table.type_for_action(action),
        me=parts.facts.id,
        name=parts.facts.name,
        ledger=parts.storage.ledger,
        check_accepts=lambda: check_accepts(parts.lifecycle),
        reserved=reserved(parts.working, parts.traces),
        instrument=parts.instrument,
        ambient=parts.ambient,
    )
    describe = _describe(parts, lambda: surface.routes.table)
    openapi = OpenApi(parts.facts, rows=lambda: surface.routes.table, public=security.public_openapi)
    rows: list[Endpoint] = [
        *describe.table(),
        *messages.table(),
        *Sending(parts.messenger, ambient=parts.ambient).table(),
        *_observe(parts).table(),
        *_control(parts).table(),
        *parts.working.table(),
        *openapi.table(),
        *parts.table.endpoints,
        *parts.definition.endpoints,
        *parts.settled,
    ]
    surface = HttpSurface(
        rows,
        guard=Guard(
            verifier=parts.verifier,
            failures=failures,
            instrument=parts.instrument,
            host=urlsplit(parts.facts.endpoint).hostname,
        ),
        lifecycle=parts.lifecycle,
        limits=parts.settings.config.limits,
        busy=parts.busy,
        instrument=parts.instrument,
        ambient=parts.ambient,
        clock=parts.clock,
        instance_id=parts.facts.instance_id,
        edge=make_edge(parts.settings.config, clock=parts.clock),
    )
    surface.express = _express(surface, parts)
    _follow_reloads(surface, parts)
    return surface, describe


def _express(surface: HttpSurface, parts: Composition) -> Express | None:
    recall = recall_of(parts.verifier)
    if recall is None:
        return None
    ways = Ways(
        recall=recall,
        lifecycle=parts.lifecycle,
        dispatcher=parts.dispatcher,
        contexts=parts.contexts,
        instrument=parts.instrument,
        clock=parts.clock,
        stamps=Stamps(parts.ambient.wall),
    )
    return Express(surface, ways, me=parts.facts.id)


def _follow_reloads(surface: HttpSurface, parts: Composition) -> None:
    """Take on new limits and edges; a reload of other settings must not forget who has asked how often."""
    before = parts.settings.config

    def follow(config: DropletConfig) -> None:
        nonlocal before
        surface.limit(config.limits)
        if (config.cors, config.rate) != (before.cors, before.rate):
            surface.edge = make_edge(config, clock=parts.clock)
        before = config

    parts.settings.subscribe(follow)


def _describe(parts: Composition, rows: Callable[[], tuple[Endpoint, ...]]) -> Describe:
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


def _observe(parts: Composition) -> Observe:
    return Observe(
        droplet_id=parts.facts.id,
        stats=parts.stats,
        logs=parts.logs,
        events=parts.events,
        proofs=parts.proofs,
        in_flight=lambda: parts.dispatcher.in_flight.count,
        public_metrics=parts.settings.config.security.public_metrics,
    )


def _control(parts: Composition) -> Control:
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
