"""What must hold between settings before a droplet may start (contract sections 6, 8 and 9)."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from udc._frozen import dataclass
from udc.config.names import IDENTITY_ALIASES
from udc.config.sections import DropletConfig
from udc.errors import ConfigError

_HERE: Final = "http://localhost"


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A broken rule: the settings it is about, the first one to blame, and the line to say."""

    names: tuple[str, ...]
    text: str


def beyond_loopback(config: DropletConfig, *, listen_host: str | None, loopback: bool | None = None) -> bool:
    """Whether others than this machine may reach the droplet.

    Args:
        config: its `droplet.url` decides where somebody else's server listens.
        listen_host: what our own server binds to; `None` = attached to somebody else's. On loopback others can still
            come through a proxy: one that is trusted, or one at `droplet.url`.
        loopback: known from elsewhere (a mesh in memory): decides alone.
    """
    if loopback is not None:
        return not loopback
    if listen_host is not None and not is_loopback(listen_host):
        return True
    if listen_host is not None:
        # A proxy on this machine lets others in; so both signs of one count.
        url = config.droplet.url
        return bool(config.server.trusted_proxies) or (
            url is not None and not is_loopback(urlsplit(url).hostname or "")
        )
    # Without an address nobody can tell, so the careful answer is the right one.
    return config.droplet.url is None or not is_loopback(urlsplit(config.droplet.url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _everywhere(host: str) -> bool:
    address = _address(host)
    return not host or (address is not None and address.is_unspecified)


def has_key_source(config: DropletConfig) -> bool:
    """Whether tokens can be verified: by a Registry, a fixed key, a JWKS URL, or the own signing key.

    Droplets that sign for themselves share the key, so its public half verifies the others.
    """
    security = config.security
    return any((config.registry.url, security.public_key, security.jwks_url, security.signing_key))


def check_start(
    config: DropletConfig,
    *,
    listen_host: str | None,
    loopback: bool | None = None,
    own_verifier: bool = False,
    origins: Mapping[str, str] | None = None,
    unsure: frozenset[str] = frozenset(),
) -> list[str]:
    """Every rule that the configuration breaks, one line each; none = it may start.

    Args:
        config: what to look at.
        listen_host: what our own server binds to; `None` = attached to somebody else's.
        loopback: as for `beyond_loopback`.
        own_verifier: the droplet brings what checks tokens, so the settings need not name keys.
        origins: where the values come from, for the lines.
        unsure: settings whose values are not known to be meant; rules about them are left out.
    """
    beyond = beyond_loopback(config, listen_host=listen_host, loopback=loopback)
    unplaced = listen_host is None and loopback is None and config.droplet.url is None
    place = "beyond loopback (as it counts without DROPLET_URL)" if unplaced else "beyond loopback"
    doubts = [
        *_identity(config),
        *_address_rules(config, listen_host),
        *_registry(config),
        *_trust(config, beyond=beyond, place=place, own_verifier=own_verifier),
        *_edge(config),
        *_peers(config),
    ]
    return [_line(doubt, origins or {}) for doubt in doubts if unsure.isdisjoint(doubt.names)]


def require_startable(
    config: DropletConfig,
    *,
    listen_host: str | None,
    loopback: bool | None = None,
    origins: Mapping[str, str] | None = None,
) -> None:
    """Refuse a configuration that `check_start` finds fault with.

    Raises:
        ConfigError: all the faults at once.
    """
    problems = check_start(config, listen_host=listen_host, loopback=loopback, origins=origins)
    if problems:
        raise ConfigError(problems)


def _line(doubt: _Doubt, origins: Mapping[str, str]) -> str:
    given = [f"{name} from {origins[name]}" for name in doubt.names if origins.get(name, "default") != "default"]
    return doubt.text + (f" ({', '.join(given)})" if given else "")


def _identity(config: DropletConfig) -> Iterator[_Doubt]:
    aliases = {name: alias for alias, name in IDENTITY_ALIASES.items()}
    for field in ("id", "name", "steward"):
        if not getattr(config.droplet, field):
            name = f"droplet.{field}"
            yield _Doubt((name,), f"{name}: missing; wanted a class attribute '{field}', or {aliases[name]}")
    if config.droplet.id == config.operator.id:
        text = f"droplet.id: {config.droplet.id} is also operator.id; wanted an id of its own"
        yield _Doubt(("droplet.id", "operator.id"), text)


def _address_rules(config: DropletConfig, listen_host: str | None) -> Iterator[_Doubt]:
    if config.droplet.url is not None:
        return
    if listen_host is not None and _everywhere(listen_host):
        text = f"droplet.url: missing while the server binds to {listen_host!r}"
        yield _Doubt(("droplet.url", "server.host"), f"{text}; wanted the URL that others reach it by (DROPLET_URL)")
    if listen_host is None and config.registry.url is not None and config.registry.auto_register:
        text = "droplet.url: missing while attached to another server and registering at registry.url"
        names = ("droplet.url", "registry.url", "registry.auto_register")
        yield _Doubt(names, f"{text}; wanted the URL that others reach it by (DROPLET_URL)")


def _registry(config: DropletConfig) -> Iterator[_Doubt]:
    registry = config.registry
    if registry.url is not None and registry.style in ("v2", "sqlite") and registry.key is None:
        text = f"registry.key: missing; a Registry of style {registry.style!r} takes one (UDC_REGISTRY__KEY)"
        yield _Doubt(("registry.key", "registry.style"), text)


def _trust(config: DropletConfig, *, beyond: bool, place: str, own_verifier: bool) -> Iterator[_Doubt]:
    security = config.security
    names = ("server.host", "droplet.url", "server.trusted_proxies")
    if beyond and not security.require_auth:
        text = f"security.require_auth: False {place}; wanted true, or a server and URL on 127.0.0.1"
        yield _Doubt(("security.require_auth", *names), text)
    if beyond and not own_verifier and not has_key_source(config):
        sources = ("registry.url", "security.public_key", "security.jwks_url", "security.signing_key")
        text = f"security: no source of verification keys {place}; wanted one of {', '.join(sources)}"
        yield _Doubt((*sources, *names), text)
    if security.token is not None and security.signing_key is not None:
        both = ("security.token", "security.signing_key")
        yield _Doubt(both, "security.token: given together with security.signing_key; wanted one of the two")


def _edge(config: DropletConfig) -> Iterator[_Doubt]:
    if "*" in config.cors.origins and config.cors.credentials:
        text = "cors.origins: '*' together with cors.credentials; wanted the origins by name: any page could act as its"
        yield _Doubt(("cors.origins", "cors.credentials"), f"{text} reader")
    for whose in ("caller", "address"):
        rate, burst = f"rate.{whose}_per_second", f"rate.{whose}_burst"
        if getattr(config.rate, f"{whose}_burst") is not None and getattr(config.rate, f"{whose}_per_second") is None:
            yield _Doubt((burst, rate), f"{burst}: limits nothing without {rate}; wanted both, or neither")


def _peers(config: DropletConfig) -> Iterator[_Doubt]:
    ids = Counter(peer.id for peer in config.peers if peer.id is not None)
    names = Counter(peer.name for peer in config.peers if peer.name)
    for word, counted in (("id", ids), ("name", names)):
        for value, count in counted.items():
            if count > 1:
                yield _Doubt(("peers",), f"peers: {count} of them have the {word} {value!r}; wanted each only once")
    if config.droplet.id in ids:
        text = f"peers: the id {config.droplet.id} is this droplet's own; wanted only others"
        yield _Doubt(("peers", "droplet.id"), text)
