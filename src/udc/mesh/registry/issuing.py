"""The endpoints of tokens and keys: `/auth/token`, revocations, JWKS, public key (contract section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import Forbidden, InvalidRequest, Unauthorized
from udc.identity.claims import implied
from udc.identity.keys import ALGORITHM
from udc.identity.revocations import KEEP_SECONDS, Revocations
from udc.mesh.registry import bodies
from udc.mesh.registry.authority import Authority
from udc.mesh.registry.catalog import Catalog
from udc.mesh.registry.credentials import ALL_PERMISSIONS, Rights
from udc.mesh.registry.keys import KeyRing
from udc.mesh.registry.mint import Bearer, Mint
from udc.mesh.registry.store import Kept, Revocation, Store
from udc.surface._base import HttpRequest, HttpResponse
from udc.surface._query import QueryParameter
from udc.wire.ids import canonical_id

Answer: TypeAlias = dict[str, Any]  # Any: JSON values

AUDIENCE: Final = QueryParameter("audience", description="For whom the token is; by default the mesh.")
"""What `token` reads."""

_MAX_JTI = 256


class Issuing:
    """The handlers of these endpoints."""

    def __init__(
        self,
        mint: Mint,
        ring: KeyRing,
        *,
        authority: Authority,
        catalog: Catalog,
        store: Callable[[], Store],
        revocations: Revocations,
        ambient: Ambient,
    ) -> None:
        self._mint, self._ring = mint, ring
        self._authority, self._catalog, self._store = authority, catalog, store
        self._revocations, self._ambient = revocations, ambient
        self._revoked: list[Revocation] = []
        self._revoked_count = 0

    @property
    def revisions(self) -> dict[str, str]:
        """What beats tell, so that droplets fetch what is new."""
        return {"keys_revision": self._ring.revision, "revocations_revision": str(self._revoked_count)}

    def restore(self, kept: Kept) -> None:
        """Go on refusing what was revoked."""
        self._revoked_count = kept.revoked_count
        for each in kept.revoked:
            self._refuse(each)

    async def token(self, request: HttpRequest) -> Answer:
        """A token for who has shown its secret, of one of the mesh's audiences."""
        caller = request.caller
        fields = bodies.fields_of(request)
        droplet_id = caller.droplet_id
        rights = Rights(caller.permissions, caller.scopes)
        if droplet_id is None:
            raise Unauthorized("the secret names no droplet")
        enrolled = self._authority.rights_of(request, droplet_id)
        if enrolled is not None and enrolled.scopes is None:
            rights = enrolled
        bearer = Bearer(
            droplet_id=droplet_id,
            permissions=_permissions(fields.get("permissions"), rights),
            scopes=_scopes(fields.get("scope"), rights),
            steward=self._steward(droplet_id),
        )
        token = self._mint.token(bearer, self._audience(request, fields))
        return {
            "token": token.value,
            "access_token": token.value,
            "token_type": "Bearer",
            "algorithm": ALGORITHM,
            "expires_in": self._mint.lifetime_seconds,
            "droplet_id": droplet_id,
        }

    async def revocations(self, _: HttpRequest) -> Answer:
        """Which tokens are refused."""
        oldest = self._ambient.wall() - KEEP_SECONDS
        self._revoked = [each for each in self._revoked if max(each.at, each.before or 0.0) >= oldest]
        return {"revision": str(self._revoked_count), "revoked": [_shown(each) for each in self._revoked]}

    async def revoke(self, request: HttpRequest) -> Answer:
        """`POST /auth/revoke` {`droplet_id` or `jti`, `before`?}: refuse tokens from now on."""
        self._authority.check_admin(request.caller)
        fields = bodies.fields_of(request)
        jti, named = fields.get("jti"), fields.get("droplet_id")
        if (jti is None) == (named is None):
            raise InvalidRequest.field("droplet_id", "or 'jti': give one of the two")
        if jti is not None and not (isinstance(jti, str) and 0 < len(jti) <= _MAX_JTI):
            raise InvalidRequest.field("jti", f"must be text of 1 to {_MAX_JTI} characters")
        droplet_id = None if named is None else canonical_id(named, field="droplet_id")
        await self.refuse(droplet_id=droplet_id, jti=jti, before=_moment(fields.get("before")))
        return await self.revocations(request)

    async def refuse(
        self, *, droplet_id: DropletId | None = None, jti: str | None = None, before: float | None = None
    ) -> None:
        """Refuse a token, or a droplet's that were issued before a moment (now, unless given). Kept on disk."""
        now = self._ambient.wall()
        # Tokens tell whole seconds: without rounding up, those of this very second would pass.
        until = None if droplet_id is None else (math.floor(now) + 1.0 if before is None else before)
        revocation = Revocation(droplet_id=droplet_id, jti=jti, before=until, at=now)
        self._revoked_count = max(await self._store().revoke(revocation), self._revoked_count)
        self._refuse(revocation)
        self._revocations.tidy()

    async def jwks(self, _: HttpRequest) -> HttpResponse:
        """The public keys: JWKS with `pem` beside each, and the PEM of the current one."""
        return HttpResponse(body=self._ring.jwks, headers=(("Cache-Control", "max-age=60"),))

    def _refuse(self, revocation: Revocation) -> None:
        self._revoked.append(revocation)
        self._revocations.revoke(droplet_id=revocation.droplet_id, token_id=revocation.jti, before=revocation.before)

    def _steward(self, droplet_id: DropletId) -> str:
        found = self._catalog.instances(droplet_id)
        return str(found[0].registered.record["steward"]) if found else ""

    def _audience(self, request: HttpRequest, fields: Answer) -> str | None:
        asked = request.query.get("audience")
        wanted = asked[0] if asked else fields.get("audience", self._mint.mesh)
        if wanted is None or wanted in (self._mint.mesh, self._mint.registry):
            return wanted
        prefix = f"{self._mint.mesh}/"
        if isinstance(wanted, str) and wanted.startswith(prefix):
            named = canonical_id(wanted[len(prefix) :], field="audience")
            return self._mint.own(named)
        raise InvalidRequest.field(
            "audience", f"must be {self._mint.mesh!r}, '{prefix}<id>', '{self._mint.registry}' or null"
        )


def _permissions(asked: object, rights: Rights) -> frozenset[str]:
    if asked is None:
        return rights.permissions
    names = frozenset(asked.split() if isinstance(asked, str) else _texts(asked, "permissions"))
    if not names <= ALL_PERMISSIONS:
        raise InvalidRequest.field("permissions", "are some of read, write, admin")
    missing = names - implied(rights.permissions)
    if missing:
        raise Forbidden("this droplet is not enrolled with these permissions", details={"missing": sorted(missing)})
    return names


def _scopes(asked: object, rights: Rights) -> frozenset[str]:
    if asked is None:
        return rights.scopes or frozenset()
    names = frozenset(asked.split() if isinstance(asked, str) else _texts(asked, "scope"))
    if rights.scopes is not None and not names <= rights.scopes:
        raise Forbidden(
            "this droplet is not enrolled with these scopes", details={"missing": sorted(names - rights.scopes)}
        )
    return names


def _texts(value: object, field: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise InvalidRequest.field(field, "must be text with spaces between the names, or a list of names")
    return [str(each) for each in value]


def _moment(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise InvalidRequest.field("before", "must be seconds since the epoch")
    return float(value)


def _shown(revocation: Revocation) -> Answer:
    told = {"droplet_id": revocation.droplet_id, "jti": revocation.jti, "before": revocation.before}
    return {name: value for name, value in told.items() if value is not None}
