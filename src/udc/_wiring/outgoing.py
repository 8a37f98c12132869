"""Puts together the way out: directory, transports, messenger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from udc._http import HttpClient
from udc._ids import Ambient
from udc._types import DropletId
from udc._wiring.nearby import Nearby
from udc._wiring.settings import Settings
from udc._wiring.surroundings import Surroundings
from udc.clients.peer_http import PeerHttp
from udc.config import DropletConfig
from udc.directory import Directory, StaticDirectory
from udc.discovery import Discovery
from udc.identity._base import Tokens
from udc.instrument import Instrument
from udc.messages import Peer
from udc.messenger import Errands, Messenger
from udc.transports._base import Transport
from udc.transports._exchange import audiences
from udc.transports.http import HttpTransport


def make_discovery(
    settings: Settings, *, nearby: Nearby | None, ambient: Ambient, instrument: Instrument, threads: bool
) -> Discovery:
    """What finds peers: those of the configuration, which follow a reload, of a mesh nearby, and the Registry's.

    Raises:
        ConfigError: two peers have one id.
    """
    configured = StaticDirectory(
        _peers(settings.config),
        well_known=_well_known(settings.config),
        beside=lambda: () if nearby is None else _nearby_peers(nearby, settings.config),
    )
    settings.subscribe(lambda config: configured.replace(_peers(config)))
    return Discovery(configured, ambient=ambient, instrument=instrument, threads=threads)


def make_messenger(
    directory: Directory,
    transports: Mapping[str, Transport],
    *,
    me: DropletId,
    config: DropletConfig,
    ambient: Ambient,
    instrument: Instrument,
    unreachable: Callable[[DropletId | None], None],
) -> Messenger:
    """What sends our messages."""
    return Messenger(
        directory,
        transports,
        me=me,
        ambient=ambient,
        instrument=instrument,
        timeout_seconds=config.limits.call_timeout_seconds,
        unreachable=unreachable,
    )


def make_errands(
    directory: Directory,
    client: HttpClient,
    tokens: Tokens,
    *,
    config: DropletConfig,
    ambient: Ambient,
    unreachable: Callable[[DropletId | None], None],
) -> Errands:
    """What calls peers' own endpoints."""
    http = PeerHttp(
        client,
        tokens,
        audience_of=audiences(config.security.jwt_audience),
        insecure_hosts=frozenset(config.security.insecure_hosts),
    )
    return Errands(
        directory,
        http,
        ambient=ambient,
        timeout_seconds=config.limits.call_timeout_seconds,
        unreachable=unreachable,
    )


def make_transports(
    surroundings: Surroundings, client: HttpClient, tokens: Tokens, config: DropletConfig
) -> Mapping[str, Transport]:
    """The transports by URL scheme: HTTP, unless the surroundings bring their own."""
    if surroundings.make_transports is not None:
        return surroundings.make_transports(client, tokens, config)
    http = HttpTransport(
        client,
        tokens,
        audience_of=audiences(config.security.jwt_audience),
        insecure_hosts=frozenset(config.security.insecure_hosts),
    )
    return {"http": http, "https": http}


def _peers(config: DropletConfig) -> list[Peer]:
    return [
        Peer(
            id=peer.id,
            name=peer.name or str(peer.id),
            endpoint=peer.endpoint,
            ours=peer.ours,
            wants_signature=peer.wants_signature,
            without_audience=peer.without_audience,
        )
        for peer in config.peers
    ]


def _well_known(config: DropletConfig) -> dict[str, Peer]:
    places = {
        "registry": (config.registry.id, config.registry.url),
        "orchestrator": (config.orchestrator.id, config.orchestrator.url),
        "dashboard": (config.dashboard.id, config.dashboard.url),
    }
    return {word: Peer(id=id_, name=word, endpoint=url) for word, (id_, url) in places.items() if url is not None}


def _nearby_peers(nearby: Nearby, config: DropletConfig) -> list[Peer]:
    """The other core droplets of the mesh on this machine, as its file names them."""
    ids = {"orchestrator": config.orchestrator.id, "dashboard": config.dashboard.id}
    return [Peer(id=ids[word], name=word, endpoint=url, ours=True) for word, url in nearby.core.items()]


def calls_somebody(config: DropletConfig, nearby: Nearby | None) -> bool:
    """Whether the configuration, or a mesh nearby, names anybody to call."""
    places = (config.registry.url, config.orchestrator.url, config.dashboard.url, config.security.jwks_url)
    return bool(config.peers) or any(places) or (nearby is not None and nearby.look() is not None)


def make_probe(client: HttpClient) -> Callable[[Peer], Awaitable[bool]]:
    """Asks a peer's `/health`, which every droplet serves without a token."""

    async def probe(peer: Peer) -> bool:
        answer = await client.request("GET", f"{peer.endpoint}/health", peer=peer.label)
        return answer.status == HTTPStatus.OK

    return probe
