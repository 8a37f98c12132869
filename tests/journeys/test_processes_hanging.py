"""Clients that hang and streams that never end do not keep a process: under `udc run`, and under plain uvicorn."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.journeys.processes import free_port
from tests.journeys.programs import Program, Programs, meeting_point, message, request, until

SHOP = '''
import sys

import anyio
import udc.asgi
from udc import Droplet, HttpRequest, HttpResponse, command, endpoint, on_stop


class Shop(Droplet):
    id, name, steward = 21, "Shop", "tests"

    @endpoint("GET", "/ticks", "public")
    async def ticks(self, request: HttpRequest) -> HttpResponse:
        async def parts():
            try:
                while True:
                    yield b"data: tick\\n\\n"
                    await anyio.sleep(0.01)
            finally:
                print("stream closed", file=sys.stderr)
        return HttpResponse(body=parts(), media_type="text/event-stream")

    @endpoint("GET", "/flood", "public")
    async def flood(self, request: HttpRequest) -> HttpResponse:
        async def parts():
            while True:
                yield b"x" * 65536
        return HttpResponse(body=parts(), media_type="text/event-stream")

    @endpoint("GET", "/large", "public")
    async def large(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"x" * 50_000_000, media_type="text/plain")

    @command("hold")
    async def hold(self, port: int) -> str:
        """Report at the port, and return when the other side has answered."""
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()
        return "held"

    @on_stop
    async def farewell(self) -> None:
        print("stop hook", file=sys.stderr)


app = udc.asgi.app(Shop())
'''
ATTACHED = """
from starlette.applications import Starlette

import udc.starlette
from shop import Shop

app = Starlette()
udc.starlette.attach(app, Shop())
"""
OPEN = {"UDC_SECURITY__REQUIRE_AUTH": "false"}
GRACE = 1
LIMIT = GRACE + 2 + 4
"""The grace, what answers get to go out, and what a busy machine takes."""


@dataclass
class Shop:
    program: Program
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5)


def under_udc_run(programs: Programs, grace: float = GRACE) -> Shop:
    variables = {**OPEN, "UDC_LIMITS__GRACE_SECONDS": str(grace)}
    program = programs.udc("run", "shop.py:Shop", "--port", "0", "--json", **variables)
    return Shop(program, int(program.first()["url"].rpartition(":")[2]))


def attached(programs: Programs, grace: float = GRACE) -> Shop:
    programs.write("attached.py", ATTACHED)
    return under_uvicorn(programs, grace, "attached:app")


def under_uvicorn(programs: Programs, grace: float = GRACE, app: str = "shop:app") -> Shop:
    port = free_port()
    variables = {**OPEN, "UDC_LIMITS__GRACE_SECONDS": str(grace), "DROPLET_URL": f"http://127.0.0.1:{port}"}
    program = programs.python("-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", **variables)
    made = Shop(program, port)
    until(lambda: _ready(made))
    return made


def _ready(shop: Shop) -> bool:
    try:
        return request(shop.url, "/readyz")[0] == 200
    except OSError:
        return False


Start = Callable[[Programs, float], Shop]
either = pytest.mark.parametrize("start", [under_udc_run, under_uvicorn], ids=["udc-run", "uvicorn"])


def an_open_stream(shop: Shop) -> socket.socket:
    client = shop.dial()
    client.sendall(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in client.recv(1024)
    return client


def half_the_headers(shop: Shop) -> socket.socket:
    client = shop.dial()
    client.sendall(b"POST /message HTTP/1.1\r\nHost: x\r\nContent-Le")
    return client


def half_a_body(shop: Shop) -> socket.socket:
    client = shop.dial()
    client.sendall(b"POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    return client


def an_answer_that_nobody_reads(shop: Shop) -> socket.socket:
    return _unread(shop, b"/large")


def a_stream_that_nobody_reads(shop: Shop) -> socket.socket:
    return _unread(shop, b"/flood")


def _unread(shop: Shop, path: bytes) -> socket.socket:
    client = shop.dial()
    client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    return client


def an_idle_connection(shop: Shop) -> socket.socket:
    client = shop.dial()
    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in client.recv(1024)
    return client


HANGING = [
    an_open_stream,
    half_the_headers,
    half_a_body,
    an_answer_that_nobody_reads,
    a_stream_that_nobody_reads,
    an_idle_connection,
]


@contextmanager
def hanging(shop: Shop, *kinds: Callable[[Shop], socket.socket]) -> Iterator[None]:
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(kind(shop))
        assert request(shop.url, "/livez")[0] == 200, "it has read what came before"
        yield


@either
def test_hanging_clients_do_not_keep_a_process(programs: Programs, start: Start) -> None:
    programs.write("shop.py", SHOP)
    shop = start(programs, GRACE)
    with hanging(shop, *HANGING):
        began = time.monotonic()
        code, _, err = shop.program.stop()
        seconds = time.monotonic() - began

    assert seconds < LIMIT, err
    assert code in (0, -15), err
    assert (err.count("stop hook"), err.count("stream closed")) == (1, 1)


@pytest.mark.parametrize("start", [under_udc_run, under_uvicorn, attached], ids=["udc-run", "uvicorn", "attached"])
def test_a_stream_ends_with_the_work_not_with_the_grace(programs: Programs, start: Start) -> None:
    """Nothing is in flight, so nothing is waited for, whatever the grace is."""
    programs.write("shop.py", SHOP)
    shop = start(programs, 60)
    with hanging(shop, an_open_stream, an_idle_connection):
        code, _, err = shop.program.stop()

    assert code in (0, -15), err
    assert (err.count("stop hook"), err.count("stream closed")) == (1, 1)


@either
def test_work_in_flight_is_answered_though_others_hang(programs: Programs, start: Start) -> None:
    """The droplet hears of the signal at once: it takes nothing new, and finishes what it has."""
    programs.write("shop.py", SHOP)
    shop = start(programs, 5)
    with meeting_point() as server, ThreadPoolExecutor(1) as pool, shop.dial() as kept:
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in kept.recv(4096)
        body = message("command", "hold", port=server.getsockname()[1])
        held = pool.submit(request, shop.url, "/message", body)
        with server.accept()[0] as handler, hanging(shop, an_open_stream):
            shop.program.signal()
            until(lambda: _draining(shop, kept))
            handler.send(b"!")
            assert held.result()[1]["data"] == "held"
            code, _, err = shop.program.end()

    assert code in (0, -15), err
    assert err.count("stop hook") == 1
    assert "Traceback" not in err


def _draining(shop: Shop, kept: socket.socket) -> bool:
    """What the server does with new calls: it refuses them, or the droplet does."""
    try:
        return request(shop.url, "/readyz")[0] == 503
    except OSError:
        return True
