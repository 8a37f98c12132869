"""The servers that are compared, each a process of its own: `python -m tests.bench.servers NAME`.

Prints its port when it serves; ends on SIGTERM.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

import uvicorn

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


def droplet() -> Any:
    """The droplet, with the key of the environment."""
    return app(Greeter(config={"droplet.url": "http://127.0.0.1:8000"}))


SERVERS = {"floor": lambda: floor, "droplet": droplet}


def main() -> None:
    """Serve one of them on a free port."""
    name, cpu = sys.argv[1], int(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    config = uvicorn.Config(
        SERVERS[name](), log_level="error", access_log=False, lifespan="on", loop="uvloop", http="httptools"
    )
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
