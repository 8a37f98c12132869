"""HTTP requests with small pools, a bounded answer and errors that say whether the peer may have been reached."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import Final, Self, cast

import httpx2

from udc._http.answer import HttpAnswer
from udc._http.faults import FOREIGN, delivery_error
from udc._http.pools import Pool, Pools
from udc._http.stream import HttpStream
from udc._types import DropletId
from udc.errors import InvalidReply, LifecycleError

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
CONNECT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0
_LONGEST_LABEL: Final = 63
# More connections than 32 cost 40 % more CPU a call once so many are in flight, since the library searches its pool;
# but with fewer, that many calls waiting for slow handlers of a peer would block every quick one to it.
_LIMITS: Final = httpx2.Limits(max_connections=100, max_keepalive_connections=32, keepalive_expiry=30.0)
# Waiting for the answer is limited by the caller's cancel scope alone; connecting also by itself, because a
# host that swallows packets should leave time for another instance.
_TIMEOUT: Final = {"timeout": {"connect": CONNECT_SECONDS, "read": None, "write": None, "pool": None}}


@lru_cache(maxsize=2048)
def _parsed(url: str) -> httpx2.URL:
    """Cached: parsing costs 10 µs, and a droplet calls the same few addresses."""
    parsed = httpx2.URL(url)
    labels = parsed.raw_host.removesuffix(b".").split(b".")
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        # The resolver would refuse it too, with an exception of its own on each backend.
        raise httpx2.InvalidURL("the host's name has an empty part, or one longer than 63 characters")
    return parsed


def _origin(target: httpx2.URL) -> str:
    """Scheme, host and port: not the whole URL, which may hold what is nobody's business."""
    return f"{target.scheme}://{target.netloc.decode('ascii')}"


def _request(
    method: str, target: httpx2.URL, headers: Iterable[tuple[str, str]], content: bytes | None
) -> httpx2.Request:
    return httpx2.Request(
        method, target, headers=[*headers, ("accept-encoding", "identity")], content=content, extensions=_TIMEOUT
    )


class HttpClient:
    """Sends HTTP/1.1 requests over kept-alive connections; the one way out for everything in this library.

    Follows no redirects, keeps no cookies, reads no proxy or certificate variables from the environment.
    Use it in `async with`, which owns the connections. Any number of tasks may share it. Connections unused for
    60 s are closed by the next request to anybody, so that no background task is needed: a droplet beats every
    10 s; who does not calls `close_idle`.

    Args:
        ssl_context: for https; by default the operating system's certificates, loaded when first needed.
        transport_factory: makes the transport of one origin, in place of the network; called once per origin.
        max_pools: how many origins keep their connections.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        transport_factory: Callable[[], httpx2.AsyncBaseTransport] | None = None,
        max_pools: int = 1024,
    ) -> None:
        self._ssl_context = ssl_context
        self._plain_context: ssl.SSLContext | None = None
        self._transport_factory = transport_factory
        self._pools = Pools(self._make_transport, limit=max_pools, idle_seconds=_IDLE_SECONDS)
        self._open = False

    async def __aenter__(self) -> Self:
        if self._open:
            raise LifecycleError("this HttpClient is already open; share it, or make another one")
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        await self._pools.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        content: bytes | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        peer: DropletId,
    ) -> HttpAnswer:
        """Send one request and read its whole answer, whatever its status.

        The caller's cancel scope is the time limit. On cancel the connection is dropped; the peer may have
        seen the request.

        Args:
            method: upper case.
            url: absolute, http or https.
            headers: as they are; only `Host`, `Content-Length` and `Accept-Encoding` are added.
            content: the body.
            max_bytes: the largest body that is read.
            peer: whom the errors name.

        Raises:
            PeerUnreachable: nothing was sent (no address, refused, TLS failed, no connection within 5 s).
            ConnectionLost: it broke afterwards, or the answer was no HTTP.
            InvalidReply: the answer is larger than `max_bytes`, or compressed although nobody asked.
            LifecycleError: the client is not open.
        """
        origin = self._origin_at_first()
        try:
            target = _parsed(url)
            origin = _origin(target)
            return await self._exchange(_request(method, target, headers, content), max_bytes=max_bytes, peer=peer)
        except FOREIGN as error:
            raise delivery_error(error, peer=peer, origin=origin) from error

    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        content: bytes | None = None,
        peer: DropletId,
    ) -> HttpStream:
        """Send one request and return as soon as its answer begins. The caller closes the stream.

        A stream holds one connection. Arguments, cancellation and errors are those of `request`.
        """
        origin = self._origin_at_first()
        try:
            target = _parsed(url)
            origin = _origin(target)
            pool, response = await self._begin(_request(method, target, headers, content))
        except FOREIGN as error:
            raise delivery_error(error, peer=peer, origin=origin) from error
        return HttpStream(response, peer=peer, origin=origin, closed=lambda: self._pools.give_back(pool))

    async def close_idle(self) -> None:
        """Close the pools that have been idle for 60 s or are too many; those with requests in flight stay."""
        await self._pools.trim()

    async def _exchange(self, request: httpx2.Request, *, max_bytes: int, peer: DropletId) -> HttpAnswer:
        pool, response = await self._begin(request)
        try:
            body = await _read(response, max_bytes=max_bytes, peer=peer)
        finally:
            self._pools.give_back(pool)
        return HttpAnswer(response.status_code, dict(response.headers), body)

    async def _begin(self, request: httpx2.Request) -> tuple[Pool, httpx2.Response]:
        """The answer's beginning, and the pool that it comes from, which is given back when the answer is over."""
        pool = self._pools.borrow((request.url.scheme, request.url.host, request.url.port))
        try:
            if self._pools.untidy():
                await self._pools.trim()
            return pool, await pool.transport.handle_async_request(request)
        except BaseException:
            self._pools.give_back(pool)
            raise

    def _origin_at_first(self) -> str:
        """How errors call the peer's address until the URL has been read."""
        if not self._open:
            raise LifecycleError("this HttpClient is not open: use it in 'async with HttpClient() as client'")
        return "its address"

    def _make_transport(self, scheme: str) -> httpx2.AsyncBaseTransport:
        if self._transport_factory is not None:
            return self._transport_factory()
        context = self._secure_context() if scheme == "https" else self._unused_context()
        return httpx2.AsyncHTTPTransport(verify=context, trust_env=False, limits=_LIMITS)

    def _secure_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            # Loads all certificates of the system: 19 ms, so once, and only where https is spoken at all.
            self._ssl_context = httpx2.create_ssl_context(trust_env=False)
        return self._ssl_context

    def _unused_context(self) -> ssl.SSLContext:
        if self._plain_context is None:
            # The library wants a context for plain http too. This one trusts nobody, should it ever be used.
            self._plain_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._plain_context


async def _read(response: httpx2.Response, *, max_bytes: int, peer: DropletId) -> bytes:
    """The whole body, or an error as soon as it is too long; always closes the response."""
    stream = cast("httpx2.AsyncByteStream", response.stream)
    parts: list[bytes] = []
    size = 0
    try:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise InvalidReply(f"{peer} answered compressed, which was not asked for", peer=peer)
        async for chunk in stream:
            size += len(chunk)
            parts.append(chunk)
            if size > max_bytes:
                # Leaving the loop here would leave the library's inner generators unfinished. With the
                # connection closed under them they end by themselves, after what is buffered already.
                parts.clear()
                await stream.aclose()
    except httpx2.TransportError:
        if size <= max_bytes:
            raise
    finally:
        await stream.aclose()
    if size > max_bytes:
        raise InvalidReply(f"{peer} answered with more than {max_bytes} bytes", peer=peer)
    return b"".join(parts)
