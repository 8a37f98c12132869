"""The fakes over real sockets, as users run them beside droplets of their own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn

import udc.asgi
from udc import Droplet, query
from udc._http import HttpClient
from udc.testing import FakeOrchestrator, FakeRegistry, Keys
from udc.wire.canonical import canonical_json

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


class Greeter(Droplet):
    id, name, steward = 21, "Greeter", "tests"

    @query("greet")
    async def greet(self, who: str) -> str:
        return f"Hello {who}"


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Droplets that are members keep a data directory where they run."""
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def served(droplet: Droplet, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """The droplet under uvicorn; yields its address."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    started = anyio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(udc.asgi.app(droplet), log_config=None, lifespan="on", ws="none"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await started.wait()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True


async def test_a_droplet_lives_on_the_fake_registry() -> None:
    registry = FakeRegistry()
    async with served(registry) as registry_url, HttpClient() as client:
        config = {"registry.url": registry_url, "droplet.secret": registry.secret, "droplet.url": "http://127.0.0.1:1"}
        async with served(Greeter(config=config)) as url:
            message = {"message_type": "query", "payload": {"type": "greet", "data": {"who": "Ada"}}}
            answers = [
                await client.request(
                    "POST",
                    f"{url}/message",
                    headers=[("authorization", f"Bearer {token}")],
                    content=canonical_json(message),
                    peer="Greeter",
                )
                for token in (registry.keys.token(), Keys("stranger").token())
            ]
            assert [answer.status for answer in answers] == [200, 401]
            assert b"Hello Ada" in answers[0].body
        registry.down()
        answer = await client.request("GET", f"{registry_url}/.well-known/jwks.json", peer="Registry")
        assert answer.status == 503
    assert ("GET", "/.well-known/jwks.json") in [(call.method, call.path) for call in registry.calls]


async def test_the_fake_orchestrator_gives_tasks() -> None:
    registry, listener = FakeRegistry(), socket.create_server(("127.0.0.1", 0))
    orchestrator_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with served(registry) as registry_url:
        common = {"registry.url": registry_url, "droplet.secret": registry.secret, "droplet.url": "http://127.0.0.1:1"}
        greeter = Greeter(config={**common, "orchestrator.url": orchestrator_url})

        @greeter.on.task("shout")
        async def shout(text: str) -> str:
            return text.upper()

        async with served(greeter) as url:
            peers = [{"id": 21, "name": "Greeter", "endpoint": url, "ours": True}]
            orchestrator = FakeOrchestrator(config={**common, "peers": peers})
            async with served(orchestrator, listener):
                handle = await orchestrator.assign("Greeter", "shout", {"text": "a"})
                assert (await handle.finished(timeout_seconds=5))["result"] == "A"
