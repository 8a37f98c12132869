"""A load generator that costs little: keep-alive connections that send the same bytes again and again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import cast

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Result:
    """What a round measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is whole."""

    def __init__(self, request: bytes, until: float, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.done = request, until, done
        self.latencies: list[float] = []
        self.errors = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(_END_OF_HEAD)
        if not separator:
            return
        at = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[at:].split(b"\r\n", 1)[0]):
            return
        now = time.perf_counter()
        self.latencies.append(now - self.sent_at)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if now < self.until:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _run(port: int, request: bytes, connections: int, seconds: float) -> Result:
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        _, protocol = await loop.create_connection(
            partial(_Connection, request, begun + seconds, done),
            "127.0.0.1",
            port,
        )
        made.append(protocol)
        ends.append(done)
    await asyncio.gather(*ends)
    took = time.perf_counter() - begun
    latencies = sorted(value for each in made for value in each.latencies)
    return Result(
        requests_per_second=len(latencies) / took,
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[int(len(latencies) * 0.99)],
        errors=sum(each.errors for each in made),
    )


def run(port: int, request: bytes, *, connections: int = 32, seconds: float = 2.0) -> Result:
    """One round against a port."""
    import uvloop

    return uvloop.run(_run(port, request, connections, seconds))
