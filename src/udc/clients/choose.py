"""The client for a Registry of the configured style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from udc._http import HttpClient
from udc._types import DropletId
from udc.clients._base import RegistryClient
from udc.clients._calls import Calls, Place
from udc.clients._credentials import Credentials, Purse
from udc.clients.contract import ContractRegistry
from udc.config import DropletConfig
from udc.identity.audiences import registry_audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the process uses of its machine, for the styles that ask: percent of a CPU, megabytes, percent of a disk."""

    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    disk_percent: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls a Registry, and with what.

    Attributes:
        secret: what it enrols with; `None` = `droplet.secret`.
        usage: measured now.
    """

    droplet_id: DropletId
    instance_id: str
    name: str
    client: HttpClient
    tokens: Purse
    usage: Callable[[], Usage] = Usage
    secret: str | None = field(default=None, repr=False)


def make_registry(config: DropletConfig, caller: Caller, *, url: str) -> RegistryClient:
    """The client of the Registry at `url`, in the style that `registry.style` names.

    Raises:
        ConfigError: secrets would travel there over plain http.
    """
    return _contract(config, caller, url)


def _contract(config: DropletConfig, caller: Caller, url: str) -> RegistryClient:
    configured = config.droplet.secret
    secret = caller.secret or (configured.reveal() if configured is not None else None)
    credentials = Credentials(
        caller.tokens,
        audience=registry_audience(config.security.jwt_audience),
        secret=None if secret is None else ("x-droplet-secret", secret),
    )
    calls = Calls(
        Place(url=url, style="contract", credential="droplet.secret"),
        client=caller.client,
        insecure_hosts=frozenset(config.security.insecure_hosts),
    )
    return ContractRegistry(
        calls, credentials=credentials, droplet_id=caller.droplet_id, instance_id=caller.instance_id
    )
