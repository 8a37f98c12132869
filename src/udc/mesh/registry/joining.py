"""The endpoints through which droplets join, beat, change and leave, in every style (contract section 6, dialects)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import Conflict, InvalidRequest, NotFound
from udc.identity.claims import Principal, implied
from udc.mesh.registry import bodies
from udc.mesh.registry.authority import Authority
from udc.mesh.registry.bodies import Beat
from udc.mesh.registry.catalog import Catalog
from udc.mesh.registry.instances import FOREIGN, Instance
from udc.mesh.registry.mint import Bearer, Mint
from udc.mesh.registry.register import Register
from udc.mesh.registry.storms import Lost
from udc.surface._base import HttpRequest, HttpResponse
from udc.surface._query import QueryParameter
from udc.wire.ids import canonical_id

Answer: TypeAlias = dict[str, Any]  # Any: JSON values


INSTANCE: Final = QueryParameter("instance_id", description="Only this instance of the droplet.")
"""What `leave` and `update` read."""


class Joining:
    """The handlers of these endpoints.

    Args:
        me: the Registry's own id, which nobody else may take.
        revisions: `keys_revision` and `revocations_revision` as they are now.
        origin: the Registry's base URL, as the caller of this request sees it.
        lost: tells those who are not known any more how long to wait.
    """

    def __init__(
        self,
        register: Register,
        catalog: Catalog,
        *,
        authority: Authority,
        mint: Mint,
        me: DropletId,
        revisions: Callable[[], Mapping[str, str]],
        origin: Callable[[HttpRequest], str],
        lost: Lost,
        ambient: Ambient,
    ) -> None:
        self._register, self._catalog, self._lost = register, catalog, lost
        self._authority, self._mint, self._me = authority, mint, me
        self._revisions, self._origin, self._ambient = revisions, origin, ambient

    async def register(self, request: HttpRequest) -> Answer:
        """Register, or register again."""
        caller = request.caller
        asked = bodies.read_registration(request)
        self._authority.check_change(caller, asked.droplet_id)
        if asked.droplet_id == self._me:
            raise Conflict(
                f"droplet {self._me} is this Registry", details={"field": "id"}, hint="take an id of your own"
            )
        instance = await self._register.admit(asked, anonymous=caller.anonymous)
        return {"ok": True, **self._told(request, caller, instance)}

    async def register_created(self, request: HttpRequest) -> HttpResponse:
        """The same in the plain style: 201."""
        return HttpResponse(status=201, body=to_json(await self.register(request)))

    async def beat(self, request: HttpRequest) -> Answer:
        """Renew a lease. Writes nothing to the disk."""
        caller = request.caller
        beat = bodies.read_beat(request)
        droplet_id = self._beaten(caller, beat)
        instance = self._find(caller, droplet_id, beat)
        self._authority.check_change(caller, droplet_id)
        if self._register.beat(beat, instance):
            await self._register.keep_beating(instance)
        terms = self._register.terms(instance)
        answer: Answer = {
            "ok": True,
            "ts": self._ambient.wall(),
            "beat_every_seconds": terms.beat_every_seconds,
            "lease_ttl_seconds": terms.ttl_seconds,
            "revision": self._catalog.revision,
            **self._revisions(),
        }
        if beat.record_hash is not None and beat.record_hash != instance.registered.record_hash:
            answer["send_record"] = True
        return answer | self._renewal(request, caller, instance)

    async def update(self, request: HttpRequest) -> HttpResponse:
        """Change parts of a registration: the plain style's way to register again."""
        droplet_id = canonical_id(request.params["id"])
        sent = bodies.fields_of(request)
        instance = self._meant(request, droplet_id)
        self._authority.check_change(request.caller, droplet_id)
        record = bodies.updated(instance.registered.record, sent)
        await self._register.update(instance, record, bodies.status_in(sent))
        row = self._catalog.find(droplet_id)
        return HttpResponse(body=row.fragment if row is not None else b"{}")

    async def leave(self, request: HttpRequest) -> Answer:
        """`DELETE /droplets/{id}`: end its registrations, or the one of `?instance_id=`."""
        asked = request.query.get("instance_id")
        return await self._leave(request, canonical_id(request.params["id"]), asked[0] if asked else None)

    async def deregister(self, request: HttpRequest) -> Answer:
        """`POST /deregister`: the same by a body."""
        sent = bodies.fields_of(request)
        instance_id = sent.get("instance_id")
        if instance_id is not None and not isinstance(instance_id, str):
            raise InvalidRequest.field("instance_id", "must be a string")
        own = request.caller.droplet_id
        named = sent.get("droplet_id", sent.get("id", own))
        return await self._leave(request, canonical_id(named, field="droplet_id"), instance_id)

    async def _leave(self, request: HttpRequest, droplet_id: DropletId, instance_id: str | None) -> Answer:
        self._authority.check_change(request.caller, droplet_id)
        if droplet_id == self._me:
            raise Conflict(f"droplet {self._me} is this Registry, which leaves by stopping")
        gone = await self._register.leave(droplet_id, instance_id)
        return {"ok": True, "deregistered": len(gone), "droplet_id": droplet_id}

    def _told(self, request: HttpRequest, caller: Principal, instance: Instance) -> Answer:
        registered = instance.registered
        terms = self._register.terms(instance)
        told: Answer = {
            **registered.record,
            "status": instance.status,
            **({"phase": instance.phase} if instance.phase is not None else {}),
            "instance_id": registered.instance_id or None,
            "state": instance.state,
            "lease_ttl_seconds": terms.ttl_seconds,
            "beat_every_seconds": terms.beat_every_seconds,
            "jwks_uri": f"{self._origin(request)}/.well-known/jwks.json",
            "issuer": self._mint.issuer,
            "revision": self._catalog.revision,
            **self._revisions(),
        }
        # Who registers another droplet, as an admin may, does not become that droplet by it.
        if caller.anonymous or caller.droplet_id != registered.droplet_id:
            return told
        # Foreign droplets know one token, which they show to everybody: it must not be one that changes the Registry
        # for droplets of our own kind.
        audience = self._mint.mesh if instance.foreign else self._mint.registry
        rights = self._authority.rights_of(request, registered.droplet_id)
        scopes = rights.scopes if rights is not None else None
        bearer = Bearer(
            droplet_id=registered.droplet_id,
            permissions=rights.permissions if rights is not None else caller.permissions,
            scopes=scopes or (),
            steward=registered.record["steward"],
            instance_id=registered.instance_id,
        )
        return told | {"token": self._mint.token(bearer, audience).value, "expires_in": self._mint.lifetime_seconds}

    def _renewal(self, request: HttpRequest, caller: Principal, instance: Instance) -> Answer:
        """A new token of the same kind, when the one that beats has lived 40 to 50 % of its life."""
        registered = instance.registered
        if not caller.expires_at or caller.droplet_id != registered.droplet_id:
            return {}
        lived = 1 - (caller.expires_at - self._ambient.wall()) / self._mint.lifetime_seconds
        if lived < instance.renew_share:
            return {}
        rights = self._authority.rights_of(request, registered.droplet_id)
        if rights is None:
            return {}
        bearer = Bearer(
            droplet_id=registered.droplet_id,
            permissions=implied(caller.permissions) & implied(rights.permissions),
            scopes=caller.scopes if rights.scopes is None else caller.scopes & rights.scopes,
            steward=registered.record["steward"],
            instance_id=registered.instance_id,
        )
        return {"token": self._mint.token(bearer, caller.audience).value, "expires_in": self._mint.lifetime_seconds}

    def _beaten(self, caller: Principal, beat: Beat) -> DropletId:
        named = beat.droplet if beat.droplet is not None else caller.droplet_id
        if named is None:
            raise InvalidRequest.field("droplet_id", "is missing: a beat says whose it is")
        droplet_id = canonical_id(named, field="droplet_id")
        if isinstance(droplet_id, str) and not self._catalog.instances(droplet_id):
            row = self._catalog.named(droplet_id)  # a service id may be the name
            return row.id if row is not None else droplet_id
        return droplet_id

    def _find(self, caller: Principal, droplet_id: DropletId, beat: Beat) -> Instance:
        instance_id = beat.instance_id
        instance = self._catalog.instance(droplet_id, instance_id)
        if instance is None and instance_id == FOREIGN and caller.instance_id and caller.droplet_id == droplet_id:
            instance_id = caller.instance_id
            instance = self._catalog.instance(droplet_id, instance_id)
        if instance is not None:
            return instance
        self._authority.check_change(caller, droplet_id)
        by = self._register.retired_by(droplet_id, instance_id)
        if by is not None:
            raise Conflict(
                "a newer instance of this droplet has taken this one's place at its endpoint",
                details={"retired_by": by or None},
            )
        raise NotFound(
            "this instance is not registered",
            details={"spread_seconds": self._lost.spread_seconds((droplet_id, instance_id))},
            hint="register again, after a random part of details.spread_seconds",
        )

    def _meant(self, request: HttpRequest, droplet_id: DropletId) -> Instance:
        """The instance an update is about: the one named, the foreign one, or the best."""
        asked = request.query.get("instance_id")
        found = self._catalog.instances(droplet_id)
        if asked:
            found = [each for each in found if each.registered.instance_id == asked[0]]
        if not found or droplet_id == self._me:
            raise NotFound(f"droplet {droplet_id} is not registered")
        return min(found, key=lambda each: (not each.foreign, each.rank))
