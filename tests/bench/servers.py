"""The servers that are compared, each a process of its own: `python -m tests.bench.servers NAME CPU`.

Prints its port when it serves; ends on SIGTERM. Frameworks are imported by the servers that need them only.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from tests.bench import rivals
from tests.bench.least import least
from udc import Context, Droplet, query
from udc.asgi import app

ANSWER = b'{"received":true,"result":"success","data":"Hello Ada"}'


async def floor(scope: Any, receive: Any, send: Any) -> None:
    """What a raw ASGI application costs: reads the body, sends a constant."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class Greeter(Droplet):
    """The droplet that is measured: authenticated, typed, counted, traced; all limits on."""

    id, name, steward = 21, "Greeter", "bench"

    @query("greet")
    async def greet(self, who: str, ctx: Context) -> str:
        return f"Hello {who}"

    @query("wait")
    async def wait(self, who: str) -> str:
        await asyncio.sleep(0)
        return f"Hello {who}"


def greeter() -> Greeter:
    """The droplet, with the key of the environment."""
    return Greeter(config={"droplet.url": "http://127.0.0.1:8000"})


def droplet() -> Any:
    """On plain ASGI."""
    return app(greeter())


def on_fastapi(**options: Any) -> Any:
    """Attached to a FastAPI application that has routes of its own."""
    from fastapi import FastAPI

    from udc.fastapi import attach

    api = FastAPI(**options)
    api.get("/own")(lambda: {"own": True})
    attach(api, greeter())
    return api


NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI looks for three OpenTelemetry providers with every request, unless it is told not to."""


def constant_on_fastapi() -> Any:
    """The floor's answer, given in front of all that FastAPI does but for what its own `__call__` does."""
    from fastapi import FastAPI

    api = FastAPI()
    api.build_middleware_stack = lambda: floor  # type: ignore[method-assign]
    return api


def on_starlette() -> Any:
    """Attached to a Starlette application."""
    from starlette.applications import Starlette

    from udc.starlette import attach

    api = Starlette()
    attach(api, greeter())
    return api


async def the_least(scope: Any, receive: Any, send: Any) -> None:
    """The least that has to be done with such a query; see `least`."""
    await (least if scope["type"] == "http" else floor)(scope, receive, send)


ASGI: dict[str, Callable[[], Any]] = {
    "floor": lambda: floor,
    "the least, in one function": lambda: the_least,
    "droplet": droplet,
    "droplet on FastAPI": on_fastapi,
    "droplet on FastAPI without telemetry": lambda: on_fastapi(telemetry=NO_TELEMETRY),
    "constant answer on FastAPI": constant_on_fastapi,
    "droplet on Starlette": on_starlette,
    "hand-written (FastAPI, Depends, python-jose)": rivals.hand_written,
    "FastMCP tool call": rivals.fastmcp,
    "a2a-sdk SendMessage": rivals.a2a,
}


def _serve_asgi(name: str, listener: socket.socket) -> None:
    config = uvicorn.Config(
        ASGI[name](), log_level="error", access_log=False, lifespan="on", loop="uvloop", http="httptools", ws="none"
    )
    uvicorn.Server(config).run(sockets=[listener])


def _serve_aiohttp(name: str, listener: socket.socket) -> None:
    import uvloop
    from aiohttp import web

    api = web.Application()
    if name == "aiohttp Application":

        async def message(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=ANSWER, content_type="application/json")

        api.router.add_post("/message", message)
    else:
        from udc.aiohttp import attach

        attach(api, greeter())
    web.run_app(api, sock=listener, access_log=None, print=lambda *_: None, loop=uvloop.new_event_loop())


AIOHTTP = ("aiohttp Application", "droplet on aiohttp")


def main() -> None:
    """Serve one of them on a free port."""
    name, cpu = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity") and cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    (_serve_aiohttp if name in AIOHTTP else _serve_asgi)(name, listener)


if __name__ == "__main__":
    main()
