"""Who calls the Registry, and what they may change (contract section 6, "Access")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from udc._types import DropletId
from udc.config import is_loopback
from udc.errors import Forbidden, InvalidRequest, Unauthorized
from udc.identity._base import Verifier
from udc.identity.claims import Principal
from udc.mesh.registry import bodies
from udc.mesh.registry.credentials import Credentials, Rights
from udc.mesh.registry.mint import Mint
from udc.surface._base import HttpRequest
from udc.surface._query import QueryParameter
from udc.surface.guard import bearer_of
from udc.wire.ids import canonical_id

_HEADERS: Final = ("x-droplet-secret", "x-registry-key")
_HINT: Final = "send your secret as X-Droplet-Secret, or the token that /register or a beat gave you"

NAMED: Final = QueryParameter("droplet_id", int | str, description="Whose secret it is; by default the body's.")
"""What `named_in` reads."""


class Authority:
    """Finds out who calls, by secret or token, and says what they may do.

    Args:
        loopback: only this machine can reach the Registry.
        host: the Registry's own, as its URL names it.
        anonymous: callers without credential may join with ids that nobody else holds, and read.
        held: whether somebody with a credential is registered under the id.
        foreign: whether all who are registered under the id know no instances.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        verifier: Verifier,
        mint: Mint,
        loopback: bool,
        host: str,
        anonymous: bool,
        held: Callable[[DropletId], bool],
        foreign: Callable[[DropletId], bool],
    ) -> None:
        self._credentials, self._verifier, self._mint = credentials, verifier, mint
        self._loopback, self._host, self._anonymous = loopback, host, anonymous
        self._held, self._foreign = held, foreign

    def development(self, request: HttpRequest) -> bool:
        """Whether the development secret counts: bound to loopback, and nobody sees the caller come from elsewhere."""
        return self._loopback and (request.client is None or is_loopback(request.client))

    def rights_of(self, request: HttpRequest, droplet_id: DropletId) -> Rights | None:
        """What a droplet that has proved who it is may have in its tokens now."""
        return self._credentials.rights_of(droplet_id, development=self.development(request))

    async def reader(self, request: HttpRequest) -> Principal:
        """Who reads: by token, by secret, or anybody where that is allowed.

        Raises:
            Unauthorized: a bad credential, or none where one is needed.
        """
        bearer = bearer_of(request)
        if bearer:
            return await self._verifier.verify(bearer)
        secret = secret_of(request)
        if secret:
            return self._by_secret(request, secret)
        return self._nobody(request)

    async def changer(self, request: HttpRequest) -> Principal:
        """Who changes something; `check_change` says whether they may.

        Raises:
            Unauthorized: as for `reader`.
        """
        return await self.reader(request)

    async def enroller(self, request: HttpRequest) -> Principal:
        """Who registers or wants a token: proved by the secret alone.

        Raises:
            Unauthorized: the secret is wrong, or missing where one is needed.
            InvalidRequest: nobody is named.
        """
        fields = bodies.fields_of(request)
        secret = secret_of(request) or _text(fields.get("secret"))
        if not secret and request.path.endswith("/auth/token"):
            raise Unauthorized("the droplet's secret is missing", hint="send it as 'secret' or X-Droplet-Secret")
        if not secret:
            return self._nobody(request)
        droplet_id = named_in(request, fields)
        rights = self._credentials.proves(droplet_id, secret, development=self.development(request))
        if rights is None:
            raise Unauthorized(
                "this secret does not prove that droplet",
                hint="check the droplet's secret; beyond a development mesh on this machine it must be enrolled first",
            )
        return self._principal(droplet_id, rights)

    def check_change(self, caller: Principal, droplet_id: DropletId) -> None:
        """Refuse who may not change that droplet's registrations.

        Raises:
            Unauthorized: nobody proved anything, and the id is somebody's.
            Forbidden: it is somebody else's id, or the token is not for changing the Registry.
        """
        if caller.anonymous:
            if self._held(droplet_id) or self._credentials.knows(droplet_id):
                raise Unauthorized(f"droplet {droplet_id} has a credential; show it", hint=_HINT)
            return
        own = caller.droplet_id == droplet_id
        if caller.audience == self._mint.registry:
            if own or caller.may("admin"):
                return
            raise Forbidden(f"droplet {caller.droplet_id} may not change droplet {droplet_id}")
        if caller.audience == self._mint.mesh and own and self._foreign(droplet_id):
            return
        raise Forbidden("changes need the secret or a token of the Registry's audience", hint=_HINT)

    def check_admin(self, caller: Principal) -> None:
        """Refuse who may not administer the Registry.

        Raises:
            Forbidden: no admin, or not by a credential for changing the Registry.
        """
        if caller.anonymous or caller.audience != self._mint.registry or not caller.may("admin"):
            raise Forbidden("this needs admin, by the secret or a token of the Registry's audience", hint=_HINT)

    def _by_secret(self, request: HttpRequest, secret: str) -> Principal:
        owner = self._credentials.owner(secret, development=self.development(request))
        if owner is None:
            raise Unauthorized("this secret is not known here", hint=_HINT)
        return self._principal(*owner)

    def _principal(self, droplet_id: DropletId | None, rights: Rights) -> Principal:
        return Principal(
            subject="development" if droplet_id is None else f"droplet-{droplet_id}",
            droplet_id=droplet_id,
            issuer=self._mint.issuer,
            permissions=rights.permissions,
            scopes=rights.scopes or frozenset(),
            audience=self._mint.registry,
        )

    def _by_another_name(self, request: HttpRequest) -> bool:
        """Whether a web page speaks, which had its own name resolved to this machine (DNS rebinding)."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        return self._loopback and bool(host) and host != self._host and not is_loopback(host)

    def _nobody(self, request: HttpRequest) -> Principal:
        if not self._anonymous or self._by_another_name(request):
            raise Unauthorized("there is neither a bearer token nor a secret", hint=_HINT)
        return Principal(
            subject="anonymous",
            droplet_id=None,
            issuer=self._mint.issuer,
            permissions=frozenset({"read"}),
            anonymous=True,
        )


def secret_of(request: HttpRequest) -> str:
    """The secret in the headers; an empty one when there is none."""
    return next((request.headers[name] for name in _HEADERS if request.headers.get(name)), "")


def named_in(request: HttpRequest, fields: dict[str, object]) -> DropletId:
    """The droplet that a query or a body names.

    Raises:
        InvalidRequest: none.
    """
    asked = request.query.get("droplet_id")
    return canonical_id(asked[0], field="droplet_id") if asked else bodies.id_of(fields)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest.field("secret", "must be a string")
    return value
