"""The endpoints of a `FakeRegistry` and the state behind them (contract section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from udc import _ids
from udc._types import Access, DropletId, JsonObject
from udc.errors import ContractError, Forbidden, InvalidRequest, NotFound, Unauthorized
from udc.identity._base import Verifier
from udc.identity.audiences import registry_audience
from udc.identity.claims import Principal, implied
from udc.identity.revocations import Revocations
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.testing.keyring import Keyring
from udc.testing.keys import Keys
from udc.testing.records import FOREIGN_LEASE_SECONDS, OUR_LEASE_SECONDS, Instance, Records
from udc.testing.registry_watch import Filter, Watch, wait_seconds
from udc.wire.canonical import canonical_json
from udc.wire.ids import canonical_id, same_droplet
from udc.wire.json_text import parse_object
from udc.wire.records import base_url, record_id

_BEAT_SECONDS: Final = 10.0
_RENEW_BELOW: Final = 0.55
"""Share of a token's life that is left when a beat brings a new one (contract: 40-50 % of it over)."""

_Handler = Callable[[HttpRequest], Awaitable[Any]]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class RegistryCall:
    """One call that the Registry answered.

    Attributes:
        body: as it came; holds the caller's secret, so it is not shown.
        status: of the answer.
    """

    method: str
    path: str
    status: int
    body: JsonObject = field(repr=False)


@dataclass(slots=True)
class Forced:
    """An answer that the test dictates, for so many more calls (`None` = all) to paths that begin so."""

    status: int
    times: int | None
    path: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a droplet's tokens may allow; scopes `None` = whatever it asks for."""

    permissions: frozenset[str]
    scopes: frozenset[str] | None = None


class RegistryDesk:
    """Answers the calls of section 6.

    Args:
        secret: what droplets show for a token.
        keys: sign the tokens.
        default: what a droplet gets that is not `enrolled`.

    Attributes:
        verifier: checks bearer tokens; set when the Registry is hosted.
        url: its own address, when it is told; else callers are given back the one they used.
        watch: tells who waits what has changed; holds the records.
    """

    verifier: Verifier

    def __init__(self, *, secret: str, keys: Keys, default: Enrolment) -> None:
        self.secret = secret
        self.keys = keys
        self.keyring: Keyring = Keyring(keys)
        self.ambient: _ids.Ambient = _ids.system()
        self.calls: list[RegistryCall] = []
        self.enrolled: dict[DropletId, Enrolment] = {}
        self.watch: Watch = Watch(
            lambda: self.ambient.wall(), name=self.ambient.new_id()[:8], is_down=lambda: self.is_down
        )
        self.revoked: list[dict[str, Any]] = []  # Any: JSON values
        self.denied: Revocations = Revocations(wall=lambda: self.ambient.wall())
        self.is_down = False
        self.forced: Forced | None = None
        self.url = ""
        self._default = default

    @property
    def records(self) -> Records:
        """What it knows."""
        return self.watch.records

    def table(self) -> Iterable[Endpoint]:
        """The rows of these endpoints."""
        public: list[tuple[str, str, _Handler]] = [
            ("POST", "/register", self._register),
            ("POST", "/auth/token", self._token),
            ("POST", "/heartbeat", self._beat),
            ("POST", "/registry/heartbeat", self._beat),
            ("POST", "/droplets/{id}/heartbeat", self._beat),
            ("POST", "/deregister", self._deregister),
            ("DELETE", "/droplets/{id}", self._delete),
            ("GET", "/.well-known/jwks.json", self._jwks),
            ("GET", "/auth/public-key", self._public_key),
        ]
        read: list[tuple[str, str, _Handler]] = [
            ("GET", "/droplets", self._list),
            ("GET", "/droplets/watch", self._stream),
            ("GET", "/droplet/{id}", self._one),
            ("GET", "/droplets/{id}", self._one),
            ("GET", "/droplets/name/{name}", self._named),
            ("GET", "/auth/revocations", self._revocations),
        ]
        levels: list[tuple[Access, list[tuple[str, str, _Handler]]]] = [("public", public), ("read", read)]
        for access, rows in levels:
            for method, path, handler in rows:
                yield Endpoint(method=method, path=path, access=access, handler=self._noting(handler))

    def _noting(self, handler: _Handler) -> _Handler:
        async def answer(request: HttpRequest) -> Any:  # Any: JSON values
            status = 500
            try:
                forced = self._forced_answer(request)
                found = forced if forced is not None else await handler(request)
                status = found.status if isinstance(found, HttpResponse) else 200
            except ContractError as error:
                status = error.http_status
                raise
            finally:
                self.calls.append(RegistryCall(request.method, request.path, status, _body(request, strict=False)))
            return found

        return answer

    def _forced_answer(self, request: HttpRequest) -> HttpResponse | None:
        if self.is_down:
            return HttpResponse(status=503, media_type=None)
        forced = self.forced
        if forced is None or not request.path.startswith(forced.path) or forced.times == 0:
            return None
        if forced.times is not None:
            forced.times -= 1
        return HttpResponse(status=forced.status, body=b"{}")

    async def _register(self, request: HttpRequest) -> JsonObject:
        body = _body(request)
        droplet_id = record_id(body)
        if droplet_id is None:
            raise InvalidRequest.field("id", "is missing")
        if base_url(body) is None:
            raise InvalidRequest.field("endpoint", "is missing, or no http(s) URL")
        await self._admit_change(request, droplet_id, without_instance="instance_id" not in body)
        instance = self.records.put(droplet_id, body, self.ambient.wall())
        self.watch.changed()
        audience = self.keys.audience
        token = self._sign(
            droplet_id,
            audience=registry_audience(audience) if instance.instance_id else audience,
            instance_id=instance.instance_id,
        )
        record = self.records.row(droplet_id, self.ambient.wall()) or {}
        return {
            **record,
            "token": token,
            "expires_in": self.keys.lifetime_seconds,
            **self._lease(instance),
            "jwks_uri": f"{_origin(request, self.url)}/.well-known/jwks.json",
            "issuer": self.keys.issuer,
            **self._revisions(),
        }

    async def _token(self, request: HttpRequest) -> JsonObject:
        body = _body(request)
        query = {name: values[0] for name, values in request.query.items()}
        asked = canonical_id(body.get("droplet_id") or query.get("droplet_id"), field="droplet_id")
        if body.get("secret", _secret_header(request)) != self.secret:
            raise Unauthorized("the secret is not this droplet's")
        audience = body.get("audience", query.get("audience", self.keys.audience))
        if audience is not None and not isinstance(audience, str):
            raise InvalidRequest.field("audience", "must be a text or null")
        scope = body.get("scope")
        wanted = body.get("permissions")
        token = self._sign(
            asked,
            audience=audience,
            permissions=frozenset(wanted) if isinstance(wanted, list) else None,
            scopes=scope.split() if isinstance(scope, str) else (),
        )
        return {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "algorithm": "RS256",
            "expires_in": self.keys.lifetime_seconds,
            "droplet_id": asked,
        }

    async def _beat(self, request: HttpRequest) -> JsonObject:
        body = _body(request)
        droplet_id = record_id({"id": request.params.get("id"), **body})
        if droplet_id is None:
            raise InvalidRequest.field("droplet_id", "is missing")
        principal = await self._admit_change(request, droplet_id, without_instance="instance_id" not in body)
        self.records.expire(self.ambient.wall())
        instance = self.records.beat(droplet_id, body, self.ambient.wall())
        if instance is None:
            raise NotFound(f"droplet {droplet_id} is not registered here", details={"spread_seconds": 0})
        self.watch.changed()
        answer: dict[str, Any] = {  # Any: JSON values
            "ok": True,
            **self._lease(instance),
            "revision": self.watch.revision,
            **self._revisions(),
        }
        if body.get("record_hash") not in (None, instance.record_hash):
            answer["send_record"] = True
        if principal is not None and self._soon_over(principal):
            answer["token"] = self._sign(droplet_id, audience=principal.audience, instance_id=instance.instance_id)
            answer["expires_in"] = self.keys.lifetime_seconds
        return answer

    async def _deregister(self, request: HttpRequest) -> JsonObject:
        body = _body(request)
        droplet_id = canonical_id(body.get("droplet_id"), field="droplet_id")
        return await self._leave(request, droplet_id, body.get("instance_id"))

    async def _delete(self, request: HttpRequest) -> JsonObject:
        instance_id = request.query.get("instance_id", [None])[0]
        return await self._leave(request, canonical_id(request.params["id"]), instance_id)

    async def _leave(self, request: HttpRequest, droplet_id: DropletId, instance_id: str | None) -> JsonObject:
        await self._admit_change(request, droplet_id, without_instance=instance_id is None)
        self.records.remove(droplet_id, instance_id)
        self.watch.changed()
        return {"ok": True, "droplet_id": droplet_id}

    async def _list(self, request: HttpRequest) -> HttpResponse:
        since = request.query.get("since", [""])[0]
        if since:
            body = await self.watch.poll(request, since, wait_seconds(request.query))
        else:
            body = canonical_json(self.watch.rows(Filter.of(request.query)))
        if self.is_down:  # it went while this caller waited
            return HttpResponse(status=503, media_type=None)
        return HttpResponse(body=body, headers=self.watch.headers)

    async def _stream(self, request: HttpRequest) -> HttpResponse:
        since = request.headers.get("last-event-id") or request.query.get("since", [""])[0]
        return HttpResponse(
            media_type="text/event-stream",
            headers=(*self.watch.headers, ("Cache-Control", "no-store")),
            body=self.watch.stream(request, since),
        )

    async def _one(self, request: HttpRequest) -> JsonObject:
        self.records.expire(self.ambient.wall())
        row = self.records.row(canonical_id(request.params["id"]), self.ambient.wall())
        if row is None:
            raise NotFound(f"droplet {request.params['id']} is not registered here")
        return row

    async def _named(self, request: HttpRequest) -> JsonObject:
        name = request.params["name"]
        for row in self.watch.rows(Filter(name=[name])):
            return row
        raise NotFound(f"no droplet called {name!r} is registered here")

    async def _jwks(self, _: HttpRequest) -> JsonObject:
        return {"keys": [key.jwk() for key in self.keyring.published]}

    async def _public_key(self, _: HttpRequest) -> JsonObject:
        keys = [{**key.jwk(), "pem": key.public_pem} for key in self.keyring.published]
        return {"keys": keys, "public_key": keys[-1]["pem"]}

    async def _revocations(self, _: HttpRequest) -> JsonObject:
        return {"revision": len(self.revoked), "revoked": list(self.revoked)}

    async def _admit_change(
        self, request: HttpRequest, droplet_id: DropletId, *, without_instance: bool
    ) -> Principal | None:
        """Let through whoever may change a droplet's record; `None` = by the secret.

        Raises:
            Unauthorized: neither the secret nor a good token.
            Forbidden: a token for something else, or of somebody else.
        """
        shown = _secret_header(request)
        if shown is not None:
            if shown != self.secret:
                raise Unauthorized("the secret is not this droplet's")
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        principal = await self.verifier.verify(token.strip() if scheme.lower() == "bearer" else "")
        audiences = {registry_audience(self.keys.audience)} | ({self.keys.audience} if without_instance else set())
        if principal.audience not in audiences:
            raise Forbidden("the token is for another audience", details={"audience": sorted(audiences)})
        if not same_droplet(principal.droplet_id, droplet_id) and not principal.may("admin"):
            raise Forbidden(f"the token is of {principal.droplet_id}, not of {droplet_id}")
        return principal

    def _sign(
        self,
        droplet_id: DropletId,
        *,
        audience: str | None,
        permissions: frozenset[str] | None = None,
        scopes: Iterable[str] = (),
        instance_id: str | None = None,
    ) -> str:
        enrolled = self.enrolled.get(droplet_id, self._default)
        allowed = enrolled.permissions if permissions is None else implied(enrolled.permissions) & permissions
        granted = scopes if enrolled.scopes is None else enrolled.scopes.intersection(scopes)
        return self.keys.token(
            droplet_id=droplet_id, permissions=allowed, scopes=granted, aud=audience, instance_id=instance_id
        )

    def _soon_over(self, principal: Principal) -> bool:
        return principal.expires_at - self.ambient.wall() < _RENEW_BELOW * self.keys.lifetime_seconds

    def _lease(self, instance: Instance) -> JsonObject:
        lease = OUR_LEASE_SECONDS if instance.instance_id else FOREIGN_LEASE_SECONDS
        return {"lease_ttl_seconds": lease, "beat_every_seconds": _BEAT_SECONDS}

    def _revisions(self) -> JsonObject:
        """What beats tell, so that droplets fetch what is new."""
        return {"keys_revision": self.keyring.revision, "revocations_revision": len(self.revoked)}


def _body(request: HttpRequest, *, strict: bool = True) -> JsonObject:
    """The JSON object of a body; an empty one when there is none.

    Raises:
        InvalidRequest: it is no JSON object (where `strict`).
    """
    try:
        return parse_object(request.body or b"{}")
    except InvalidRequest:
        if strict:
            raise
        return {}


def _secret_header(request: HttpRequest) -> str | None:
    return request.headers.get("x-droplet-secret") or request.headers.get("x-registry-key")


def _origin(request: HttpRequest, configured: str) -> str:
    return configured.rstrip("/") or f"{request.scheme}://{request.headers.get('host', 'localhost')}"
