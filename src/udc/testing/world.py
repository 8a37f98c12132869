"""`World`: a running mesh as a test sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from udc._http import HttpClient
from udc._http.memory import FunctionTransport
from udc._ids import Ambient
from udc._types import UNSET, DropletId, Unset
from udc.context import Context
from udc.directory import StaticDirectory
from udc.dispatch.contexts import Contexts
from udc.droplet import Droplet
from udc.identity._base import Token
from udc.identity.audiences import own_audience
from udc.identity.tokens import TokenKeeper
from udc.instrument import Hook, Instrument
from udc.messages import Peer
from udc.messenger import Messenger
from udc.testing.answers import Answer
from udc.testing.faults import Faults
from udc.testing.house import House
from udc.testing.keys import ALL_PERMISSIONS, OPERATOR_ID, Keys
from udc.testing.orchestrator import FakeOrchestrator
from udc.testing.recorder import Recorder
from udc.testing.registry import FakeRegistry
from udc.transports.http import HttpTransport, audiences
from udc.wire.canonical import canonical_json

__all__ = ["World"]

CLIENT: Final = "client"
"""How the recorder calls the test's own side."""


class World:
    """What `async with mesh(...) as world` gives.

    Attributes:
        client: calls droplets as the operator, who may do everything: `await world.client.query("Resizer", …)`.
        events: every `udc.instrument` event of every droplet, and of the client.
        faults: breaks things.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._http = HttpClient(transport_factory=lambda: FunctionTransport(house.network.exchange))
        self._clients = 0
        self.events: Recorder = house.events
        self.faults: Faults = Faults(house)
        self.client: Context = self.client_for()

    async def open(self) -> None:
        """For `mesh`: the client's side begins."""
        await self._http.__aenter__()

    async def close(self) -> None:
        """For `mesh`: the client's side ends."""
        await self._http.__aexit__(None, None, None)

    @property
    def registry(self) -> FakeRegistry:
        """The mesh's Registry."""
        return self._house.fake_registry

    @property
    def orchestrator(self) -> FakeOrchestrator:
        """The mesh's Orchestrator."""
        droplet = self._house.orchestrator.droplet
        if not isinstance(droplet, FakeOrchestrator):
            raise TypeError("the Orchestrator of a mesh is a FakeOrchestrator")
        return droplet

    def now(self) -> datetime:
        """The mesh's wall clock; it follows the event loop's, in virtual time too."""
        return datetime.fromtimestamp(self._house.wall(), UTC)

    def droplet(self, who: DropletId | Droplet) -> Droplet:
        """The droplet of that id or name, as it lives now.

        Raises:
            UnknownPeer: there is none.
        """
        return self._house.find(who).droplet

    def endpoint(self, who: DropletId | Droplet) -> str:
        """A droplet's base URL in the mesh.

        Raises:
            UnknownPeer: there is none.
        """
        return self._house.find(who).endpoint

    def client_for(
        self,
        *,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        droplet_id: DropletId = OPERATOR_ID,
        scopes: Iterable[str] = (),
    ) -> Context:
        """A client whose tokens say something else.

        Args:
            permissions: of `read`, `write`, `admin`.
            droplet_id: who it is.
            scopes: named rights beyond the permissions.
        """
        self._clients += 1
        ambient = self._house.ambient(f"{CLIENT}/{self._clients}")
        hook: Hook = self.events.hook(CLIENT)
        instrument = Instrument([hook])
        source = _Signed(self.registry.keys, ambient, droplet_id, tuple(permissions), tuple(scopes))
        transport = HttpTransport(
            self._http,
            TokenKeeper(source, ambient=ambient, instrument=instrument),
            audience_of=audiences(self.registry.keys.audience),
        )
        messenger = Messenger(
            StaticDirectory([Peer(**peer) for peer in self._house.peers_of(None)]),
            {"https": transport},
            me=droplet_id,
            ambient=ambient,
            instrument=instrument,
        )
        return Contexts(sender=messenger, ambient=ambient).mesh()

    def token(
        self,
        *,
        droplet_id: DropletId | None = OPERATOR_ID,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        scopes: Iterable[str] = (),
        **claims: Any,  # Any: JSON values, wrong ones included
    ) -> str:
        """A token signed with the Registry's key, for the whole mesh; see `Keys.token`."""
        return self.registry.keys.token(droplet_id=droplet_id, permissions=permissions, scopes=scopes, **claims)

    async def request(
        self,
        method: str,
        who: DropletId | Droplet,
        path: str,
        *,
        json: Any = UNSET,  # Any: JSON values
        content: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        token: str | Unset | None = UNSET,
    ) -> Answer:
        """Send a plain HTTP request to a droplet and return its answer, whatever the status.

        Args:
            method: upper case.
            who: its id or name, or itself.
            path: from the droplet's root, with the query.
            json: the body, to be written as JSON.
            content: the body as it is.
            headers: further ones.
            token: the bearer; `None` = none. Without it, the operator's for that droplet.

        Raises:
            UnknownPeer: the mesh has no such droplet.
            PeerUnreachable, ConnectionLost: it does not listen, or died over it.
            ValueError: both `json` and `content`.
        """
        if json is not UNSET and content is not None:
            raise ValueError("give the body either as json or as content")
        member = self._house.find(who)
        all_headers = list(headers)
        if isinstance(token, Unset):
            token = self.token(aud=own_audience(self.registry.keys.audience, member.id))
        if token is not None:
            all_headers.append(("authorization", f"Bearer {token}"))
        if json is not UNSET:
            content = canonical_json(json)
            all_headers.append(("content-type", "application/json"))
        answer = await self._http.request(
            method, f"{member.endpoint}{path}", headers=all_headers, content=content, peer=member.name
        )
        return Answer(answer.status, answer.headers, answer.body)

    async def stop(self, who: DropletId | Droplet) -> None:
        """Stop one droplet gracefully: it drains, leaves, and listens no more.

        Raises:
            Exception: what its stop raised; an `ExceptionGroup` of all that its stop hooks did.
        """
        await self._house.stop(self._house.find(who))


class _Signed:
    """Tokens signed on the spot with the Registry's key (implements `TokenSource`)."""

    def __init__(
        self, keys: Keys, ambient: Ambient, droplet_id: DropletId, permissions: Sequence[str], scopes: Sequence[str]
    ) -> None:
        self._keys = keys
        self._ambient = ambient
        self._droplet_id = droplet_id
        self._permissions = permissions
        self._scopes = scopes

    async def fetch(self, audience: str | None) -> Token:
        now = self._ambient.wall()
        value = self._keys.token(
            droplet_id=self._droplet_id, permissions=self._permissions, scopes=self._scopes, aud=audience
        )
        return Token(value=value, issued_at=now, expires_at=now + self._keys.lifetime_seconds)
