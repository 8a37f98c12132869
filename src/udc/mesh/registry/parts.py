"""The parts of a Registry, made for one life and connected with each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from udc._types import DropletId
from udc.datadir import DataDirectory
from udc.errors import DeliveryError, LifecycleError
from udc.identity._base import Token
from udc.identity.keys import SigningKey
from udc.identity.policy import IssuerPolicy
from udc.identity.revocations import KEEP_SECONDS, Revocations
from udc.identity.verify import TokenVerifier
from udc.lifecycle import Phase, status_of
from udc.mesh.registry.authority import Authority
from udc.mesh.registry.catalog import Catalog
from udc.mesh.registry.credentials import Credentials
from udc.mesh.registry.instances import Instance, Registered
from udc.mesh.registry.issuing import Issuing
from udc.mesh.registry.joining import Joining
from udc.mesh.registry.keys import KeyFiles, KeyRing, Unkept
from udc.mesh.registry.leases import terms_for, terms_of
from udc.mesh.registry.mint import LIFETIME_SECONDS, Bearer, Mint
from udc.mesh.registry.reading import Reading
from udc.mesh.registry.register import Register
from udc.mesh.registry.store import Enrolment, Store
from udc.mesh.registry.storms import Lost
from udc.mesh.registry.table import table
from udc.surface._base import Endpoint, HttpRequest
from udc.wire.records import MARK, MARK_VERSION

if TYPE_CHECKING:
    from udc._wiring.definition import Premises

_PROBE_SECONDS: Final = 2.0
_PROBE_BYTES: Final = 4096
_LEEWAY_SECONDS: Final = 60.0
_OWN_PERMISSIONS: Final = ("read", "write")


class Parts:
    """One life of a Registry: made before it starts, at work between `begin` and the end."""

    def __init__(
        self,
        premises: Premises,
        *,
        data: DataDirectory | None,
        secret: str | None,
        signing_keys: Sequence[SigningKey],
        clock: Callable[[], float],
        lease_seconds: float | None = None,
        token_seconds: int = LIFETIME_SECONDS,
    ) -> None:
        self.premises = premises
        self._store: Store | None = None
        self._stopping = False
        self._lost = Lost(clock)
        self._own: Instance | None = None
        security, ambient = premises.config.security, premises.ambient
        self._ring = KeyRing(
            Unkept() if data is None else KeyFiles(data),
            wall=ambient.wall,
            token_seconds=token_seconds + _LEEWAY_SECONDS,
            given=signing_keys,
        )
        self._mint = Mint(
            self._ring,
            issuer=security.jwt_issuer,
            mesh=security.jwt_audience,
            ambient=ambient,
            lifetime_seconds=token_seconds,
        )
        self._revocations = Revocations(wall=ambient.wall)
        self.verifier: TokenVerifier = self._make_verifier()
        self._catalog = Catalog(epoch=ambient.new_id().replace("-", "")[:12], clock=clock)
        self.register: Register = Register(
            self._catalog,
            lambda: self._opened,
            probe=self._probe,
            clock=clock,
            chance=ambient.chance,
            terms=terms_for if lease_seconds is None else lambda _: terms_of(lease_seconds),
        )
        self._credentials = Credentials(secret)
        self._authority = self._make_authority()
        self._issuing = Issuing(
            self._mint,
            self._ring,
            authority=self._authority,
            catalog=self._catalog,
            store=lambda: self._opened,
            revocations=self._revocations,
            ambient=ambient,
        )

    def _make_verifier(self) -> TokenVerifier:
        """Any of the three audiences; what each may do is the authority's to say."""
        mint = self._mint
        return TokenVerifier(
            self._ring.trusted,
            issuer=mint.issuer,
            audiences=frozenset({mint.mesh, mint.registry, mint.own(self.premises.facts.id)}),
            ambient=self.premises.ambient,
            policy=IssuerPolicy(droplet_id_from_sub=True),
            revocations=self._revocations,
        )

    def _make_authority(self) -> Authority:
        allowed = self.premises.config.registry.allow_anonymous
        loopback = self.premises.loopback
        catalog = self._catalog
        return Authority(
            credentials=self._credentials,
            verifier=self.verifier,
            mint=self._mint,
            loopback=loopback,
            host=urlsplit(self.premises.facts.endpoint).hostname or "",
            anonymous=loopback if allowed is None else allowed,
            held=lambda each: any(not one.registered.anonymous for one in catalog.instances(each)),
            foreign=lambda each: all(one.foreign for one in catalog.instances(each)),
        )

    def table(self) -> list[Endpoint]:
        """The Registry's own endpoints."""
        joining = Joining(
            self.register,
            self._catalog,
            authority=self._authority,
            mint=self._mint,
            me=self.premises.facts.id,
            revisions=lambda: self._issuing.revisions,
            origin=self._origin,
            lost=self._lost,
            ambient=self.premises.ambient,
        )
        reading = Reading(
            self._catalog,
            warming=lambda: self.register.warming,
            stopping=lambda: self._stopping,
            ambient=self.premises.ambient,
        )
        return table(joining, reading, self._issuing, self._authority)

    async def open_keys(self) -> None:
        """Load the signing keys, or make the first ones.

        Raises:
            ConfigError: they are damaged.
        """
        await self._blocking(self._ring.open)

    async def begin(self, store: Store) -> None:
        """Take up what the store holds, and list the Registry itself."""
        self._store = store
        kept = await store.load(revoked_since=self.premises.ambient.wall() - KEEP_SECONDS)
        self._credentials.take(kept.enrolled)
        self._issuing.restore(kept)
        self.register.restore(kept)
        self._own = self.register.admit_own(self._own_record())

    async def enrol(self, enrolment: Enrolment) -> None:
        """Accept a droplet's own secret; on the disk when this returns."""
        await self._opened.enrol(enrolment)
        self._credentials.take([enrolment])

    async def withdraw(self, droplet_id: DropletId) -> bool:
        """Accept it no more, nor its tokens, and end its registrations."""
        known = await self._opened.withdraw(droplet_id)
        self._credentials.drop(droplet_id)
        if known:
            await self._issuing.refuse(droplet_id=droplet_id)
            await self.register.leave(droplet_id, None)
        return known

    async def rotate_keys(self, *, at_once: bool, leaked: bool) -> None:
        """See `Registry.rotate_keys`."""
        await self._blocking(lambda: self._ring.rotate(at_once=at_once, leaked=leaked))

    async def tidy_keys(self) -> None:
        """Let go of past keys when the last of their tokens has ended."""
        if self._ring.outlived:
            await self._blocking(self._ring.tidy)

    def own_token(self, audience: str | None) -> Token:
        """A token of the Registry's own, for calls to peers."""
        facts = self.premises.facts
        bearer = Bearer(
            droplet_id=facts.id, permissions=_OWN_PERMISSIONS, steward=facts.steward, instance_id=facts.instance_id
        )
        return self._mint.token(bearer, audience)

    def note_phase(self, phase: Phase) -> None:
        """The Registry itself is in another phase."""
        if phase is Phase.STOPPING:
            # Who waits for changes would hold up the end of the droplet: the change of our own row wakes them all.
            self._stopping = True
        if self._own is not None:
            self.register.note_phase(self._own, phase, status_of(phase, services_healthy=phase is not Phase.DEGRADED))

    @property
    def _opened(self) -> Store:
        if self._store is None:
            raise LifecycleError("the Registry's store is not open yet")
        return self._store

    def _own_record(self) -> Registered:
        facts = self.premises.facts
        metadata = {**facts.metadata, MARK: MARK_VERSION}
        phase = Phase.INITIALIZING
        return Registered(
            droplet_id=facts.id,
            instance_id=facts.instance_id,
            record={
                "id": facts.id,
                "droplet_id": facts.id,
                "name": facts.name,
                "steward": facts.steward,
                "endpoint": facts.endpoint,
                "url": facts.endpoint,
                "capabilities": list(facts.capabilities),
                "version": facts.version,
                "metadata": metadata,
                "public_key": self.premises.key.public_key,
            },
            record_hash="",
            serial=0,
            status=status_of(phase, services_healthy=True),
            phase=phase,
        )

    def _origin(self, request: HttpRequest) -> str:
        """The Registry's base URL: the configured one, else the one that the caller used."""
        return self.premises.facts.endpoint or f"{request.scheme}://{request.headers.get('host', 'localhost')}"

    async def _probe(self, endpoint: str, instance_id: str) -> bool:
        """Whether the instance itself answers at its endpoint. What else answers is told to nobody."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                answer = await self.premises.client.request(
                    "GET", f"{endpoint}/livez", max_bytes=_PROBE_BYTES, peer=instance_id
                )
            found = json.loads(answer.body)
        except (DeliveryError, TimeoutError, ValueError, RecursionError):
            return False
        return answer.status == 200 and isinstance(found, dict) and found.get("instance_id") == instance_id

    async def _blocking(self, work: Callable[[], None]) -> None:
        """Run it in a thread; inline where time is virtual, whose clock would leap meanwhile."""
        if self.premises.threads:
            await anyio.to_thread.run_sync(work)
        else:
            work()
