"""Where the adapters' contract suite has its droplets served: every adapter, in memory and on real ports.

All of them run in the test's own event loop, so a test can look into its droplet; `test_programs.py` has real
processes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import httpcore2
import httpx2
import uvicorn
from aiohttp import web
from anyio.abc import TaskStatus
from fastapi import FastAPI
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from starlette.applications import Starlette

import udc.aiohttp
import udc.fastapi
import udc.starlette
from tests.contract.served import Client, Connection, Life, MemoryClient, SocketClient, http_scope, until
from udc import Droplet
from udc._wiring.hosted import Hosted
from udc._wiring.surroundings import Surroundings
from udc.asgi import App

ADAPTERS = ("asgi", "fastapi", "starlette", "aiohttp")
ATTACHED = ("fastapi", "starlette", "aiohttp")
ASGI_SERVERS = ("h11", "httptools", "granian")


@dataclass(frozen=True)
class Kind:
    """An adapter, and what serves it: `memory`, a server for ASGI, or aiohttp's own (`port`)."""

    adapter: str
    server: str

    @property
    def in_memory(self) -> bool:
        return self.server == "memory"

    @property
    def parses(self) -> bool:
        """It reads HTTP from bytes, so that its parser has a say."""
        return not self.in_memory or self.adapter == "aiohttp"

    @property
    def backend(self) -> tuple[str, dict[str, Any]]:
        return "asyncio", {"use_uvloop": self.server == "httptools"}

    def __str__(self) -> str:
        return f"{self.adapter}-{self.server}"


KINDS = (
    *(Kind(adapter, "memory") for adapter in ADAPTERS),
    *(Kind(adapter, server) for adapter in ADAPTERS[:3] for server in ASGI_SERVERS),
    Kind("aiohttp", "port"),
)
MEMORY = tuple(kind for kind in KINDS if kind.in_memory)
PORTS = tuple(kind for kind in KINDS if not kind.in_memory)
PARSING = tuple(kind for kind in KINDS if kind.parses)


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1, in files as servers want it, and what a client needs to believe it."""

    chain: Path
    key: Path
    trust: ssl.SSLContext

    @property
    def context(self) -> ssl.SSLContext:
        """The server's side."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(self.chain, self.key)
        return made


@dataclass(frozen=True)
class How:
    """How an application is served.

    Attributes:
        tls: over TLS, where it is given (in memory the server just says so).
        grace_seconds: how long a server waits at its end for what is going on.
    """

    tls: Tls | None = None
    grace_seconds: float = 1


class Stream(Protocol):
    """One connection, as bytes."""

    async def send(self, item: bytes, /) -> None: ...

    async def receive(self, max_bytes: int = 65536, /) -> bytes: ...

    async def aclose(self) -> None: ...


class Connect(Protocol):
    """Opens a connection."""

    async def __call__(self, own: str | None = None) -> Stream:
        """From this address, where one is given."""
        ...


class Place:
    """Surrounds a droplet in these tests, whichever adapter asks for it; keeps what was made."""

    def __init__(self, droplet: Droplet, surroundings: Surroundings | None = None) -> None:
        self.droplet = droplet
        self.surroundings = surroundings or Surroundings(sample_process=False)
        self.hosted: Hosted | None = None
        self.alone: list[bool] = []

    @property
    def mesh(self) -> Any:
        return self.droplet.mesh

    def _outline(self) -> Any:
        return self.droplet._outline()

    def _attached(self, *, alone: bool) -> Hosted:
        self.alone.append(alone)
        return self._host()

    def _host(self) -> Hosted:
        self.hosted = self.droplet._host(self.surroundings)
        return self.hosted


Prepare = Callable[[Any], object]
"""Adds something of its own to the host's application, before the droplet is attached."""


def application(adapter: str, place: Any, prefix: str = "", *, prepare: Prepare = lambda app: None) -> Any:
    """An application of the adapter's with the droplet in it."""
    if adapter == "asgi":
        return App(place)
    app: Any = {"fastapi": FastAPI, "starlette": Starlette, "aiohttp": web.Application}[adapter]()
    prepare(app)
    module: Any = {"fastapi": udc.fastapi, "starlette": udc.starlette, "aiohttp": udc.aiohttp}[adapter]
    module.attach(app, place, prefix)
    return app


@dataclass
class Host:
    """An application that is served.

    Attributes:
        stop: ends it as its server would.
        address: of its port; `None` in memory.
    """

    kind: Kind
    app: Any
    client: Client
    stop: Callable[[], Awaitable[None]]
    connect: Connect | None = None
    address: str | None = None
    http: httpx2.AsyncClient | None = None
    droplet: Any = None
    place: Any = None

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] = {}) -> AsyncIterator[Streamed]:
        """A GET whose answer comes in parts; leaving the block is leaving the caller's end."""
        if self.http is not None:
            async with self.http.stream("GET", path, headers=dict(headers)) as got:
                yield Streamed(got.status_code, dict(got.headers), got.aiter_raw())
            return
        exchange = Exchange(Connection(self.app, http_scope("GET", path, headers), [{"type": "http.request"}]))
        async with anyio.create_task_group() as tasks:
            await tasks.start(exchange.run)
            head = exchange.connection.answer()
            yield Streamed(head.status, head.headers, exchange.parts())
            exchange.connection.left.set()


@dataclass
class Streamed:
    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class BrokenOff(Exception):
    """A stream in memory ended without its end."""


@dataclass
class Exchange:
    """A connection in memory whose answer is read while it comes."""

    connection: Connection
    ended: bool = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve)
            while not self.connection.sent:
                await self.connection.news.wait()
            task_status.started()

    async def _serve(self) -> None:
        with suppress(Exception):  # what a server does, that logs it and cuts the connection
            await self.connection.run()
        self.ended = True
        self.connection.news.set()

    async def parts(self) -> AsyncIterator[bytes]:
        seen = 0
        while True:
            for part in self.connection.parts[seen:]:
                seen += 1
                yield part
            last = self.connection.sent[-1]
            if last["type"] == "http.response.body" and not last.get("more_body", False):
                return
            if self.ended:
                raise BrokenOff
            await self.connection.news.wait()


class Pipe(asyncio.Transport):
    """A connection in memory: what the server sees of it, and the client's end."""

    def __init__(self, protocol: Any, tls: Tls | None, address: str | None) -> None:
        super().__init__({"peername": (address or "10.0.0.1", 1234), "sslcontext": tls.context if tls else None})
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._closed = False
        self._news = anyio.Event()
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        self._received += data
        self._tell()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._tell()

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def send(self, item: bytes) -> None:
        if self._closed:
            raise anyio.BrokenResourceError
        self._protocol.data_received(item)
        await anyio.lowlevel.checkpoint()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while not self._received:
            if self._closed:
                raise anyio.EndOfStream
            await self._news.wait()
        part = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        return part

    async def aclose(self) -> None:
        self.close()
        await anyio.lowlevel.checkpoint()

    def extra(self, _: Any, default: Any = None) -> Any:
        return default


class Pipes(httpcore2.AsyncNetworkBackend):
    """Has the client library connect in memory."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def connect_tcp(self, *_: Any, **__: Any) -> Any:
        from httpcore2._backends.anyio import AnyIOStream

        return AnyIOStream(await self._connect())  # type: ignore[arg-type]  # it does what is used of one


def http_client(base_url: str, connect: Connect | None = None, tls: Tls | None = None) -> httpx2.AsyncClient:
    """A client, to a port or in memory."""
    transport = httpx2.AsyncHTTPTransport(verify=tls.trust if tls else False)
    if connect is not None:
        transport._pool = httpcore2.AsyncConnectionPool(network_backend=Pipes(connect))
    return httpx2.AsyncClient(base_url=base_url, transport=transport, trust_env=False, timeout=8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(kind: Kind, app: Any, how: How = How()) -> AsyncIterator[Host]:
    """Serve an application until the block ends."""
    serve = _SERVERS[kind.server if kind.adapter != "aiohttp" else f"aiohttp-{kind.server}"]
    async with serve(kind, app, how) as host:
        yield host


@asynccontextmanager
async def _in_memory(kind: Kind, app: Any, how: How) -> AsyncIterator[Host]:
    state: dict[str, Any] = {}
    scheme = {"scheme": "https"} if how.tls else {}

    async def stateful(scope: Any, receive: Any, send: Any) -> None:
        changes = {"state": state} if scope["type"] == "lifespan" else {"state": state.copy(), **scheme}
        await app({**scope, **changes}, receive, send)

    life = Life(stateful)

    async def stop() -> None:
        life.stop.set()
        await life.ended.wait()

    async with anyio.create_task_group() as tasks:
        await tasks.start(life.run)
        try:
            yield Host(kind, stateful, MemoryClient(stateful), stop)
        finally:
            life.stop.set()


@asynccontextmanager
async def _on_port(
    kind: Kind, app: Any, port: int, stop: Callable[[], Awaitable[None]], tls: Tls | None
) -> AsyncIterator[Host]:
    async def connect(own: str | None = None) -> Stream:
        return await anyio.connect_tcp("127.0.0.1", port, local_host=own)

    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    async with http_client(address, tls=tls) as http:
        yield Host(kind, app, SocketClient(http), stop, connect=connect, address=address, http=http)


@asynccontextmanager
async def _uvicorn(kind: Kind, app: Any, how: How) -> AsyncIterator[Host]:
    # Named as TCP, or asyncio leaves Nagle on and every answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=kind.server,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=how.grace_seconds,  # type: ignore[arg-type]  # it is a timeout like any
            ssl_certfile=how.tls.chain if how.tls else None,
            ssl_keyfile=how.tls.key if how.tls else None,
        )
    )
    ended = anyio.Event()

    async def run() -> None:
        try:
            await server._serve([listener])  # `serve` would take over the process's signals
        finally:
            ended.set()

    async def stop() -> None:
        server.should_exit = True
        await ended.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: server.started)
        async with _on_port(kind, app, listener.getsockname()[1], stop, how.tls) as host:
            try:
                yield host
            finally:
                server.should_exit = True


@asynccontextmanager
async def _granian(kind: Kind, app: Any, how: How) -> AsyncIterator[Host]:
    port = free_port()
    files: Any = {"ssl_cert": how.tls.chain, "ssl_key": how.tls.key} if how.tls else {}
    server = Granian(app, port=port, interface=Interfaces.ASGI, log_enabled=False, websockets=False, **files)
    ended = anyio.Event()

    async def run() -> None:
        try:
            await server.serve()
        finally:
            ended.set()

    async def stop() -> None:
        server.stop()  # type: ignore[no-untyped-call]  # granian's
        await ended.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: _answers(port))
        async with _on_port(kind, app, port, stop, how.tls) as host:
            try:
                yield host
            finally:
                server.stop()  # type: ignore[no-untyped-call]  # granian's


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def _runner(app: web.Application, how: How) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=how.grace_seconds / 2)  # it waits twice
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        yield runner


@asynccontextmanager
async def _aiohttp_in_memory(kind: Kind, app: web.Application, how: How) -> AsyncIterator[Host]:
    async with _runner(app, how) as runner:

        async def connect(own: str | None = None) -> Stream:
            return Pipe(runner.server(), how.tls, own)  # type: ignore[misc]  # there is one after `setup`

        async with http_client("http://memory", connect) as http:
            yield Host(kind, app, SocketClient(http), runner.cleanup, connect=connect, http=http)


@asynccontextmanager
async def _aiohttp_on_port(kind: Kind, app: web.Application, how: How) -> AsyncIterator[Host]:
    async with _runner(app, how) as runner:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=how.tls.context if how.tls else None).start()
        async with _on_port(kind, app, runner.addresses[0][1], runner.cleanup, how.tls) as host:
            yield host


_SERVERS: dict[str, Callable[[Kind, Any, How], Any]] = {
    "memory": _in_memory,
    "h11": _uvicorn,
    "httptools": _uvicorn,
    "granian": _granian,
    "aiohttp-memory": _aiohttp_in_memory,
    "aiohttp-port": _aiohttp_on_port,
}


@asynccontextmanager
async def hosting(kind: Kind, droplet: Droplet, prefix: str = "", **options: Any) -> AsyncIterator[Host]:
    """A droplet served that way, in an application of its own."""
    place, how = Place(droplet, options.pop("surroundings", None)), options.pop("how", How())
    async with serving(kind, application(kind.adapter, place, prefix, **options), how) as host:
        try:
            yield replace(host, droplet=droplet, place=place)
        finally:
            if place.hosted is not None:
                place.hosted.request_stop(at_once=True)
