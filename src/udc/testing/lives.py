"""One life of one droplet on the memory network: started, stopped, or killed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.abc import TaskStatus

from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc._sqlite import Database
from udc.instrument import Event, Hook, PhaseChanged, RegistrationAccepted, RegistrationFailed
from udc.lifecycle import SERVING
from udc.transports.memory import MemoryNetwork

if TYPE_CHECKING:
    from udc._wiring.hosted import Hosted

T = TypeVar("T")

Headers = tuple[tuple[str, str], ...]


class Killed(Exception):
    """A droplet that was killed tried to speak: no exception that its code could take for an answer."""


class Line:
    """A droplet's way out, into the network and onto its disk; cut when it is killed."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._under_way: set[anyio.CancelScope] = set()
        self.dead: bool = False

    def make_client(self) -> HttpClient:
        """An HTTP client that speaks over this line."""
        return HttpClient(transport_factory=lambda: FunctionTransport(self._exchange))

    def open_database(
        self, path: Path | str, migrations: Sequence[str], *, threads: bool = True
    ) -> AbstractAsyncContextManager[Database]:
        """A database that takes no more writes once the droplet has been killed."""
        line = self

        class Mortal(Database):
            synchronous = "OFF"  # what a killed process has written is there all the same

            async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
                if line.dead:
                    raise sqlite3.OperationalError("this droplet was killed by the test")
                return await super().write(fn)

        return Mortal.open(path, migrations, threads=threads)

    def cut(self) -> None:
        """Nothing gets out or is written any more, and nothing under way comes back."""
        self.dead = True
        for scope in self._under_way:
            scope.cancel()

    def while_alive(self, hook: Hook) -> Hook:
        """The hook, deaf to what a killed droplet still does while it unwinds."""

        def listen(event: Event, /) -> None:
            if not self.dead:
                hook(event)

        return listen

    async def _exchange(self, method: str, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        if not self.dead:
            with anyio.CancelScope() as scope:
                self._under_way.add(scope)
                try:
                    return await self._network.exchange(method, url, headers, body)
                finally:
                    self._under_way.discard(scope)
        raise Killed("this droplet was killed by the test")


class Arrival:
    """A hook that learns how the first registration of a life went, once the droplet was ready for it."""

    def __init__(self) -> None:
        self._ready = False
        self._accepted = False
        self._told = anyio.Event()

    def __call__(self, event: Event, /) -> None:
        """Take an event of that life."""
        if isinstance(event, PhaseChanged):
            self._ready = self._ready or event.after in SERVING
        elif self._ready and isinstance(event, RegistrationAccepted | RegistrationFailed):
            self._accepted = self._accepted or isinstance(event, RegistrationAccepted)
            self._told.set()

    async def registered(self) -> bool:
        """Wait for the first attempt; whether it succeeded."""
        await self._told.wait()
        return self._accepted


class Life:
    """Runs a hosted droplet in a task of its own.

    Attributes:
        error: what it ended with; `None` for a good end, and for a killed one.
        over: set when it has ended.
    """

    def __init__(self, hosted: Hosted, *, endpoint: str, line: Line, network: MemoryNetwork) -> None:
        self.hosted = hosted
        self.error: Exception | None = None
        self.over: anyio.Event = anyio.Event()
        self._endpoint = endpoint
        self._line = line
        self._network = network
        self._scope = anyio.CancelScope()
        self._settled = anyio.Event()
        self._listening = False

    @property
    def killed(self) -> bool:
        """Whether `kill` has ended it."""
        return self._line.dead

    async def run(self) -> None:
        """Live. Raises nothing but cancellation; see `error`."""
        try:
            with self._scope:
                await self.hosted.serve(task_status=_Listen(self))
        except Exception as error:  # noqa: BLE001 - a border: kept for whoever started or stops it
            self.error = None if self._line.dead else error
        finally:
            if self._listening:
                self._network.unregister(self._endpoint)
            self._settled.set()
            self.over.set()

    async def started(self) -> None:
        """Wait until it listens.

        Raises:
            Exception: what its start raised.
        """
        await self._settled.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def kill(self) -> None:
        """End it like `kill -9`, as far as anybody else can tell."""
        self._line.cut()
        if self._listening:
            self._network.crash(self._endpoint)
            self._listening = False
        self._scope.cancel()

    def listen(self) -> None:
        """It is ready: open its endpoint."""
        if not self._line.dead:
            self._network.register(self._endpoint, self.hosted.surface)
            self._listening = True
        self._settled.set()


class _Listen(TaskStatus[None]):
    """What a droplet tells that it is ready."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def started(self, value: None = None) -> None:
        self._life.listen()
