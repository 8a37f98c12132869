"""The client for a Registry of the configured style; those of the other styles are not even loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Final

from udc._frozen import dataclass
from udc._http import HttpClient
from udc._ids import Ambient
from udc._types import DropletId
from udc.clients._base import RegistryClient
from udc.clients._calls import Calls, Place
from udc.clients._credentials import Credentials, Purse
from udc.clients.usage import Usage
from udc.config import DropletConfig
from udc.identity.audiences import registry_audience

if TYPE_CHECKING:
    from udc.clients.contract import ContractRegistry
    from udc.clients.v2 import V2Tokens

_CREDENTIAL: Final = {"contract": "droplet.secret", "v2": "registry.key", "sqlite": "registry.key"}
"""Style → the setting that proves who we are; the other styles ask for none, so none is shown to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls a Registry, and with what.

    Attributes:
        endpoint: where others reach us.
        secret: what it enrols with; `None` = `droplet.secret`.
        usage: measured now.
    """

    droplet_id: DropletId
    instance_id: str
    name: str
    endpoint: str
    client: HttpClient
    tokens: Purse
    ambient: Ambient
    usage: Callable[[], Usage] = Usage
    secret: str | None = field(default=None, repr=False)


def make_registry(config: DropletConfig, caller: Caller, *, url: str) -> RegistryClient:
    """The client of the Registry at `url`, in the style that `registry.style` names.

    Raises:
        ConfigError: secrets would travel there over plain http.
    """
    calls = _calls(config, caller.client, url)
    key = _key(config)
    match config.registry.style:
        case "contract":
            return _contract(config, caller, calls)
        case "plain":
            from udc.clients.plain import PlainRegistry

            return PlainRegistry(calls, droplet_id=caller.droplet_id, name=caller.name)
        case "v2":
            from udc.clients._foreign import host_name
            from udc.clients.v2 import V2Registry

            name = host_name(caller.droplet_id, caller.endpoint)
            return V2Registry(calls, key=key, tokens=caller.tokens, host_name=name)
        case "sqlite":
            from udc.clients.sqlite import SqliteRegistry

            return SqliteRegistry(
                calls, key=key, droplet_id=caller.droplet_id, usage=caller.usage, ambient=caller.ambient
            )
        case "services":
            from udc.clients.services import ServiceListRegistry

            return ServiceListRegistry(calls, droplet_id=caller.droplet_id)


def make_v2_tokens(config: DropletConfig, *, url: str, client: HttpClient, ambient: Ambient) -> V2Tokens | None:
    """The tokens that a Registry of the v2 style gives for its key; `None` without one.

    Raises:
        ConfigError: the key would travel there over plain http.
    """
    key = _key(config)
    if config.registry.style != "v2" or key is None:
        return None
    from udc.clients._foreign import host_name
    from udc.clients.v2 import V2Tokens

    name = host_name(config.droplet.id or 0, config.droplet.url or "")
    return V2Tokens(_calls(config, client, url), key=key, host_name=name, ambient=ambient)


def _calls(config: DropletConfig, client: HttpClient, url: str) -> Calls:
    style = config.registry.style
    return Calls(
        Place(url=url, style=style, credential=_CREDENTIAL.get(style, "registry.style")),
        client=client,
        secrets=style in _CREDENTIAL,
        insecure_hosts=frozenset(config.security.insecure_hosts),
    )


def _key(config: DropletConfig) -> str | None:
    return None if config.registry.key is None else config.registry.key.reveal()


def _contract(config: DropletConfig, caller: Caller, calls: Calls) -> ContractRegistry:
    from udc.clients.contract import ContractRegistry

    configured = config.droplet.secret
    secret = caller.secret or (configured.reveal() if configured is not None else None)
    credentials = Credentials(
        caller.tokens,
        audience=registry_audience(config.security.jwt_audience),
        secret=None if secret is None else ("x-droplet-secret", secret),
    )
    return ContractRegistry(
        calls, credentials=credentials, droplet_id=caller.droplet_id, instance_id=caller.instance_id
    )
