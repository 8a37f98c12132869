"""`World`: a running mesh as a test sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from udc._http import HttpClient
from udc._http.memory import FunctionTransport
from udc._ids import Ambient
from udc._types import UNSET, DropletId, Unset
from udc.clients.peer_http import PeerHttp
from udc.context import Context
from udc.dispatch.contexts import Contexts
from udc.droplet import Droplet
from udc.identity._base import TokenSource
from udc.identity.audiences import DEFAULT_AUDIENCE, own_audience
from udc.identity.tokens import TokenKeeper
from udc.instrument import Hook, Instrument
from udc.messenger import Errands, Messenger
from udc.testing.answers import Answer
from udc.testing.faults import Faults
from udc.testing.house import House
from udc.testing.keys import ALL_PERMISSIONS, OPERATOR_ID
from udc.testing.members import Instance
from udc.testing.orchestrator import FakeOrchestrator
from udc.testing.outside import Everybody, Granted, Signed
from udc.testing.recorder import Recorder
from udc.testing.registry import FakeRegistry
from udc.testing.roster import Who
from udc.transports.http import HttpTransport, audiences
from udc.wire.canonical import canonical_json

__all__ = ["World"]

_CALL_SECONDS: Final = 10.0

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
        self._ambient = house.ambient(CLIENT)
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
        """The mesh's Registry.

        Raises:
            TypeError: it is not a fake one.
        """
        return self._house.fake_registry

    @property
    def orchestrator(self) -> FakeOrchestrator:
        """The mesh's Orchestrator.

        Raises:
            TypeError: it is not a fake one.
        """
        droplet = self._house.orchestrator.droplet
        if not isinstance(droplet, FakeOrchestrator):
            raise TypeError(f"the Orchestrator of this mesh is a {type(droplet).__name__}, not a FakeOrchestrator")
        return droplet

    def now(self) -> datetime:
        """The mesh's wall clock; it follows the event loop's, in virtual time too."""
        return datetime.fromtimestamp(self._house.wall(), UTC)

    def droplet(self, who: Who) -> Droplet:
        """The droplet of that id or name, as it lives now.

        Raises:
            UnknownPeer: there is none, or it has several instances.
        """
        return self._house.roster.one(who).droplet

    def endpoint(self, who: Who) -> str:
        """A droplet's base URL in the mesh.

        Raises:
            UnknownPeer: there is none, or it has several instances.
        """
        return self._house.roster.one(who).endpoint

    def instances(self, who: Who) -> list[Instance]:
        """All instances of a droplet, in the order in which they came; those that have ended too.

        Raises:
            UnknownPeer: there is no such droplet.
        """
        return [each.instance for each in self._house.roster.instances(self._house.roster.find(who)[0])]

    async def start(self, droplet: Droplet | Callable[[], Droplet]) -> Instance:
        """Start one more droplet, or one more instance of a droplet that the mesh has already.

        The others know it when this returns, if the Registry could tell them.

        Args:
            droplet: as for `mesh`.

        Raises:
            ConfigError: it shares an id or a name with another one, but not both.
            Exception: what its start raised; then the mesh is as before.
        """
        return (await self._house.add(droplet)).instance

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
        source = self._source(ambient, droplet_id, tuple(permissions), tuple(scopes))
        tokens = TokenKeeper(source, ambient=ambient, instrument=instrument)
        shown = audiences(self._audience)
        everybody = Everybody(lambda: self._house.roster.members, chance=ambient.chance)
        messenger = Messenger(
            everybody,
            {"https": HttpTransport(self._http, tokens, audience_of=shown)},
            me=droplet_id,
            ambient=ambient,
            instrument=instrument,
        )
        http = PeerHttp(self._http, tokens, audience_of=shown)
        errands = Errands(everybody, http, ambient=ambient, timeout_seconds=_CALL_SECONDS)
        return Contexts(sender=messenger, ambient=ambient, courier=errands).mesh()

    def token(
        self,
        *,
        droplet_id: DropletId | None = OPERATOR_ID,
        permissions: Iterable[str] = ALL_PERMISSIONS,
        scopes: Iterable[str] = (),
        **claims: Any,  # Any: JSON values, wrong ones included
    ) -> str:
        """A token signed with the Registry's key, for the whole mesh; see `Keys.token`.

        Raises:
            TypeError: the Registry is not a fake one; ask it (`POST /auth/token`).
        """
        return self.registry.keys.token(droplet_id=droplet_id, permissions=permissions, scopes=scopes, **claims)

    async def request(
        self,
        method: str,
        who: Who,
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
            UnknownPeer: the mesh has no such droplet, or several instances of it.
            PeerUnreachable, ConnectionLost: it does not listen, or died over it.
            ValueError: both `json` and `content`.
        """
        if json is not UNSET and content is not None:
            raise ValueError("give the body either as json or as content")
        member = self._house.roster.one(who)
        all_headers = list(headers)
        if isinstance(token, Unset):
            token = await self._operator_token(own_audience(self._audience, member.id))
        if token is not None:
            all_headers.append(("authorization", f"Bearer {token}"))
        if json is not UNSET:
            content = canonical_json(json)
            all_headers.append(("content-type", "application/json"))
        answer = await self._http.request(
            method, f"{member.endpoint}{path}", headers=all_headers, content=content, peer=member.name
        )
        return Answer(answer.status, answer.headers, answer.body)

    async def stop(self, who: Who) -> None:
        """Stop a droplet gracefully, all its instances side by side: it drains, leaves, and listens no more.

        Raises:
            Exception: what its stop raised; an `ExceptionGroup` of all that its stop hooks did, or its instances.
        """
        members = self._house.roster.find(who)
        errors = await self._house.stop_all(members)
        if errors:
            raise errors[0] if len(members) == 1 else ExceptionGroup("instances failed to stop", errors)

    @property
    def _audience(self) -> str:
        """Of tokens for the whole mesh."""
        droplet = self._house.registry.droplet
        return droplet.keys.audience if isinstance(droplet, FakeRegistry) else DEFAULT_AUDIENCE

    def _source(
        self, ambient: Ambient, droplet_id: DropletId, permissions: tuple[str, ...], scopes: tuple[str, ...]
    ) -> TokenSource:
        house = self._house
        if isinstance(house.registry.droplet, FakeRegistry):
            return Signed(house.registry.droplet.keys, ambient, droplet_id, permissions, scopes)
        return Granted(
            house.registry.endpoint,
            self._http,
            ambient,
            secret=lambda: house.secret,
            droplet_id=droplet_id,
            permissions=permissions,
            scopes=scopes,
        )

    async def _operator_token(self, audience: str) -> str:
        source = self._source(self._ambient, OPERATOR_ID, tuple(ALL_PERMISSIONS), ())
        return (await source.fetch(audience)).value
