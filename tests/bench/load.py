"""A load generator that costs little: keep-alive connections that send the same bytes again and again.

It never sleeps. Whoever answers a process that sleeps has to wake it, which on a virtual machine costs up to 20 µs of
the answering server's time, and a quick server, whose client has always something to read, would be spared them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

_END_OF_HEAD: Final = b"\r\n\r\n"
CONNECTIONS: Final = 32


@dataclass(frozen=True)
class Result:
    """What a round measured."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def requests_per_second(self) -> float:
        """The rate of the round."""
        return self.requests / self.seconds


Request = bytes | Callable[[], bytes]
"""The bytes to send, or what makes those of the next request."""


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is whole."""

    def __init__(self, request: Request, goes_on: Callable[[], bool], done: asyncio.Future[None]) -> None:
        self.request, self.goes_on, self.done = request, goes_on, done
        self.latencies: list[float] = []
        self.errors = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = self.request if isinstance(self.request, bytes) else self.request()
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(_END_OF_HEAD)
        if not separator or not _is_whole(head.lower(), body):
            return
        self.latencies.append(time.perf_counter() - self.sent_at)
        self.errors += not head.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if self.goes_on():
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _is_whole(head: bytes, body: bytes) -> bool:
    at = head.find(b"content-length:")
    if at < 0:
        return body.endswith(b"0\r\n\r\n")  # chunked
    return len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])


async def _open(port: int, request: Request, connections: int, goes_on: Callable[[], bool]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made: list[_Connection] = []
    for _ in range(connections):
        protocol = partial(_Connection, request, goes_on, loop.create_future())
        made.append((await loop.create_connection(protocol, "127.0.0.1", port))[1])
    return made


async def _result(made: list[_Connection], begun: float) -> Result:
    await asyncio.gather(*(each.done for each in made))
    took = time.perf_counter() - begun
    latencies = sorted(value for each in made for value in each.latencies)
    return Result(
        requests=len(latencies),
        seconds=took,
        p50_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[int(len(latencies) * 0.99)],
        errors=sum(each.errors for each in made),
    )


async def _for_seconds(port: int, request: Request, connections: int, seconds: float) -> Result:
    begun = time.perf_counter()
    with _awake():
        made = await _open(port, request, connections, lambda: time.perf_counter() < begun + seconds)
        return await _result(made, begun)


async def _for_requests(port: int, request: Request, connections: int, requests: int) -> Result:
    left = requests

    def goes_on() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    begun = time.perf_counter()
    with _awake():
        return await _result(await _open(port, request, connections, goes_on), begun)


async def _beside(port: int, hammered: Request, asked: Request, seconds: float) -> Result:
    """What one connection sees of `asked` while others hammer."""
    begun = time.perf_counter()

    def goes_on() -> bool:
        return time.perf_counter() < begun + seconds

    with _awake():
        others = await _open(port, hammered, CONNECTIONS, goes_on)
        result = await _result(await _open(port, asked, 1, goes_on), begun)
        await asyncio.gather(*(each.done for each in others))
    return result


@contextmanager
def _awake() -> Iterator[None]:
    """Keeps the running loop from waiting."""
    loop = asyncio.get_running_loop()
    over = False

    def again() -> None:
        if not over:
            loop.call_soon(again)

    again()
    try:
        yield
    finally:
        over = True


def run(port: int, request: Request, *, connections: int = CONNECTIONS, seconds: float = 2.0) -> Result:
    """One round against a port."""
    import uvloop

    return uvloop.run(_for_seconds(port, request, connections, seconds))


def send(port: int, request: Request, *, requests: int, connections: int = CONNECTIONS) -> Result:
    """A number of requests."""
    import uvloop

    return uvloop.run(_for_requests(port, request, connections, requests))


def beside(port: int, hammered: Request, asked: Request, *, seconds: float = 2.0) -> Result:
    """How one more connection fares with `asked`, while all the others send `hammered`."""
    import uvloop

    return uvloop.run(_beside(port, hammered, asked, seconds))
