"""A Registry in a process of its own: `python -m tests.unit.mesh.registry.process DIRECTORY`; prints its port."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from udc.asgi import app
from udc.datadir import DataDirectory
from udc.mesh.registry import Registry


class Server(uvicorn.Server):
    """Says when it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"{(sockets or [])[0].getsockname()[1]}\n")
        sys.stdout.flush()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    config: dict[str, Any] = {"droplet.url": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    droplet = Registry(DataDirectory(Path(sys.argv[1])), config=config)
    options = uvicorn.Config(app(droplet), log_level="error", access_log=False, lifespan="on")
    Server(options).run(sockets=[listener])


if __name__ == "__main__":
    main()
