"""The mesh as the demo sees it: from outside, as the operator, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from udc import Context
from udc import config as configuration
from udc._http import HttpClient
from udc._ids import system
from udc._types import JsonObject
from udc.cli.connection import Operator
from udc.cli.faults import Usage
from udc.cli.place import Place
from udc.cli.tasking import orchestrator
from udc.clients.orchestrator import OrchestratorClient
from udc.clients.peer_http import PeerHttp
from udc.datadir import DataDirectory
from udc.directory import StaticDirectory
from udc.dispatch.contexts import Contexts
from udc.instrument import Instrument
from udc.messenger import Errands, Messenger
from udc.transports.http import HttpTransport

_SECONDS: Final = 5.0
"""How long any one answer may take."""


class Seen(Protocol):
    """What the demo needs of a mesh."""

    @property
    def client(self) -> Context:
        """Calls droplets as the operator."""
        ...

    @property
    def tasks(self) -> OrchestratorClient:
        """The mesh's Orchestrator."""
        ...

    def found(self) -> str:
        """Find the mesh, anew after a restart; returns the Registry's URL.

        Raises:
            Usage: there is none.
        """
        ...

    async def look(self) -> None:
        """Ask the Registry who is there, for the calls that follow: they go on without it."""
        ...

    async def rows(self) -> list[JsonObject]:
        """Who is there, as the Registry tells it."""
        ...


class Running:
    """The mesh that runs from a data directory. Implements `Seen`.

    Args:
        http: open.
    """

    def __init__(self, data: Path, http: HttpClient) -> None:
        self._data = DataDirectory(data)
        self._http = http
        self._operator: Operator | None = None
        self._directory = StaticDirectory()
        self._client: Context | None = None
        self._tasks: OrchestratorClient | None = None

    @property
    def client(self) -> Context:
        """See `Seen.client`."""
        if self._client is None:
            raise Usage("the mesh has not been looked at yet")
        return self._client

    def found(self) -> str:
        """See `Seen.found`."""
        mesh = self._data.read_mesh()
        if mesh is None or mesh.registry is None:
            raise Usage(f"no mesh runs from {self._data.root}")
        config = configuration.load(explicit={"data": self._data.root}, environ={}, file=None).config
        place = Place(registry=mesh.registry, config=config, data=self._data, secret=self._data.secret())
        self._operator = Operator(place, self._http, seconds=_SECONDS)
        self._client = self._client_of(self._operator)
        return mesh.registry

    def _client_of(self, operator: Operator) -> Context:
        transport = HttpTransport(self._http, operator.tokens, audience_of=operator.audience_of)
        messenger = Messenger(
            self._directory,
            {"http": transport},
            me=operator.id,
            ambient=system(),
            instrument=Instrument([]),
            timeout_seconds=_SECONDS,
        )
        http = PeerHttp(self._http, operator.tokens, audience_of=operator.audience_of)
        errands = Errands(self._directory, http, ambient=system(), timeout_seconds=_SECONDS)
        return Contexts(sender=messenger, courier=errands, ambient=system()).mesh()

    async def rows(self) -> list[JsonObject]:
        """See `Seen.rows`."""
        return await self._connected.rows()

    async def look(self) -> None:
        """See `Seen.look`."""
        operator = self._connected
        self._directory.replace((await operator.directory()).peers)
        self._tasks = await orchestrator(operator)

    @property
    def tasks(self) -> OrchestratorClient:
        """See `Seen.tasks`."""
        if self._tasks is None:
            raise Usage("the mesh has not been looked at yet")
        return self._tasks

    @property
    def _connected(self) -> Operator:
        if self._operator is None:
            raise Usage("the mesh has not been looked for yet")
        return self._operator
