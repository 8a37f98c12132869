"""The client library at work: requests over small pools, answers of bounded size, and what its exceptions mean."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, cast

import httpx2

from udc._http.answer import HttpAnswer
from udc._http.faults import FOREIGN, delivery_error
from udc._http.pools import Pool, Pools
from udc._http.stream import HttpStream
from udc._types import DropletId
from udc.errors import InvalidReply

CONNECT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0
_LONGEST_LABEL: Final = 63
_ORIGIN_AT_FIRST: Final = "its address"
"""How errors call the peer's address until the URL has been read."""
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


class Lines:
    """What an `HttpClient` does, once there is something to do; its arguments, results and errors are told there."""

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None,
        transport_factory: Callable[[], httpx2.AsyncBaseTransport] | None,
        max_pools: int,
    ) -> None:
        self._ssl_context = ssl_context
        self._plain_context: ssl.SSLContext | None = None
        self._transport_factory = transport_factory
        self._pools = Pools(self._make_transport, limit=max_pools, idle_seconds=_IDLE_SECONDS)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]],
        content: bytes | None,
        max_bytes: int,
        peer: DropletId,
    ) -> HttpAnswer:
        """One request and its whole answer."""
        origin = _ORIGIN_AT_FIRST
        try:
            target = _parsed(url)
            origin = _origin(target)
            return await self._exchange(_request(method, target, headers, content), max_bytes=max_bytes, peer=peer)
        except FOREIGN as error:
            raise delivery_error(error, peer=peer, origin=origin) from error

    async def stream(
        self, method: str, url: str, *, headers: Iterable[tuple[str, str]], content: bytes | None, peer: DropletId
    ) -> HttpStream:
        """One request and its answer's beginning."""
        origin = _ORIGIN_AT_FIRST
        try:
            target = _parsed(url)
            origin = _origin(target)
            pool, response = await self._begin(_request(method, target, headers, content))
        except FOREIGN as error:
            raise delivery_error(error, peer=peer, origin=origin) from error
        return HttpStream(response, peer=peer, origin=origin, closed=lambda: self._pools.give_back(pool))

    async def trim(self) -> None:
        """Close the pools that are idle or too many."""
        await self._pools.trim()

    async def close(self) -> None:
        """Close every pool."""
        await self._pools.close()

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
