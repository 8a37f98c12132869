"""HTTP as bytes on a connection: what every server and adapter together make of it.

What a server's own parser refuses before any adapter sees it may differ: 400, 401, 405, 413, 431, 501 or a closed
connection. That nothing runs, and that the next caller is served, may not.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import h11
import pytest

from tests.contract.adapters.droplets import BODY_LIMIT, Everything
from tests.contract.adapters.hosts import PARSING, Host, Kind, Stream, hosting
from tests.contract.served import envelope, token

MESSAGE = json.dumps(envelope("store", {"what": "x"}, message_type="command")).encode()


@pytest.fixture(scope="module", params=PARSING, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
async def host(kind: Kind, anyio_backend: Any) -> AsyncIterator[Host]:
    async with hosting(kind, Everything()) as host:
        yield host


@pytest.fixture
async def line(host: Host) -> AsyncIterator[Line]:
    assert host.connect is not None
    stream = await host.connect()
    host.droplet.ran.clear()
    yield Line(stream, h11.Connection(h11.CLIENT))
    await stream.aclose()


@dataclass
class Got:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Line:
    """One connection; its answers are read strictly."""

    stream: Stream
    parser: h11.Connection

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send(part)

    async def ask(self, *parts: bytes, method: bytes = b"GET") -> Got:
        """Send the bytes of one request, and read its answer."""
        await self.say(*parts)
        return await self.read(method)

    async def read(self, method: bytes = b"GET") -> Got:
        if self.parser.our_state is h11.DONE:
            self.parser.start_next_cycle()
        # So that the parser knows what the answer is to.
        self.parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"test")]))
        self.parser.send(h11.EndOfMessage())
        with anyio.fail_after(5):
            return await self._read()

    async def _read(self) -> Got:
        head: h11.Response | None = None
        body = b""
        while True:
            event = self.parser.next_event()
            if event is h11.NEED_DATA:
                try:
                    self.parser.receive_data(await self.stream.receive())
                except anyio.EndOfStream:
                    self.parser.receive_data(b"")
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
                return Got(head.status_code, headers, body)
            elif isinstance(event, h11.ConnectionClosed):
                raise anyio.EndOfStream

    async def first(self, seconds: float) -> bytes:
        """What comes first within the time; nothing when the server closes."""
        with anyio.move_on_after(seconds), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            return await self.stream.receive()
        return b""

    async def rest(self) -> bytes:
        """Everything that comes until the server closes."""
        got = b""
        with anyio.fail_after(5):
            try:
                while True:
                    got += await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return got


def request(method: str = "GET", path: str = "/livez", *headers: str, body: bytes | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def bearer(permission: str = "write") -> str:
    return f"Authorization: Bearer {token(permission)}"


async def test_header_names_in_any_case(line: Line) -> None:
    for name in ("AUTHORIZATION", "authorization", "AuThOrIzAtIoN"):
        got = await line.ask(request("GET", "/version", f"{name}: Bearer {token('read')}"))
        assert got.status == 200, name


async def test_the_body_type_in_any_case(line: Line) -> None:
    for name in ("CONTENT-TYPE", "content-type"):
        got = await line.ask(request("POST", "/message", bearer(), f"{name}: text/plain", body=b"{}"), method=b"POST")
        assert got.status == 415


async def test_white_space_around_header_values(line: Line) -> None:
    got = await line.ask(request("GET", "/echo", "X-One:   a b \t"))
    assert got.json()["headers"]["x-one"].rstrip() == "a b"  # uvicorn with httptools leaves what stands behind
    assert (await line.ask(request("GET", "/version", f"{bearer('read')} \t"))).status == 200


async def test_repeated_headers_are_joined(line: Line) -> None:
    got = await line.ask(request("GET", "/echo", "X-One: a", "x-one: b", "X-ONE: c"))
    assert got.json()["headers"] == {"x-one": "a, b, c"}


async def test_cookies_are_joined_by_semicolons(line: Line) -> None:
    got = await line.ask(request("GET", "/echo", "Cookie: a=1", "cookie: b=2"))
    assert got.json()["headers"] == {"cookie": "a=1; b=2"}


async def test_two_authorizations_are_no_token(line: Line) -> None:
    got = await line.ask(request("GET", "/version", bearer("read"), bearer("read")))
    assert got.status in (400, 401)


async def test_each_header_of_an_answer_is_sent_once_as_it_is(kind: Kind, line: Line) -> None:
    got = await line.ask(request("GET", "/cookies"))
    assert [value for name, value in got.headers if name == "set-cookie"] == ["a=1", "b=2"]
    kind_ = (got.header("x-kind") or "").encode("latin-1")
    assert kind_ == "grün".encode("utf-8" if kind.adapter == "aiohttp" else "latin-1")
    assert [name for name, _ in got.headers].count("content-type") == 1
    assert [name for name, _ in got.headers].count("content-length") == 1


async def test_lengths_are_those_of_the_bodies(line: Line) -> None:
    for path in ("/livez", "/text", "/bytes", "/large", "/nothing", "/null"):
        got = await line.ask(request("GET", path))
        assert got.header("content-length") == str(len(got.body)), path


async def test_head_has_the_length_of_get(line: Line) -> None:
    for path in ("/livez", "/text", "/large"):
        whole = await line.ask(request("GET", path))
        head = await line.ask(request("HEAD", path), method=b"HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.header("content-length") == whole.header("content-length")
        assert head.header("content-type") == whole.header("content-type")


async def test_no_content_has_neither_body_nor_type(line: Line) -> None:
    got = await line.ask(request("GET", "/empty"))
    assert (got.status, got.body, got.header("content-type")) == (204, b"", None)
    assert got.header("transfer-encoding") is None


async def test_a_connection_is_kept(line: Line) -> None:
    for number in range(5):
        got = await line.ask(request("GET", f"/echo?n={number}"))
        assert got.json()["query"] == {"n": [str(number)]}
    body = json.dumps(envelope()).encode()
    assert (await line.ask(request("POST", "/message", bearer(), body=body), method=b"POST")).status == 200
    assert (await line.ask(request("GET", "/nowhere"))).status == 404
    assert (await line.ask(request("GET", "/livez"))).status == 200


async def test_a_connection_is_kept_after_errors(line: Line) -> None:
    for path, status in (("/state", 401), ("/message", 405), ("/nowhere", 404)):
        assert (await line.ask(request("GET", path))).status == status
    broken = await line.ask(request("POST", "/message", bearer(), body=b"{"), method=b"POST")
    assert broken.status == 400
    assert (await line.ask(request("GET", "/livez"))).status == 200


async def test_a_connection_is_closed_when_asked(line: Line) -> None:
    got = await line.ask(request("GET", "/livez", "Connection: close"))
    assert (got.status, (got.header("connection") or "").lower()) == (200, "close")
    assert await line.rest() == b""


async def test_pipelined_requests_are_answered_in_order(line: Line) -> None:
    await line.say(b"".join(request("GET", f"/echo?n={number}") for number in range(4)))
    for number in range(4):
        assert (await line.read()).json()["query"] == {"n": [str(number)]}


async def test_http_1_0(line: Line) -> None:
    await line.say(b"GET /livez HTTP/1.0\r\nHost: test\r\n\r\n")
    whole = await line.rest()
    assert whole.split(b" ")[1] == b"200"
    assert b'"ok":true' in whole


async def test_a_body_in_chunks(line: Line) -> None:
    head = request("POST", "/message", bearer(), "Transfer-Encoding: chunked")
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (MESSAGE[:10], MESSAGE[10:11], MESSAGE[11:])]
    got = await line.ask(head, *chunks, b"0\r\n\r\n", method=b"POST")
    assert (got.status, got.json()["handled"]) == (200, True)


async def test_a_chunked_body_without_end_is_cut_at_the_limit(line: Line) -> None:
    head = request("POST", "/echo", "Transfer-Encoding: chunked")
    part = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    got = await line.ask(head, *([part] * (BODY_LIMIT // 0x4000 + 1)), b"0\r\n\r\n", method=b"POST")
    assert (got.status, got.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert got.json()["error"]["details"] == {"limit_bytes": BODY_LIMIT}


async def test_the_server_waits_for_nothing_when_asked_to_go_on(line: Line) -> None:
    """`Expect: 100-continue` (RFC 9110 section 10.1.1)."""
    head = request("POST", "/message", bearer(), "Expect: 100-continue", f"Content-Length: {len(MESSAGE)}")
    await line.say(head)
    with anyio.fail_after(5):
        first = await line.stream.receive()
    assert first.startswith(b"HTTP/1.1 100")
    got = await line.ask(MESSAGE, method=b"POST")
    assert got.status == 200


async def test_one_byte_at_a_time(host: Host, line: Line) -> None:
    whole = request("POST", "/message", bearer(), body=MESSAGE)
    got = await line.ask(*(whole[at : at + 1] for at in range(len(whole))), method=b"POST")
    assert (got.status, host.droplet.ran) == (200, ["store x"])


async def test_an_absolute_target(line: Line) -> None:
    got = await line.ask(b"GET http://test/livez HTTP/1.1\r\nHost: test\r\n\r\n")
    assert got.status in (200, 400, 404)


async def test_a_stream_comes_in_chunks(line: Line) -> None:
    got = await line.ask(request("GET", "/three"))
    assert got.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert (got.header("transfer-encoding"), got.header("content-length")) == ("chunked", None)
    assert (await line.ask(request("GET", "/livez"))).status == 200


async def test_nobody_is_told_what_the_droplet_runs_on(line: Line) -> None:
    for path in ("/livez", "/state", "/failing", "/nowhere"):
        got = await line.ask(request("GET" if path != "/failing" else "POST", path))
        assert not {name for name, _ in got.headers} & {"x-powered-by", "x-aspnet-version"}
        assert b"Traceback" not in got.body
        assert b"site-packages" not in got.body


REFUSED_EARLY = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "two lengths": request("POST", "/message", bearer(), "Content-Length: 5", "Content-Length: 6") + b"{}",
    "a negative length": request("POST", "/message", bearer(), "Content-Length: -1") + b"{}",
    "a length in letters": request("POST", "/message", bearer(), "Content-Length: abc") + b"{}",
    "a length with a sign": request("POST", "/message", bearer(), f"Content-Length: +{len(MESSAGE)}") + MESSAGE,
    "chunked and gzip": request("POST", "/message", bearer(), "Transfer-Encoding: gzip") + b"{}",
    "a chunk size that is none": request("POST", "/message", bearer(), "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n",
    "a header without a colon": request("POST", "/message", bearer(), "nonsense", body=MESSAGE),
    "a header with a zero byte": request("POST", "/message", bearer(), "X-One: a\x00b", body=MESSAGE),
    "a space before the colon": request("POST", "/message", bearer(), "X-One : a", body=MESSAGE),
    "a target with a space": request("POST", "/mess age", bearer(), body=MESSAGE),
}


@pytest.mark.parametrize("name", REFUSED_EARLY)
async def test_what_is_no_http_runs_nothing(host: Host, line: Line, name: str) -> None:
    await line.say(REFUSED_EARLY[name])
    got = await line.first(5)
    assert got == b"" or got.split(b" ")[1][:1] in (b"4", b"5"), got
    assert b"Traceback" not in got
    assert token("write").encode() not in got
    assert host.droplet.ran == []
    assert (await host.client("GET", "/livez")).status == 200


@pytest.mark.parametrize("version", ["", " HTTP/9.9", " HTTP/2.0"])
async def test_odd_versions_harm_nobody(host: Host, line: Line, version: str) -> None:
    await line.say(f"GET /livez{version}\r\nHost: test\r\n\r\n".encode())
    assert b"Traceback" not in await line.first(0.1)
    assert (await host.client("GET", "/livez")).status == 200


async def test_two_meanings_of_a_body_are_one_at_most(host: Host, line: Line) -> None:
    """A length and chunks (RFC 9112 section 6.1): the chunks count, or all is refused; never the length."""
    smuggled = request("GET", "/echo/smuggled")
    head = request("POST", "/echo", "Transfer-Encoding: chunked", f"Content-Length: {len(smuggled) + 5}")
    await line.say(head + b"0\r\n\r\n" + smuggled)
    got = await line.first(5)
    status = got.split(b" ")[1] if got else b"400"
    assert status == b"400" or b'"body":""' in got
    assert (await host.client("GET", "/livez")).status == 200


async def test_headers_without_end_are_cut_off(host: Host, line: Line) -> None:
    endless = b"GET /livez HTTP/1.1\r\nHost: test\r\n" + b"X-Filler: " + b"x" * 200_000
    with suppress(anyio.BrokenResourceError):
        for at in range(0, len(endless), 50_000):
            await line.say(endless[at : at + 50_000])
    assert not (await line.first(0.2)).startswith(b"HTTP/1.1 200")
    assert (await host.client("GET", "/livez")).status == 200
