"""HTTP requests with small pools, a bounded answer and errors that say whether the peer may have been reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from udc._types import DropletId
from udc.errors import LifecycleError

if TYPE_CHECKING:
    import ssl

    import httpx2

    from udc._http.answer import HttpAnswer
    from udc._http.lines import Lines
    from udc._http.stream import HttpStream

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024


class HttpClient:
    """Sends HTTP/1.1 requests over kept-alive connections; the one way out for everything in this library.

    Follows no redirects, keeps no cookies, reads no proxy or certificate variables from the environment.
    Use it in `async with`, which owns the connections. Any number of tasks may share it. Connections unused for
    60 s are closed by the next request to anybody, so that no background task is needed: a droplet beats every
    10 s; who does not calls `close_idle`. The client library is loaded by the first request, or by `prepare`: a
    droplet that calls nobody does without it.

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
        self._transport_factory = transport_factory
        self._max_pools = max_pools
        self._lines: Lines | None = None
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
        if self._lines is not None:
            await self._lines.close()

    def prepare(self) -> None:
        """Load the client library now, which takes some 50 ms. May be called at any time, and again."""
        self._made()

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
        lines = self._opened()
        return await lines.request(method, url, headers=headers, content=content, max_bytes=max_bytes, peer=peer)

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
        return await self._opened().stream(method, url, headers=headers, content=content, peer=peer)

    async def close_idle(self) -> None:
        """Close the pools that have been idle for 60 s or are too many; those with requests in flight stay."""
        if self._lines is not None:
            await self._lines.trim()

    def _opened(self) -> Lines:
        if not self._open:
            raise LifecycleError("this HttpClient is not open: use it in 'async with HttpClient() as client'")
        return self._made()

    def _made(self) -> Lines:
        if self._lines is None:
            from udc._http.lines import Lines

            self._lines = Lines(
                ssl_context=self._ssl_context, transport_factory=self._transport_factory, max_pools=self._max_pools
            )
        return self._lines
