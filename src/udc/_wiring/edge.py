"""Makes the edge of a droplet from its configuration."""

from __future__ import annotations

import math
from collections.abc import Callable

from udc.config import DropletConfig
from udc.surface.cors import Cors
from udc.surface.edge import Edge
from udc.surface.rates import Rate, Rates


def make_edge(config: DropletConfig, *, clock: Callable[[], float]) -> Edge:
    """The edge that the settings ask for; `clock` tells monotonic seconds."""
    return Edge(cors=_cors(config), rates=_rates(config, clock), hsts_seconds=config.security.hsts_seconds)


def _cors(config: DropletConfig) -> Cors | None:
    given = config.cors
    if not given.origins:
        return None
    return Cors(
        given.origins,
        methods=given.methods,
        headers=given.headers,
        expose=given.expose_headers,
        credentials=given.credentials,
        max_age_seconds=given.max_age_seconds,
    )


def _rates(config: DropletConfig, clock: Callable[[], float]) -> Rates | None:
    caller = _rate(config.rate.caller_per_second, config.rate.caller_burst)
    address = _rate(config.rate.address_per_second, config.rate.address_burst)
    if caller is None and address is None:
        return None
    return Rates(caller=caller, address=address, clock=clock)


def _rate(per_second: float | None, burst: int | None) -> Rate | None:
    return None if per_second is None else Rate(per_second, burst or math.ceil(per_second))
