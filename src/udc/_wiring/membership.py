"""Puts together how the droplet becomes and stays a member of its mesh (contract section 8)."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio

from udc._frozen import dataclass
from udc._http import HttpClient
from udc._wiring.consequences import Consequences
from udc._wiring.nearby import NOT_IN_SIGHT, Nearby, NearbyRegistry
from udc.clients._base import Beat, Presence, Registration, RegistryClient
from udc.clients.choose import Caller, make_registry
from udc.clients.usage import Usage
from udc.config import DropletConfig
from udc.errors import DeliveryError
from udc.identity.audiences import registry_audience
from udc.identity.instance_key import InstanceKey
from udc.identity.revocations import Revocations
from udc.lifecycle import SERVING, Lifecycle, Status
from udc.services import Service
from udc.services.presence import PresenceLoop
from udc.services.revocations import RevocationWatch
from udc.stats import Stats
from udc.surface.facts import Facts
from udc.wire import json_text
from udc.wire.records import MARK, MARK_VERSION

if TYPE_CHECKING:
    from udc._wiring.compose import Composition

_LIVEZ_SECONDS: Final = 2.0
_LIVEZ_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What the droplet tells its Registry of itself.

    Attributes:
        key: of this instance.
        status, fingerprint, in_flight: asked at every call.
    """

    facts: Facts
    key: InstanceKey
    lifecycle: Lifecycle
    status: Callable[[], Status]
    fingerprint: Callable[[], str]
    in_flight: Callable[[], int]

    def registration(self) -> Registration:
        """The contract's registration body (section 6)."""
        facts = self.facts
        return Registration(
            body={
                "id": facts.id,
                "name": facts.name,
                "steward": facts.steward,
                "endpoint": facts.endpoint,
                "capabilities": list(facts.capabilities),
                "version": facts.version,
                "status": str(self.status()),
                "phase": str(self.lifecycle.phase),
                "instance_id": facts.instance_id,
                "public_key": self.key.public_key,
                "fingerprint": self.fingerprint(),
                "metadata": {**facts.metadata, MARK: MARK_VERSION},
            }
        )

    def beat(self, record_hash: str) -> Beat:
        """The heartbeat of now."""
        return Beat(
            droplet_id=self.facts.id,
            instance_id=self.facts.instance_id,
            status=str(self.status()),
            phase=str(self.lifecycle.phase),
            record_hash=record_hash,
            in_flight=self.in_flight(),
        )


class Membership:
    """The droplet's standing with its Registry.

    Attributes:
        registry: calls to it; `None` where there is none to call.
        services: the loop that keeps us registered, where we register at all, and what reads the list of revoked
            tokens, where there is a verifier to use it.
    """

    def __init__(
        self, registry: RegistryClient | None, loop: PresenceLoop | None, watch: RevocationWatch | None = None
    ) -> None:
        self.registry = registry
        self._loop = loop
        self.services: list[Service] = [each for each in (loop, watch) if each is not None]

    @property
    def presence(self) -> Presence:
        """How it stands."""
        return "unregistered" if self._loop is None else self._loop.presence

    def changed(self) -> None:
        """Phase or status changed."""
        if self._loop is not None:
            self._loop.changed()

    async def leave(self) -> None:
        """Deregister, within a short limit."""
        if self._loop is not None:
            await self._loop.leave()


def of(parts: Composition) -> Membership:
    """The membership of a droplet that is being put together.

    Raises:
        ConfigError: secrets would travel to the Registry over plain http.
    """
    return make_membership(
        parts.settings.config,
        Self(
            facts=parts.facts,
            key=parts.instance_key,
            lifecycle=parts.lifecycle,
            status=lambda: parts.describe.status,
            fingerprint=lambda: parts.describe.fingerprint,
            in_flight=lambda: parts.dispatcher.in_flight.count,
        ),
        Caller(
            droplet_id=parts.facts.id,
            instance_id=parts.facts.instance_id,
            name=parts.facts.name,
            endpoint=parts.facts.endpoint,
            ambient=parts.ambient,
            client=parts.client,
            tokens=parts.tokens,
            usage=lambda: usage(parts.stats),
        ),
        nearby=parts.nearby,
        mesh_size=lambda: parts.directory.told_of,
        tokens=parts.tokens,
        revocations=parts.revocations,
        keys=parts.keys,
        proofs=parts.proofs,
        ambient=parts.ambient.branch(),
        instrument=parts.instrument,
    )


def make_membership(
    config: DropletConfig,
    me: Self,
    caller: Caller,
    *,
    nearby: Nearby | None,
    mesh_size: Callable[[], int],
    revocations: Revocations | None,
    **consequences: Any,  # Any: what `Consequences` takes
) -> Membership:
    """The Registry's client, and the loop that keeps us registered where that is wanted.

    Raises:
        ConfigError: secrets would travel to the Registry over plain http.
    """
    registry = _registry(config, caller, nearby)
    if registry is None:
        return Membership(None, None)
    around = {each: consequences[each] for each in ("ambient", "instrument")}
    watch = None if revocations is None else RevocationWatch(registry.revocations, revocations, **around)
    if not config.registry.auto_register:
        return Membership(registry, None, watch)
    security = config.security
    then = Consequences(
        audience=registry_audience(security.jwt_audience),
        mesh=security.jwt_audience,
        follow_keys=security.jwks_url is None,
        revocations=watch,
        **consequences,
    )
    loop = PresenceLoop(
        registry,
        obstacle=_obstacle(me, caller.client, nearby),
        registration=me.registration,
        beat=me.beat,
        accepted=then.accepted,
        answered=then.answered,
        beat_seconds=config.registry.heartbeat_interval,
        mesh_size=mesh_size,
        **around,
    )
    return Membership(registry, loop, watch)


def usage(stats: Stats) -> Usage:
    """What the process uses, for the styles of Registry that ask."""
    disk = shutil.disk_usage(".")
    return Usage(
        cpu_percent=stats.cpu_percent,
        memory_mb=float(stats.memory_mb),
        disk_percent=round(100 * disk.used / disk.total, 1) if disk.total else 0.0,
    )


def _registry(config: DropletConfig, caller: Caller, nearby: Nearby | None) -> RegistryClient | None:
    if nearby is not None:
        return NearbyRegistry(
            nearby, lambda found: make_registry(config, replace(caller, secret=found.secret), url=found.url)
        )
    if config.registry.url is None or config.droplet.id == config.registry.id:
        return None
    return make_registry(config, caller, url=config.registry.url)


def _obstacle(me: Self, client: HttpClient, nearby: Nearby | None) -> Callable[[], Awaitable[str | None]]:
    async def obstacle() -> str | None:
        if me.lifecycle.phase not in SERVING:
            return f"phase is {me.lifecycle.phase}"
        if nearby is not None and nearby.look() is None:
            return NOT_IN_SIGHT
        return await _address_obstacle(client, me.facts)

    return obstacle


async def _address_obstacle(client: HttpClient, facts: Facts) -> str | None:
    """Why others cannot reach us at the address that we would register; `None` when our own `/livez` answers there."""
    if not facts.endpoint:
        return "nobody told the address that others reach us by; set droplet.url"
    where = f"droplet.url is {facts.endpoint}; GET /livez there"
    try:
        with anyio.fail_after(_LIVEZ_SECONDS):
            answer = await client.request(
                "GET", f"{facts.endpoint}/livez", max_bytes=_LIVEZ_BYTES, peer="our own address"
            )
    except (DeliveryError, TimeoutError) as error:
        return f"{where} is not answered: {error or 'no answer in time'}"
    found = json_text.as_mapping(answer.body.decode("utf-8", "replace")).get("instance_id")
    if found != facts.instance_id:
        return f"{where} is answered by {'instance ' + found if isinstance(found, str) else 'somebody else'}, not by us"
    return None
