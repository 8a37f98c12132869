"""Who the droplet is, what must not be told, and where its log lines go."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from udc._wiring.definition import Definition
from udc._wiring.settings import Settings
from udc._wiring.telling import Unheard
from udc.rings import LogRing
from udc.surface.facts import Facts


def make_facts(definition: Definition, settings: Settings, *, instance_id: str, started_at: float) -> Facts:
    """Who the droplet is, by its configuration."""
    config = settings.config
    build = config.build.model_dump(exclude_none=True)
    return Facts(
        id=config.droplet.id or 0,  # `load_for_start` has refused a missing one
        name=config.droplet.name,
        steward=config.droplet.steward,
        version=config.droplet.version,
        endpoint=config.droplet.url or "",
        instance_id=instance_id,
        started_at=started_at,
        capabilities=definition.capabilities,
        needs=definition.needs,
        wants=definition.wants,
        environment=config.environment,
        metadata=build,
    )


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The secrets of the configuration, so that logs and events can be kept clear of them."""
    config = settings.config
    secrets = (config.droplet.secret, config.registry.key, config.security.token, config.security.signing_key)
    return tuple(secret.reveal() for secret in secrets if secret is not None)


@asynccontextmanager
async def capture(ring: LogRing, settings: Settings) -> AsyncGenerator[None]:
    """Let the ring hear every logger, and our own loggers be as loud as configured.

    Droplets that share a process share those loggers, and end in any order: the last one puts the level back.
    """
    root, own = logging.getLogger(), logging.getLogger("udc")
    ring.level_before = next((other.level_before for other in _rings(root)), own.level)
    own.setLevel(settings.config.log_level)
    settings.subscribe(lambda config: own.setLevel(config.log_level))
    root.addHandler(ring)
    if not any(isinstance(each, Unheard) for each in root.handlers):
        root.addHandler(Unheard())
    try:
        yield
    finally:
        root.removeHandler(ring)
        if not _rings(root):
            own.setLevel(ring.level_before)
            for each in [each for each in root.handlers if isinstance(each, Unheard)]:
                root.removeHandler(each)


def _rings(root: logging.Logger) -> list[LogRing]:
    return [handler for handler in root.handlers if isinstance(handler, LogRing)]
