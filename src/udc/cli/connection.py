"""How the commands speak to a mesh: as the operator, with a token of its Registry."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

import anyio

from udc._http import HttpAnswer, HttpClient
from udc._ids import system
from udc._types import DropletId, JsonObject
from udc.cli.faults import Usage
from udc.cli.place import Place
from udc.directory import StaticDirectory
from udc.discovery import Discovery
from udc.errors import CallTimeout, InvalidReply, InvalidRequest, PeerError
from udc.identity._base import TokenSource
from udc.identity.audiences import foreign_narrowed
from udc.identity.origin import require_secure
from udc.identity.sources import FixedToken, RegistryTokens
from udc.identity.tokens import TokenKeeper
from udc.instrument import Instrument
from udc.messages import Peer
from udc.transports._exchange import audiences
from udc.wire.faults import decode_error
from udc.wire.records import read_records, to_peer

T = TypeVar("T")

REGISTRY: Final = "the Registry"


class Operator:
    """The operator's connection to a mesh; made by `speak`.

    Args:
        client: open.
        seconds: how long any one request may take.
    """

    def __init__(self, place: Place, client: HttpClient, *, seconds: float) -> None:
        self.place: Place = place
        self.client: HttpClient = client
        self.seconds: float = seconds
        self.insecure_hosts: frozenset[str] = frozenset(place.config.security.insecure_hosts)
        require_secure(place.registry, self.insecure_hosts)
        self.id: DropletId = place.config.operator.id
        self.tokens: TokenKeeper = TokenKeeper(self._source(), ambient=system(), instrument=Instrument([]))
        self.audience_of: Callable[[Peer], str | None] = audiences(place.config.security.jwt_audience)

    def _source(self) -> TokenSource:
        place = self.place
        if place.config.security.token is not None:
            return FixedToken(place.config.security.token.reveal(), ambient=system())
        if place.secret is None:
            raise Usage(
                f"no secret for {place.registry}: none lies in the data directory {place.data.root} (--data), and "
                "neither UDC_DROPLET__SECRET nor UDC_SECURITY__TOKEN is set"
            )
        return RegistryTokens(
            place.registry,
            droplet_id=self.id,
            secret=place.secret,
            post=self._post,
            ambient=system(),
            insecure_hosts=self.insecure_hosts,
            narrow=foreign_narrowed(place.config.security.jwt_audience, place.config.security.foreign_permissions),
        )

    async def _post(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        answer = await self.request("POST", url, headers=headers, content=body, peer=REGISTRY)
        return answer.status, answer.body

    async def request(
        self,
        method: str,
        url: str,
        *,
        peer: DropletId,
        headers: tuple[tuple[str, str], ...] = (),
        content: bytes | None = None,
    ) -> HttpAnswer:
        """One request within the time.

        Raises:
            DeliveryError: no answer.
        """
        with anyio.move_on_after(self.seconds):
            return await self.client.request(method, url, headers=headers, content=content, peer=peer)
        raise CallTimeout(f"{peer} did not answer within {self.seconds:g} s", peer=peer)

    async def token(self, asked: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
        """A token of the Registry for any droplet, with the secret.

        Raises:
            PeerError: it says no.
            DeliveryError: no answer.
        """
        if self.place.secret is None:
            raise Usage(f"a token needs the Registry's secret, and none lies in {self.place.data.root} (--data)")
        answer = await self.request(
            "POST",
            f"{self.place.registry}/auth/token",
            headers=(("Content-Type", "application/json"), ("X-Droplet-Secret", self.place.secret)),
            content=json.dumps({**asked, "secret": self.place.secret}).encode(),
            peer=REGISTRY,
        )
        return _object(answer, REGISTRY)

    async def rows(self, query: str = "") -> list[JsonObject]:
        """The Registry's rows.

        Raises:
            PeerError, TokenError: it says no.
            DeliveryError: no answer.
        """
        answer = await self.get(Peer(endpoint=self.place.registry, name=REGISTRY), f"/droplets{query}")
        if answer.status != HTTPStatus.OK:
            raise refusal(answer, REGISTRY)
        try:
            return [dict(record) for record in read_records(answer.body)]
        except InvalidRequest as error:
            raise InvalidReply(f"{REGISTRY} answered with no list of droplets: {error}", peer=REGISTRY) from error

    async def get(self, peer: Peer, path: str) -> HttpAnswer:
        """Ask a peer, with a token that is good for it."""
        require_secure(peer.endpoint, self.insecure_hosts)
        token = await self.tokens.get(self.audience_of(peer))
        bearer = (("Authorization", f"Bearer {token.value}"),)
        return await self.request("GET", f"{peer.endpoint}{path}", headers=bearer, peer=peer.label)

    async def finder(self) -> Discovery:
        """Everybody that the Registry knows, to be found as droplets find each other: by id, name or capability.

        Raises:
            PeerError, TokenError, DeliveryError: as `rows` does.
        """
        found = Discovery(StaticDirectory(), ambient=system(), instrument=Instrument([]), threads=False)
        found.take(await self.rows())
        return found

    async def directory(self) -> StaticDirectory:
        """Everybody that the Registry knows, to be found by id or name."""
        peers: dict[Any, Peer] = {}  # Any: ids
        for row in await self.rows():
            try:
                peer = to_peer(row)
            except InvalidRequest:
                continue  # nobody can call it
            peers.setdefault(peer.id, peer)
        return StaticDirectory(peers.values())


def speak(place: Place, what: Callable[[Operator], Awaitable[T]], *, seconds: float) -> T:
    """Do something with a connection to the mesh, to its end."""

    async def main() -> T:
        async with HttpClient() as client:
            return await what(Operator(place, client, seconds=seconds))

    return anyio.run(main)


def refusal(answer: HttpAnswer, peer: DropletId) -> PeerError:
    """The error that an answer holds."""
    return decode_error(answer.body, status=answer.status, headers=answer.headers, peer=peer)


def _object(answer: HttpAnswer, peer: DropletId) -> dict[str, Any]:  # Any: JSON values
    if answer.status != HTTPStatus.OK:
        raise refusal(answer, peer)
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidReply(f"{peer} answered with something that is no JSON object", peer=peer)
    return found
