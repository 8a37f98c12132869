"""The usual query under aiohttp goes a shorter way, too: whatever comes on a connection, both ways answer alike."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import udc.aiohttp
from tests.unit.surface.test_express import CHANGING_TEXTS, KEY, TOKENS, Twin, asking, envelope, stripped, watching
from udc import Droplet, HttpRequest, endpoint

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


def written(body: Any, *headers: str, path: str = "/message", bearer: str = "writer", chunked: bool = False) -> bytes:
    """A request as it goes over the wire."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(text)}"
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKENS[bearer]}", told, *headers)
    typed = (
        () if any(each.lower().startswith("content-type") for each in headers) else ("Content-Type: application/json",)
    )
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text) if chunked else text
    return "\r\n".join((*lines, *typed, "", "")).encode() + sent


CASES: dict[str, tuple[bytes, ...]] = {
    "usual ones in a row": (written(envelope()), written(asking("any", {"a": "x" * 5000})), written(envelope())),
    "failures in between": tuple(written(asking(each)) for each in ("broken", "slow", "business", "greet")),
    "in chunks": (written(envelope(), chunked=True), written(envelope())),
    "an announced body": (written(envelope(), "Expect: 100-continue"), written(envelope())),
    "nothing": (written(b""), written(envelope())),
    "over the application's own limit": (written(asking("any", {"a": "x" * 100_000})),),
    "a type with a charset": (written(envelope(), "Content-Type: application/json; charset=utf-8"),),
    "two tokens": (written(envelope(), "authorization: Bearer x"),),
    "packed": (written(gzip.compress(json.dumps(envelope()).encode()), "Content-Encoding: gzip"),),
    "no ASCII": (written(envelope(), bearer="odd"), written(envelope())),
    "the last of a connection": (written(envelope(), "Connection: close"),),
    "below a prefix": tuple(
        written(envelope(), path=f"/sub/bill{each}") for each in ("/message", "//message", "/%6dessage")
    ),
    "not below it": (written(envelope(), path="/message"), written(envelope(), path="/bill/message")),
}


@asynccontextmanager
async def served(*, below: bool, short: bool) -> AsyncGenerator[tuple[int, Any]]:
    """A droplet in an application, and perhaps that in another."""
    inner = app = web.Application(client_max_size=100)
    udc.aiohttp.attach(inner, Twin(lambda _: None, {"security.failed_auth_limit": 1000}), "/bill" if below else "")
    if below:
        app = web.Application()
        app.add_subapp("/sub", inner)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        attached: Any = inner[udc.aiohttp._DROPLETS]  # pyright: ignore[reportPrivateUsage]
        hosted = next(iter(attached)).hosted
        if not short:
            hosted.surface.express = None
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], hosted.parts
    finally:
        await runner.cleanup()


async def answers(port: int, requests: Iterable[bytes]) -> list[Any]:
    """Of requests that are all sent at once, over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = list(requests)
    writer.write(b"".join(sent))
    found = [await answer(reader) for _ in sent]
    writer.close()
    await writer.wait_closed()
    return found


async def answer(reader: asyncio.StreamReader) -> Any:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert length is not None
    body = await reader.readexactly(int(length[1]))
    lines = sorted(line for line in head.decode("latin-1").split("\r\n") if not line.startswith("Date:"))
    return lines, stripped(body) if body.startswith(b"{") else body


async def test_both_ways_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = watching(monkeypatch)
    differ: list[str] = []
    for below in (False, True):
        async with served(below=below, short=True) as short, served(below=below, short=False) as long:
            for name, requests in CASES.items():
                seen: list[str] = []
                for port, parts in (short, long):
                    found = [await answers(port, requests) for _ in range(2)]  # a token is remembered from the first on
                    counts = dict(parts.stats.messages.values), parts.stats.requests_total
                    left = parts.dispatcher.in_flight.count
                    seen.append(CHANGING_TEXTS.sub("…", repr((found, left))) + repr(counts))
                if seen[0] != seen[1]:
                    differ.append(f"{name}: {seen}")
    assert differ == []
    assert sum(taken) > 10


async def test_a_path_means_the_same_as_under_other_servers() -> None:
    """They unquote it before they look: what is declared with a `%` is asked for with `%25`."""

    class Quoted(Droplet):
        id, name, steward = 21, "Quoted", "tests"

        @endpoint("POST", "/a%2Fb", "public")
        async def here(self, request: HttpRequest) -> str:
            return request.path

    app = web.Application()
    udc.aiohttp.attach(app, Quoted(config={"security.public_key": KEY.public_pem}))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found = await answers(runner.addresses[0][1], [written(b"", path=path) for path in ("/a%2Fb", "/a%252Fb")])
    finally:
        await runner.cleanup()
    assert ["HTTP/1.1 200 OK" in head for head, _ in found] == [False, True]
