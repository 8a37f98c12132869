"""The droplet of the adapters' contract suite: something of everything, and endpoints that tell what was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import anyio
from pydantic import BaseModel, Field

from tests.contract import served
from udc import Endpoint, HttpRequest, HttpResponse, QueryParameter, endpoint

BODY_LIMIT = 64 * 1024


LIMIT = QueryParameter("limit", Annotated[int, Field(ge=1, le=10)], default=5, description="How many.")
WAY = QueryParameter("way", Literal["up", "down"], required=True)
NAMES = QueryParameter("by-name", Annotated[list[str], Field(max_length=2)], description="Whose.")
DEEP = QueryParameter("deep", bool, default=False)
SEARCH = (LIMIT, WAY, NAMES, DEEP)


class Made(BaseModel):
    name: str


async def echo(request: HttpRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.path,
        "params": request.params,
        "query": request.query,
        "query_string": request.query_string,
        "scheme": request.scheme,
        "known_client": request.client is not None,
        "headers": {name: value for name, value in request.headers.items() if name.startswith(("x-", "cookie"))},
        "content_type": request.headers.get("content-type"),
        "body": request.body.decode("latin-1"),
    }


async def search(request: HttpRequest) -> dict[str, Any]:
    """What its query says."""
    query = request.query
    return {each.name: each.read(query) for each in SEARCH}


class Everything(served.Extended):
    """Beside `served.Extended`: echoes, all kinds of answers, streams.

    Attributes:
        watching: how many streams are open.
        left: set when a caller that was waited for has left.
    """

    endpoints = (
        *served.extra_rows(),
        *(
            Endpoint(method=method, path="/echo", access="public", handler=echo)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        ),
        Endpoint(method="GET", path="/echo/{name}", access="public", handler=echo),
        Endpoint(method="GET", path="/search/{way}", access="public", handler=search, query=SEARCH),
        Endpoint(method="GET", path="/echo/{name}/of/{what}", access="public", handler=echo),
    )

    def __init__(self, **options: Any) -> None:
        config = {
            "droplet.url": "http://127.0.0.1:8014",
            "security.failed_auth_limit": 100_000,
            "limits.max_body_bytes": BODY_LIMIT,
            "peers": served.dead_peer(),
            "security.token": served.token("write"),
            **options.pop("config", {}),
        }
        super().__init__(config=config, **options)
        self.watching = 0
        self.waiting = anyio.Event()
        self.left = anyio.Event()
        self.next = anyio.Event()

    @endpoint("GET", "/text", "public")
    async def text(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body="grüße".encode(), media_type="text/plain; charset=utf-8")

    @endpoint("GET", "/bytes", "public")
    async def bytes_(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=bytes(range(256)), media_type="application/octet-stream")

    @endpoint("GET", "/large", "public")
    async def large(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"x" * 300_000, media_type="text/plain")

    @endpoint("GET", "/nothing", "public")
    async def nothing(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"")

    @endpoint("POST", "/made", "write", request_model=Made, response_model=Made)
    async def made(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=201, body=request.body, headers=(("Location", "/made/1"),))

    @endpoint("GET", "/elsewhere", "public")
    async def elsewhere(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(status=307, media_type=None, headers=(("location", "/text"),))

    @endpoint("GET", "/cookies", "public")
    async def cookies(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"{}", headers=(("set-cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Kind", "grün")))

    @endpoint("GET", "/pinned", "public")
    async def pinned(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"{}", headers=(("Strict-Transport-Security", "max-age=1; preload"),))

    @endpoint("GET", "/teapot", "public")
    async def teapot(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(status=418, body=b'{"i am": "a teapot"}')

    @endpoint("GET", "/null", "public")
    async def null(self, _: HttpRequest) -> None:
        return None

    @endpoint("GET", "/list", "public")
    async def list_(self, _: HttpRequest) -> list[Made]:
        return [Made(name="a"), Made(name="b")]

    @endpoint("GET", "/three", "public")
    async def three(self, _: HttpRequest) -> HttpResponse:
        """A stream that ends."""
        return HttpResponse(
            body=self._three(), media_type="text/event-stream", headers=(("cache-control", "no-cache"),)
        )

    async def _three(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"data: %d\n\n" % number

    @endpoint("GET", "/ticks", "public")
    async def ticks(self, _: HttpRequest) -> HttpResponse:
        """A stream that goes on when it is told to, and never ends."""
        return HttpResponse(body=self._ticks(), media_type="text/event-stream")

    async def _ticks(self) -> AsyncIterator[bytes]:
        self.watching += 1
        try:
            number = 0
            while True:
                yield b"data: %d\n\n" % number
                number += 1
                await self.next.wait()
                self.next = anyio.Event()
        finally:
            self.watching -= 1

    @endpoint("GET", "/broken", "public")
    async def broken(self, _: HttpRequest) -> HttpResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError(served.SECRET_TEXT)

        return HttpResponse(body=parts())

    @endpoint("GET", "/empty-stream", "public")
    async def empty_stream(self, _: HttpRequest) -> HttpResponse:
        async def parts() -> AsyncIterator[bytes]:
            return
            yield b""

        return HttpResponse(body=parts(), media_type="text/event-stream")

    @endpoint("GET", "/patient", "public")
    async def patient(self, request: HttpRequest) -> dict[str, bool]:
        """Answers when its caller has left."""
        assert request.disconnected is not None
        self.waiting.set()
        await request.disconnected()
        self.left.set()
        return {"left": True}
