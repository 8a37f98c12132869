"""The HTTP client against real sockets: what each kind of failure is called, and that nothing is left behind."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest
import trustme
from anyio.abc import ByteStream

from tests.unit.outgoing.sockets import answer, free_origin, listening, read_request
from udc._http import HttpAnswer, HttpClient
from udc.errors import ConnectionLost, InvalidReply, LifecycleError, PeerUnreachable


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


async def get(client: HttpClient, origin: str, max_bytes: int = 1000) -> HttpAnswer:
    return await client.request("GET", f"{origin}/x", peer="billing", max_bytes=max_bytes)


async def test_an_answer_comes_back_whole(client: HttpClient) -> None:
    seen: list[bytes] = []

    async def talk(stream: ByteStream) -> None:
        seen.append(await read_request(stream))
        await stream.send(answer(b'{"a":1}', status="404 Not Found", headers="X-A: 1\r\nx-a: 2\r\n"))

    async with listening(talk) as origin:
        got = await client.request(
            "POST", f"{origin}/message?q=1", headers=[("X-Trace-Id", "t")], content=b"body", peer="billing"
        )
    assert (got.status, got.body, got.headers["x-a"]) == (404, b'{"a":1}', "1, 2")
    head = seen[0].lower()
    assert head.startswith(b"post /message?q=1 http/1.1\r\n")
    assert b"x-trace-id: t\r\n" in head
    assert b"accept-encoding: identity" in head
    assert head.endswith(b"content-length: 4\r\n\r\nbody")


async def test_refused(client: HttpClient) -> None:
    origin = await free_origin()
    with pytest.raises(PeerUnreachable, match=f"billing is not reachable at {origin}: .*refused.*; nothing was sent"):
        await get(client, origin)


@pytest.mark.parametrize("url", ["ftp://x/", "x", "http://[::1", "http://x:y/", f"http://{'a' * 64}.test/", ""])
async def test_no_address(client: HttpClient, url: str) -> None:
    with pytest.raises(PeerUnreachable):
        await client.request("GET", url, peer="billing")


async def test_an_illegal_header_is_never_sent(client: HttpClient) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)

    async with listening(talk) as origin:
        with pytest.raises(PeerUnreachable):
            await client.request("GET", origin, headers=[("x-a", "b\r\nx-c: d")], peer="billing")


async def close_at_once(stream: ByteStream) -> None:
    await read_request(stream)


async def half_an_answer(stream: ByteStream) -> None:
    await read_request(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


async def half_a_chunk(stream: ByteStream) -> None:
    await read_request(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf")


async def garbage(stream: ByteStream) -> None:
    await read_request(stream)
    await stream.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def endless_head(stream: ByteStream) -> None:
    await read_request(stream)
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X-A: " + b"a" * 10_000 + b"\r\n")


@pytest.mark.parametrize("talk", [close_at_once, half_an_answer, half_a_chunk, garbage, endless_head])
async def test_a_broken_answer_is_a_lost_connection(client: HttpClient, talk: object) -> None:
    async with listening(talk) as origin:  # type: ignore[arg-type]
        with pytest.raises(ConnectionLost, match=f"billing at {origin} broke: .+; the request may have reached it"):
            await get(client, origin)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_endless_answer_is_cut_off(client: HttpClient, chunked: bool) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100000000"
        await stream.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        part = b"a" * 0x4000
        while True:
            await stream.send(b"4000\r\n" + part + b"\r\n" if chunked else part)

    async with listening(talk) as origin:
        with pytest.raises(InvalidReply, match="billing answered with more than 50000 bytes"):
            await get(client, origin, max_bytes=50_000)


async def test_a_short_answer_that_is_too_long_is_refused_too() -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=b"a" * 1001))
    async with HttpClient(transport_factory=lambda: transport) as client:
        with pytest.raises(InvalidReply, match="more than 1000 bytes"):
            await get(client, "http://p")


async def test_a_compressed_answer_is_refused(client: HttpClient) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(answer(b"bomb", headers="Content-Encoding: gzip\r\n"))

    async with listening(talk) as origin:
        with pytest.raises(InvalidReply, match="compressed"):
            await get(client, origin)


async def test_redirects_are_not_followed_and_cookies_not_kept(client: HttpClient) -> None:
    seen: list[bytes] = []

    async def talk(stream: ByteStream) -> None:
        while True:
            seen.append(await read_request(stream))
            await stream.send(answer(status="302 Found", headers="Location: /y\r\nSet-Cookie: a=b\r\n"))

    async with listening(talk) as origin:
        assert [(await get(client, origin)).status, (await get(client, origin)).status] == [302, 302]
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


async def test_the_environments_proxy_is_ignored(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, await free_origin())

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(answer())

    async with listening(talk) as origin:
        assert (await get(client, origin)).status == 200


async def test_a_slow_answer_ends_with_the_callers_scope(client: HttpClient) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.receive()  # until the client goes

    async with listening(talk) as origin:
        with anyio.move_on_after(0.05) as scope:
            await get(client, origin)
        assert scope.cancelled_caught


async def test_connections_are_kept_alive(client: HttpClient) -> None:
    connections = 0

    async def talk(stream: ByteStream) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(stream)
            await stream.send(answer())

    async with listening(talk) as origin:
        for _ in range(5):
            await get(client, origin)
    assert connections == 1


async def test_a_kept_connection_that_was_closed_is_not_used_again(client: HttpClient) -> None:
    closed = anyio.Event()
    connections = 0

    async def talk(stream: ByteStream) -> None:
        nonlocal connections
        connections += 1
        await read_request(stream)
        await stream.send(answer())
        await stream.aclose()
        closed.set()

    async with listening(talk) as origin:
        await get(client, origin)
        await closed.wait()
        await anyio.wait_all_tasks_blocked()
        assert (await get(client, origin)).status == 200
    assert connections == 2


async def test_a_kept_connection_that_closes_under_the_request_is_lost_not_unreachable(client: HttpClient) -> None:
    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(answer())
        await stream.receive(1)  # the next request has begun: nobody can tell how much of it was read

    async with listening(talk) as origin:
        await get(client, origin)
        with pytest.raises(ConnectionLost):
            await get(client, origin)


async def test_cancelled_requests_leave_the_pool_usable(client: HttpClient) -> None:
    """httpx 0.28 keeps a pool locked for ever after requests were cancelled: more of them than connections."""
    quick = False

    async def talk(stream: ByteStream) -> None:
        while True:
            await read_request(stream)
            if not quick:
                await stream.receive()
            await stream.send(answer())

    async with listening(talk) as origin:
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as tasks:
                for _ in range(150):
                    tasks.start_soon(get, client, origin)
        quick = True
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(150):
                    tasks.start_soon(get, client, origin)


async def test_a_request_cancelled_while_the_body_comes_leaves_no_connection(client: HttpClient) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        begun.set()
        try:
            await stream.receive()
        finally:
            ended.set()

    async with listening(talk) as origin, anyio.create_task_group() as tasks:
        tasks.start_soon(get, client, origin)
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(5):
            await ended.wait()


async def test_https_with_a_given_context() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)
        await stream.send(answer())

    async with HttpClient(ssl_context=ours) as client, listening(talk, context=theirs) as origin:
        assert (await get(client, origin)).status == 200


async def test_an_unknown_certificate_is_unreachable(client: HttpClient) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(theirs)

    async def talk(stream: ByteStream) -> None:
        await read_request(stream)

    async with listening(talk, context=theirs) as origin:
        with pytest.raises(PeerUnreachable, match="certificate"):
            await get(client, origin)


async def test_the_certificates_are_loaded_once_and_only_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    real = httpx2.create_ssl_context

    def counting(*, trust_env: bool) -> ssl.SSLContext:
        made.append(real(trust_env=trust_env))
        return made[-1]

    monkeypatch.setattr(httpx2, "create_ssl_context", counting)
    free = await free_origin()
    async with HttpClient() as client:
        for origin, contexts in [(free, 0), (free.replace("http", "https"), 1), ("https://127.0.0.1:1", 1)]:
            with pytest.raises(PeerUnreachable):
                await get(client, origin)
            assert len(made) == contexts
    assert made[0].verify_mode is ssl.CERT_REQUIRED


async def test_a_client_that_is_not_open_says_so() -> None:
    client = HttpClient()
    with pytest.raises(LifecycleError, match="async with"):
        await get(client, "http://127.0.0.1:1")
    async with client:
        with pytest.raises(LifecycleError, match="already open"):
            await client.__aenter__()


async def test_connecting_has_a_limit_of_its_own_and_the_rest_the_callers() -> None:
    limits: list[object] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"])
        return httpx2.Response(200)

    async with HttpClient(transport_factory=lambda: httpx2.MockTransport(note)) as client:
        await get(client, "http://p")
    assert limits == [{"connect": 5.0, "read": None, "write": None, "pool": None}]
