"""Puts together what checks tokens and what gets them (contract section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._frozen import dataclass
from udc._http import HttpClient
from udc._ids import Ambient
from udc._types import DropletId
from udc._wiring.nearby import NOT_IN_SIGHT, Found, Nearby, NearbyTokens
from udc.clients.choose import make_v2_tokens
from udc.config import DropletConfig, has_key_source
from udc.errors import ConfigError, DeliveryError, KeysUnavailable, TokenError
from udc.identity._base import Token, TokenSource, Verifier
from udc.identity.audiences import foreign_narrowed, own_audience, registry_audience
from udc.identity.claims import Principal
from udc.identity.followed import FollowedKeys
from udc.identity.jwks import FixedKeys, KeySet, RemoteKeys
from udc.identity.keys import SigningKey
from udc.identity.policy import IssuerPolicy
from udc.identity.revocations import Revocations
from udc.identity.sources import FixedToken, RegistryTokens, SelfSigned
from udc.identity.tokens import TokenKeeper
from udc.identity.verify import NoAuth, TokenVerifier
from udc.instrument import Instrument
from udc.services import Service

_MAX_JWKS_BYTES: Final = 64 * 1024
_FETCH_SECONDS: Final = 5.0
_PERMISSIONS: Final = ("read", "write")


@dataclass(frozen=True, slots=True)
class Named:
    """Gives a service a name."""

    name: str
    body: Callable[..., Awaitable[None]]

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Run it."""
        await self.body(task_status=task_status)


class NoKeys:
    """Stands where no key source is configured, which is allowed on loopback only: every token is refused."""

    async def verify(self, token: str) -> Principal:
        """Refuse.

        Raises:
            KeysUnavailable: always.
        """
        raise KeysUnavailable(
            "this droplet has no source of keys to check tokens with",
            hint="set registry.url, security.jwks_url, security.public_key or security.signing_key",
        )


class NoTokens:
    """Stands where no token source is configured."""

    async def fetch(self, audience: str | None) -> Token:
        """Refuse.

        Raises:
            TokenError: always; names the settings that would help.
        """
        raise TokenError(
            f"no token for {audience!r}: set registry.url and droplet.secret, security.token, or security.signing_key"
        )


def make_verifier(
    config: DropletConfig,
    *,
    me: DropletId,
    client: HttpClient,
    ambient: Ambient,
    instrument: Instrument,
    nearby: Nearby | None = None,
    revocations: Revocations | None = None,
) -> tuple[Verifier, FollowedKeys | None]:
    """What checks bearer tokens, and the service that keeps its keys fresh, where they come from somewhere else.

    Raises:
        ConfigError: a key that is none, or a JWKS URL that is not secure.
    """
    security = config.security
    if not security.require_auth:
        return NoAuth(), None
    if nearby is None and not has_key_source(config):
        return NoKeys(), None
    keys = _keys(config, nearby=nearby, client=client, ambient=ambient, instrument=instrument)
    own = own_audience(security.jwt_audience, me)
    audiences = frozenset({own}) if security.own_audience_only else frozenset({own, security.jwt_audience})
    policy = IssuerPolicy(
        allow_missing_audience=security.allow_missing_audience, droplet_id_from_sub=security.droplet_id_from_sub
    )
    verifier = TokenVerifier(
        keys,
        issuer=security.jwt_issuer,
        audiences=audiences,
        ambient=ambient,
        policy=policy,
        revocations=revocations,
    )
    return verifier, keys if isinstance(keys, FollowedKeys) else None


def _keys(
    config: DropletConfig, *, nearby: Nearby | None, client: HttpClient, ambient: Ambient, instrument: Instrument
) -> KeySet:
    security = config.security
    if security.public_key is not None:
        return FixedKeys(security.public_key)
    url = security.jwks_url
    if url is None and config.registry.url is not None:
        url = jwks_of(config.registry.url)
    if url is None and security.signing_key is not None:
        return FixedKeys(_signing_key(config).public_pem)

    async def fetch(address: str) -> bytes:
        with anyio.fail_after(_FETCH_SECONDS):
            answer = await client.request("GET", address, max_bytes=_MAX_JWKS_BYTES, peer="key source")
        if answer.status != 200:
            raise TokenError(f"{address} answered {answer.status}; is that the address of a JWKS?")
        return answer.body

    hosts = frozenset(security.insecure_hosts)
    keys = FollowedKeys(
        lambda at: RemoteKeys(at, fetch=fetch, ambient=ambient, instrument=instrument, insecure_hosts=hosts),
        url,
        hint=NOT_IN_SIGHT,
    )

    def follow(found: Found) -> None:
        keys.point_at(jwks_of(found.url))

    if nearby is not None and url is None:
        nearby.on_found = follow
    return keys


def jwks_of(registry_url: str) -> str:
    """Where a Registry publishes its keys (contract section 6)."""
    return f"{registry_url}/.well-known/jwks.json"


def make_tokens(
    config: DropletConfig,
    *,
    me: DropletId,
    source: TokenSource | None,
    client: HttpClient,
    ambient: Ambient,
    instrument: Instrument,
    nearby: Nearby | None = None,
) -> tuple[TokenKeeper, Service]:
    """What holds our own tokens, and the service that renews them.

    Raises:
        ConfigError: a signing key that is none, or a Registry URL that is not secure.
    """
    keeper = TokenKeeper(
        source or _source(config, me=me, nearby=nearby, client=client, ambient=ambient),
        ambient=ambient,
        instrument=instrument,
        stand_in=_standing_in(config.security.jwt_audience),
    )
    return keeper, Named("tokens", keeper.run)


def _standing_in(mesh: str) -> Callable[[str | None], str | None]:
    """The mesh's audience does for a peer's own (contract section 6), but not for calls that change the Registry."""
    prefix, never = f"{mesh}/", registry_audience(mesh)

    def stand_in(audience: str | None) -> str | None:
        return mesh if audience is not None and audience.startswith(prefix) and audience != never else None

    return stand_in


def _source(
    config: DropletConfig, *, me: DropletId, nearby: Nearby | None, client: HttpClient, ambient: Ambient
) -> TokenSource:
    security = config.security
    narrow = foreign_narrowed(config.security.jwt_audience, config.security.foreign_permissions)
    if security.token is not None:
        return FixedToken(security.token.reveal(), ambient=ambient)
    if security.signing_key is not None:
        return SelfSigned(
            _signing_key(config),
            droplet_id=me,
            ambient=ambient,
            issuer=security.jwt_issuer,
            steward=config.droplet.steward,
            permissions=_PERMISSIONS,
            narrow=narrow,
        )

    def enrolled(url: str, secret: str) -> RegistryTokens:
        return RegistryTokens(
            url,
            droplet_id=me,
            secret=secret,
            post=_poster(client),
            ambient=ambient,
            insecure_hosts=frozenset(security.insecure_hosts),
            narrow=narrow,
        )

    if nearby is not None:
        return NearbyTokens(nearby, lambda found: enrolled(found.url, found.secret))
    if config.registry.url is None:
        return NoTokens()
    v2 = make_v2_tokens(config, url=config.registry.url, client=client, ambient=ambient)
    if v2 is not None:
        return v2
    if config.registry.style == "contract" and config.droplet.secret is not None:
        return enrolled(config.registry.url, config.droplet.secret.reveal())
    return NoTokens()


def _signing_key(config: DropletConfig) -> SigningKey:
    security = config.security
    if security.signing_key is None:
        raise ConfigError(["security.signing_key: missing"])
    return SigningKey.from_pem(security.signing_key.reveal(), kid=security.signing_key_id)


def _poster(client: HttpClient) -> Callable[..., Awaitable[tuple[int, bytes]]]:
    async def post(url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        try:
            answer = await client.request("POST", url, headers=headers, content=body, peer="Registry")
        except DeliveryError as error:
            raise TokenError(error.message) from error
        return answer.status, answer.body

    return post
