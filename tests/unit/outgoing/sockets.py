"""A TCP server on a free loopback port whose connections a test writes out by hand."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

Talk = Callable[[ByteStream], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk, *, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve each connection with `talk`; yields the origin."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            try:
                await talk(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                return  # the client went away: that is what half of these tests are about

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    served = TLSListener(listener, context, standard_compatible=False) if context is not None else listener
    async with served, anyio.create_task_group() as tasks:
        tasks.start_soon(served.serve, serve)
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def free_origin() -> str:
    """An origin where nobody listens."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        return f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"


async def read_request(stream: ByteStream) -> bytes:
    """One whole request: its head and as much body as its Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "") -> bytes:
    """One whole response."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
