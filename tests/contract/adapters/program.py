"""One adapter and one server as a program: `python -m tests.contract.adapters.program fastapi h11 8014`.

The variable `PUBLIC_KEY` is the key that its tokens are verified with.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
from aiohttp import web

from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import application
from udc import command, on_start, on_stop


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Told(Everything):
    """Says on stdout what happens to it."""

    @on_start
    async def begin(self) -> None:
        say("started")

    @command("pause")
    async def pause(self) -> str:
        say("pausing")
        await anyio.sleep(0.5)
        return "paused"

    @on_stop
    async def finish(self) -> None:
        say("stopped")


def make(adapter: str) -> Any:
    return application(
        adapter, Told(config={"limits.grace_seconds": 5, "security.public_key": os.environ["PUBLIC_KEY"]})
    )


def asgi() -> Any:
    return make("asgi")


def fastapi() -> Any:
    return make("fastapi")


def starlette() -> Any:
    return make("starlette")


def main(adapter: str, server: str, port: int) -> None:
    if server == "aiohttp":
        web.run_app(make(adapter), host="127.0.0.1", port=port, print=None, access_log=None, shutdown_timeout=1)
    elif server == "granian":
        from granian import Granian
        from granian.constants import Interfaces

        target = f"tests.contract.adapters.program:{adapter}"
        Granian(
            target, port=port, interface=Interfaces.ASGI, factory=True, log_enabled=False, workers_kill_timeout=5
        ).serve()
    else:
        import uvicorn

        http, loop = ("h11", "asyncio") if server == "h11" else ("httptools", "uvloop")
        uvicorn.run(make(adapter), port=port, http=http, loop=loop, log_level="error")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
