"""A network without sockets: the same bytes, headers and rules as over HTTP, inside one process.

A request goes through the codec and `Surface.handle` exactly as it would behind a server. As there, the work of
the receiver is its own: it goes on when the caller gives up, in a task of the network, with none of the caller's
context variables.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import unquote, urlsplit

import anyio
from anyio.abc import TaskGroup

from udc._http import HttpAnswer
from udc.errors import ConnectionLost, LifecycleError, PeerUnreachable
from udc.identity._base import Tokens
from udc.messages import Message, Peer, Reply
from udc.surface._base import HttpRequest, Surface
from udc.transports._exchange import AudienceOf, Headers, exchange

_log = logging.getLogger("udc.transports.memory")

_PORTS: Final = {"http": 80, "https": 443}


class Faults(Protocol):
    """What a network does to its traffic. Both may wait, and raise what a socket would."""

    async def going(self, endpoint: str, request: HttpRequest) -> None:
        """Before the receiver sees it; `ConnectionRefusedError`: it never does."""
        ...

    async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
        """After the receiver answered; `ConnectionResetError`: the caller never learns of it."""
        ...


class NoFaults:
    """A network that works."""

    async def going(self, endpoint: str, request: HttpRequest) -> None:
        """Let it pass."""

    async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
        """Let it pass."""


@dataclass(slots=True, eq=False)
class _Host:
    """One listening surface and the work that it has in hand."""

    endpoint: str
    surface: Surface
    flights: set[_Flight] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Flight:
    """One request on its way: done when it is answered, or when its host died."""

    request: HttpRequest
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    gone: anyio.Event = field(default_factory=anyio.Event)
    answer: HttpAnswer | None = None


class MemoryNetwork:
    """Endpoints and the surfaces that listen there. Use it in `async with`, which owns the receivers' work.

    Args:
        faults: what happens to the traffic; nothing, by default. May be replaced at any time.
    """

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.faults: Faults = faults or NoFaults()
        self._hosts: dict[str, _Host] = {}
        self._tasks: TaskGroup | None = None
        self._context = contextvars.Context()

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise LifecycleError("this MemoryNetwork is already open")
        self._context = contextvars.copy_context()
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            raise LifecycleError("this MemoryNetwork is not open")
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, traceback)
        except BaseExceptionGroup:
            # The receivers' work never raises, so the only member is what the block raised: pass on that.
            if error is None:
                raise
            return False

    def register(self, endpoint: str, surface: Surface) -> None:
        """Listen at an endpoint: `memory://name`, or any URL; one with a path gets what lies below that path.

        Raises:
            LifecycleError: somebody listens there already.
        """
        key = _normal(endpoint)
        if key in self._hosts:
            raise LifecycleError(f"somebody listens at {endpoint} already; unregister it first")
        self._hosts[key] = _Host(endpoint, surface)

    def unregister(self, endpoint: str) -> None:
        """Stop listening: new requests are refused, those in hand are finished. Twice is harmless."""
        self._hosts.pop(_normal(endpoint), None)

    def crash(self, endpoint: str) -> None:
        """End as `kill -9` would: new requests are refused, those in hand break off on both sides."""
        host = self._hosts.pop(_normal(endpoint), None)
        for flight in host.flights if host is not None else ():
            flight.scope.cancel()
            flight.done.set()  # the caller learns it at once, however long the receiver takes to unwind

    async def exchange(self, method: str, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        """Send a request and wait for its answer. On cancel the receiver goes on, and sees its caller gone.

        Raises:
            ConnectionRefusedError: nobody listens there.
            ConnectionResetError: the receiver died, or a fault says so.
        """
        if self._tasks is None:
            raise LifecycleError("this MemoryNetwork is not open: use it in 'async with'")
        host, path, query = self._find(url)
        request = HttpRequest(
            method=method, path=path, query_string=query, headers=_joined(headers), body=body, client="127.0.0.1"
        )
        flight = _Flight(request)
        request.disconnected = flight.gone.wait
        await self.faults.going(host.endpoint, request)
        host = self._find(url)[0]  # anew: it may have gone, or come back, while the request was on its way
        host.flights.add(flight)
        # In the network's own context: a receiver must not see the caller's variables, which would not travel.
        self._context.copy().run(self._tasks.start_soon, _serve, host, flight)
        try:
            await flight.done.wait()
        finally:
            flight.gone.set()
        if flight.answer is None:
            raise ConnectionResetError(f"{host.endpoint} died before it answered")
        await self.faults.coming(host.endpoint, request, flight.answer)
        return flight.answer

    def _find(self, url: str) -> tuple[_Host, str, str]:
        """Who listens there (the longest endpoint that holds the URL), the path within it, the query."""
        address, _, query = url.partition("?")
        prefix = _normal(address)
        path = "/" if address.endswith("/") and not prefix.endswith("/") else ""
        while prefix not in self._hosts:
            prefix, slash, segment = prefix.rpartition("/")
            if not slash or prefix.endswith("/"):
                raise ConnectionRefusedError(f"nobody listens at {address}")
            path = f"/{segment}{path}"
        return self._hosts[prefix], unquote(path) or "/", query


class MemoryTransport:
    """Delivers messages over a `MemoryNetwork`, with the tokens and the 401 rule of HTTP.

    Args:
        network: an open network.
        tokens: whose tokens are shown to peers.
        audience_of: for whom the token of a peer is made; see `udc.transports.http.audiences`.
    """

    def __init__(self, network: MemoryNetwork, tokens: Tokens, *, audience_of: AudienceOf) -> None:
        self._network = network
        self._tokens = tokens
        self._audience_of = audience_of

    async def deliver(self, peer: Peer, message: Message) -> Reply:
        """Deliver once; see `Transport.deliver`."""
        return await exchange(peer, message, post=self._post, tokens=self._tokens, audience_of=self._audience_of)

    async def _post(self, peer: Peer, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        try:
            return await self._network.exchange("POST", url, headers, body)
        except ConnectionRefusedError as error:
            raise PeerUnreachable(
                f"{peer.label} is not reachable: {error}; nothing was sent", peer=peer.label
            ) from error
        except ConnectionError as error:
            problem = f"the connection to {peer.label} broke: {error}; the request may have reached it"
            raise ConnectionLost(problem, peer=peer.label) from error


async def _serve(host: _Host, flight: _Flight) -> None:
    try:
        with flight.scope:
            answer = await _answer(host.surface, flight)
            flight.answer = None if flight.done.is_set() else answer
    except Exception:  # noqa: BLE001 - a border, as a server is one: a surface that raises breaks its own connection
        _log.exception("a surface raised", extra={"path": flight.request.path})
    finally:
        host.flights.discard(flight)
        flight.done.set()


async def _answer(surface: Surface, flight: _Flight) -> HttpAnswer:
    request = flight.request
    too_long = len(request.body) > surface.max_body_bytes
    response = surface.refuse_body(request) if too_long else await surface.handle(request)
    body = response.body if isinstance(response.body, bytes) else await _collected(response.body, flight.gone)
    headers = [*response.headers, ("content-length", str(len(body)))]
    if response.media_type is not None:
        headers.append(("content-type", response.media_type))
    return HttpAnswer(response.status, _joined(tuple(headers)), body)


async def _collected(body: AsyncIterator[bytes], gone: anyio.Event) -> bytes:
    """All parts of a streamed body, or as many as there were when the caller went away."""
    parts: list[bytes] = []

    async def collect() -> None:
        async for part in body:
            parts.append(part)  # noqa: PERF401 - so that what came before the caller left is kept
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            await gone.wait()
            tasks.cancel_scope.cancel()
    finally:
        if (close := getattr(body, "aclose", None)) is not None:  # one that never began, too, as adapters do
            with anyio.CancelScope(shield=True):
                await close()
    return b"".join(parts)


def _joined(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _normal(url: str) -> str:
    """One spelling for an address: lower-case scheme and host, no default port, no slash at the end."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port not in (None, _PORTS.get(parts.scheme)) else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path.rstrip('/')}"
