"""Serves droplets to the contract's tests, in memory (asyncio and trio) and behind a real uvicorn on loopback.

Each test gets a fresh droplet. The server is started once per module; it hands every request to the droplet
of the test that runs. What the test says is the same both ways.
"""

from __future__ import annotations

import functools
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import anyio
import anyio.lowlevel
import httpx2
import pytest
import uvicorn
from anyio.abc import TaskStatus

from udc import (
    BusinessError,
    Context,
    Droplet,
    Endpoint,
    HttpRequest,
    HttpResponse,
    chat,
    command,
    event,
    query,
    task,
)
from udc._types import UNSET
from udc._wiring.surroundings import Surroundings
from udc.asgi import App
from udc.identity.keys import SigningKey

ISSUER = "registry.fullpotential.ai"
MESH = "fullpotential.droplets"
ME = 14
ORCHESTRATOR = 10


@functools.cache
def key() -> SigningKey:
    """The mesh's signing key, made once per session."""
    return SigningKey.generate()


def claims(*permissions: str, **changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to `None` removes the claim."""
    now = int(time.time())
    made: dict[str, Any] = {
        "iss": ISSUER,
        "aud": MESH,
        "sub": "droplet-77",
        "droplet_id": 77,
        "permissions": list(permissions),
        "iat": now - 5,
        "exp": now + 3600,
        "jti": f"token-{changes}",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


@functools.cache
def token(*permissions: str, scope: str | None = None, droplet_id: int = 77) -> str:
    """A good token."""
    return key().sign(claims(*permissions, scope=scope, droplet_id=droplet_id, sub=f"droplet-{droplet_id}"))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The contract's error code."""
        return str(self.json()["error"]["code"])


class Client(Protocol):
    """Asks the droplet of this test."""

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        bearer: str | None = None,
        json: object = UNSET,
        content: bytes = b"",
        headers: Mapping[str, str] = ...,
        address: str = ...,
    ) -> Answer: ...


def _request(
    bearer: str | None, body: object, content: bytes, headers: Mapping[str, str]
) -> tuple[dict[str, str], bytes]:
    sent = {"accept": "*/*", **headers}
    if body is not UNSET:
        content = json.dumps(body).encode()
    if content and "content-type" not in sent:
        sent["content-type"] = "application/json"
    if bearer is not None:
        sent["authorization"] = f"Bearer {bearer}"
    return sent, content


@dataclass
class Connection:
    """One HTTP exchange of an ASGI server that a test steers by hand."""

    app: Any
    scope: dict[str, Any]
    incoming: list[dict[str, Any]]
    sent: list[dict[str, Any]] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self) -> dict[str, Any]:
        if self.incoming:
            return self.incoming.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)
        self.news.set()
        self.news = anyio.Event()

    async def run(self) -> Answer:
        await self.app(self.scope, self.receive, self.send)
        return self.answer()

    async def until_parts(self, count: int) -> list[bytes]:
        while len(self.parts) < count:
            await self.news.wait()
        return self.parts

    @property
    def parts(self) -> list[bytes]:
        return [each["body"] for each in self.sent if each["type"] == "http.response.body" and each.get("body")]

    def answer(self) -> Answer:
        headers = {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}
        return Answer(self.sent[0]["status"], headers, b"".join(self.parts))


def http_scope(method: str, path: str, headers: Mapping[str, str] = {}, **changes: Any) -> dict[str, Any]:
    path, _, query_string = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "query_string": query_string.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("10.0.0.1", 1234),
        **changes,
    }


@dataclass
class MemoryClient:
    """Calls the ASGI application itself."""

    app: Any

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        bearer: str | None = None,
        json: object = UNSET,
        content: bytes = b"",
        headers: Mapping[str, str] = {},
        address: str = "10.0.0.1",
    ) -> Answer:
        sent, body = _request(bearer, json, content, headers)
        scope = http_scope(method, path, sent, client=(address, 1234))
        return await Connection(self.app, scope, [{"type": "http.request", "body": body}]).run()


@dataclass
class SocketClient:
    """Calls over a socket."""

    client: httpx2.AsyncClient

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        bearer: str | None = None,
        json: object = UNSET,
        content: bytes = b"",
        headers: Mapping[str, str] = {},
        address: str = "127.0.0.1",
    ) -> Answer:
        sent, body = _request(bearer, json, content, headers)
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        got = await self.client.request(method, path, headers=encoded, content=body)
        return Answer(got.status_code, dict(got.headers), got.content)


@dataclass
class Life:
    """Drives an application's lifespan as a server does."""

    app: Any
    messages: list[dict[str, Any]] = field(default_factory=list)
    started: anyio.Event = field(default_factory=anyio.Event)
    stop: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "lifespan.startup"}
            await self.stop.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: dict[str, Any]) -> None:
            self.messages.append(message)
            if message["type"] == "lifespan.startup.complete":
                self.started.set()
                task_status.started()

        try:
            await self.app({"type": "lifespan"}, receive, send)
        finally:
            self.ended.set()


@dataclass
class Placed:
    """A droplet with its surroundings, as `udc.asgi.App` takes it."""

    droplet: Droplet
    surroundings: Surroundings | None
    hosted: Any = None

    def _host(self) -> Any:
        self.hosted = self.droplet._host(self.surroundings)
        return self.hosted


@dataclass
class Switch:
    """The application behind the module's server: passes everything to the droplet of the test that runs."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@dataclass
class Server:
    """The module's uvicorn."""

    switch: Switch
    port: int
    client: httpx2.AsyncClient


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 8) -> None:
    """Wait for what announces itself to nobody, by looking; fails after the time."""
    with anyio.fail_after(seconds):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await anyio.sleep(0.001)


async def in_phase(client: Client, phase: str) -> None:
    """Wait until /readyz tells that phase."""

    async def met() -> bool:
        return bool((await client("GET", "/readyz")).json()["phase"] == phase)

    await until(met)


async def in_status(client: Client, status: str) -> None:
    """Wait until /health tells that status."""

    async def met() -> bool:
        return bool((await client("GET", "/health")).json()["status"] == status)

    await until(met)


@asynccontextmanager
async def uvicorn_serving(app: Any, **options: Any) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A uvicorn on a free port of loopback, in this loop."""
    # Named as TCP, or asyncio leaves Nagle on and every answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    options = {"log_config": None, "access_log": False, "timeout_graceful_shutdown": 2, **options}
    config = uvicorn.Config(app, **options)
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve, [listener])  # `serve` would take over the process's signals
        await until(lambda: server.started)
        try:
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True


@pytest.fixture(scope="module", params=["memory", "memory-trio", "socket"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


socket_only = pytest.mark.parametrize("way", ["socket"], indirect=True, scope="module")
"""For what only a real server can be asked."""


@pytest.fixture(scope="module")
def anyio_backend(way: str) -> str:
    return "trio" if way == "memory-trio" else "asyncio"


@pytest.fixture(scope="module")
async def server(way: str, anyio_backend: Any) -> AsyncIterator[Server | None]:
    if way != "socket":
        yield None
        return
    switch = Switch()
    async with uvicorn_serving(switch, lifespan="off", proxy_headers=False) as (_, port):
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False, trust_env=False) as client:
            yield Server(switch, port, client)


@dataclass
class World:
    """Where a test's droplets live."""

    server: Server | None
    tasks: anyio.abc.TaskGroup
    lives: list[Life] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    app: Any = None

    async def serve(self, droplet: Droplet, surroundings: Surroundings | None = None) -> Client:
        """Start the droplet and wait until it is ready."""
        placed = Placed(droplet, surroundings or Surroundings(sample_process=False))
        self.app = App(placed)
        life = Life(self.app)
        self.placed.append(placed)
        self.lives.append(life)
        await self.tasks.start(life.run)
        if self.server is None:
            return MemoryClient(self.app)
        self.server.switch.app = self.app
        return SocketClient(self.server.client)


@pytest.fixture
async def world(server: Server | None) -> AsyncIterator[World]:
    async with anyio.create_task_group() as tasks:
        made = World(server, tasks)
        try:
            yield made
        finally:
            for life, placed in zip(made.lives, made.placed, strict=True):
                life.stop.set()
                placed.hosted.request_stop(at_once=True)


def settings(**changes: Any) -> dict[str, Any]:
    """Explicit configuration of a droplet in these tests."""
    return {
        "droplet.url": "http://127.0.0.1:8014",
        "security.public_key": key().public_pem,
        "limits.grace_seconds": 1,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }


SECRET_TEXT = "SELECT * FROM /var/lib/secrets.db; hunter2"


class Sample(Droplet):
    """Has something of everything. `ran` tells what handlers were run, in order."""

    id, name, steward, version = ME, "Sample", "test-team", "3.2.1"
    capabilities = ("sample", "test")
    needs = (15,)
    wants = ("Nobody",)

    def __init__(self, **options: Any) -> None:
        config = {**settings(), **options.pop("config", {})}
        super().__init__(config=config, **options)
        self.ran: list[str] = []
        self.closed = anyio.Event()
        self.go_on = anyio.Event()

    @query("echo")
    async def echo(self, text: str) -> str:
        """Say it again.

        With more below.
        """
        self.ran.append("echo")
        return text

    @command("store")
    async def store(self, what: str, ctx: Context) -> int:
        self.ran.append(f"store {what}")
        ctx.metrics.book(cost_usd=0.5, yield_usd=2)
        ctx.metrics.count("stored")
        ctx.metrics.gauge("temperature", float("nan") if what == "nan" else 21.5)
        return len(self.ran)

    @query("boom")
    async def boom(self) -> None:
        self.ran.append("boom")
        raise RuntimeError(SECRET_TEXT)

    @query("hang", timeout_seconds=0.05)
    async def hang(self) -> None:
        self.ran.append("hang")
        await anyio.sleep_forever()

    @command("wait")
    async def wait(self) -> str:
        self.ran.append("wait")
        await self.go_on.wait()
        self.ran.append("waited")
        return "done"

    @query("thing")
    async def thing(self) -> Any:
        return object()

    @query("refuse")
    async def refuse(self) -> None:
        raise BusinessError("QUOTA_SPENT", "no images left", status=409, details={"left": 0})

    @query("dead")
    async def dead(self, ctx: Context) -> Any:
        return await ctx.query("Dead", "anything", retries=0)

    @query("guarded", scope="sample:special")
    async def guarded(self) -> str:
        return "special"

    @event("noted")
    async def noted(self, what: str) -> None:
        self.ran.append(f"noted {what}")

    @task("work")
    async def work(self, steps: int) -> int:
        self.ran.append("work")
        return steps

    @chat
    async def chat(self, message: str) -> str:
        return f"you said {message}"

    @query("log")
    async def log_it(self, text: str, ctx: Context) -> None:
        ctx.log.warning("%s", text)


async def _hello(request: HttpRequest) -> dict[str, str]:
    """Greet."""
    return {"hello": request.params["name"], "caller": str(request.caller.droplet_id)}


async def _failing(request: HttpRequest) -> None:
    raise ValueError(SECRET_TEXT)


async def _empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204, headers=(("X-Kind", "empty"),))


def extra_rows() -> list[Endpoint]:
    """Endpoints of a droplet's own, as a table."""
    return [
        Endpoint(method="GET", path="/hello/{name}", access="read", handler=_hello),
        Endpoint(method="POST", path="/failing", access="public", handler=_failing),
        Endpoint(method="DELETE", path="/hello/{who}", access="admin", handler=_who),
        Endpoint(method="GET", path="/empty", access="public", handler=_empty),
    ]


async def _who(request: HttpRequest) -> dict[str, str]:
    return {"gone": request.params["who"]}


class Extended(Sample):
    """With endpoints of its own, streams among them."""

    endpoints = tuple(extra_rows())


def dead_peer(port: int = 9) -> list[dict[str, Any]]:
    return [{"id": 15, "name": "Dead", "endpoint": f"http://127.0.0.1:{port}", "ours": True}]


def envelope(action: str = "echo", data: object = UNSET, **changes: Any) -> dict[str, Any]:
    """A message in the contract's own form; a change to `UNSET` removes the field."""
    made: dict[str, Any] = {
        "trace_id": "0b9f8f5e-7c2e-4f7e-9d55-1f2f6d1f8f01",
        "source": 77,
        "target": ME,
        "message_type": "query",
        "payload": {"type": action, "data": {"text": "hi"} if data is UNSET else data},
        "timestamp": "2026-01-01T00:00:00Z",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not UNSET}


def config_file(directory: Path, **content: Any) -> Path:
    path = directory / "udc_config.json"
    path.write_text(json.dumps(content))
    return path


async def all_blocked() -> None:
    """Wait until every task waits for something.

    anyio's own look is repeated every 0.1 s, and so is a server's housekeeping: in step, they would meet for ever.
    """
    while True:
        with anyio.move_on_after(0.05):
            await anyio.wait_all_tasks_blocked()
            return
        await anyio.sleep(0.013)
