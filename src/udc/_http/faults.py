"""The client library's exceptions, each with the delivery error that it means for a message.

What decides is whether the peer may have seen the request: only what fails before the first byte of it is
written is `PeerUnreachable`, and may therefore be sent again whatever it asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import httpx2

from udc._types import DropletId
from udc.errors import ConnectionLost, DeliveryError, InvalidReply, PeerUnreachable

MEANING: Final[dict[type[Exception], type[DeliveryError]]] = {
    # Before any byte of the request: no connection yet, or no request that could be written.
    httpx2.ConnectError: PeerUnreachable,
    httpx2.ConnectTimeout: PeerUnreachable,
    httpx2.PoolTimeout: PeerUnreachable,
    httpx2.UnsupportedProtocol: PeerUnreachable,
    httpx2.InvalidURL: PeerUnreachable,
    # Raised where the request's head is put together, so before it is written (a line break in a header).
    httpx2.LocalProtocolError: PeerUnreachable,
    # After some of it may have gone out. A kept-alive connection that the peer closed in the same moment is
    # a RemoteProtocolError or ReadError too, and nothing in it tells whether the peer read the request.
    httpx2.ReadError: ConnectionLost,
    httpx2.ReadTimeout: ConnectionLost,
    httpx2.WriteError: ConnectionLost,
    httpx2.WriteTimeout: ConnectionLost,
    httpx2.CloseError: ConnectionLost,
    httpx2.RemoteProtocolError: ConnectionLost,
    # An answer came that cannot be read.
    httpx2.DecodingError: InvalidReply,
    # We use none of these (no proxy, no redirects, no cookies, no server-sent events, no streams handed out);
    # if one comes all the same, nothing is known about the peer.
    httpx2.ProxyError: ConnectionLost,
    httpx2.TooManyRedirects: ConnectionLost,
    httpx2.HTTPStatusError: ConnectionLost,
    httpx2.CookieConflict: ConnectionLost,
    httpx2.SSEError: ConnectionLost,
    httpx2.StreamError: ConnectionLost,
    httpx2.StreamConsumed: ConnectionLost,
    httpx2.StreamClosed: ConnectionLost,
    httpx2.ResponseNotRead: ConnectionLost,
    httpx2.RequestNotRead: ConnectionLost,
    # The inner nodes of the tree: for what a later release hangs below them.
    httpx2.HTTPError: ConnectionLost,
    httpx2.RequestError: ConnectionLost,
    httpx2.TransportError: ConnectionLost,
    httpx2.TimeoutException: ConnectionLost,
    httpx2.NetworkError: ConnectionLost,
    httpx2.ProtocolError: ConnectionLost,
}
"""Every exception class of httpx2; a test walks its tree and compares."""

FOREIGN: Final = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.CookieConflict, httpx2.StreamError)
"""The roots of the tree: what to catch where the library is called."""

_TEXT: Final[dict[type[DeliveryError], str]] = {
    PeerUnreachable: "{peer} is not reachable at {origin}: {reason}; nothing was sent",
    ConnectionLost: "the connection to {peer} at {origin} broke: {reason}; the request may have reached it",
    InvalidReply: "the answer of {peer} at {origin} cannot be read: {reason}",
}


def delivery_error(error: Exception, *, peer: DropletId, origin: str) -> DeliveryError:
    """What an exception of the client library means for the message that was being sent.

    Args:
        error: one of `FOREIGN`, or below it.
        peer: whom the message was for, as the caller names it.
        origin: scheme, host and port; never the whole URL, which may hold what is nobody's business.
    """
    meaning = next(MEANING[kind] for kind in type(error).__mro__ if kind in MEANING)
    return meaning(_TEXT[meaning].format(peer=peer, origin=origin, reason=_reason(error)), peer=peer)


def _reason(error: Exception) -> str:
    """The operating system's own words where there are some, else the library's."""
    spoken = [text for cause in _causes(error) if isinstance(cause, OSError) and (text := _system_text(cause))]
    return (spoken[-1] if spoken else str(error) or type(error).__name__).lower()


def _system_text(error: OSError) -> str | None:
    # asyncio writes "Connect call failed ('10.0.0.1', 80)" over the system's "Connection refused".
    return os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else error.strerror


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what lies under it, outermost first; of a group the first member."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        inner = cause.__cause__ or cause.__context__
        cause = inner.exceptions[0] if isinstance(inner, BaseExceptionGroup) else inner
