"""A Registry to talk to, in few words."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from tests.contract.served import Answer, Client, Life, MemoryClient, Placed, World
from udc._ids import Ambient, seeded
from udc._types import UNSET
from udc._wiring.surroundings import Surroundings
from udc.asgi import App
from udc.identity.keys import SigningKey
from udc.mesh.registry import Registry

SECRET = "the-development-secret-of-these-tests"
MESH = "fullpotential.droplets"
URL = "http://127.0.0.1:8000"


@functools.cache
def signing_keys() -> tuple[SigningKey, ...]:
    return tuple(SigningKey.generate() for _ in range(4))


def registry(data: Any = None, **options: Any) -> Registry:
    config = {"droplet.url": URL, "limits.grace_seconds": 1, **options.pop("config", {})}
    return Registry(data, secret=options.pop("secret", SECRET), signing_keys=signing_keys(), config=config, **options)


def beyond_loopback(**options: Any) -> Registry:
    """One that others can reach: only enrolled droplets may join."""
    return registry(config={"droplet.url": "https://registry.example", **options.pop("config", {})}, **options)


def body(droplet_id: int = 14, **changes: Any) -> dict[str, Any]:
    """A registration of our own kind; a change to `UNSET` removes the field."""
    made = {
        "id": droplet_id,
        "name": f"Droplet{droplet_id}",
        "steward": "team",
        "endpoint": f"http://127.0.0.1:{9000 + droplet_id}",
        "capabilities": ["resize"],
        "version": "1.0.0",
        "status": "active",
        "phase": "ready",
        "instance_id": f"i-{droplet_id}-1",
        "metadata": {"udc_mesh": "1.0"},
        **changes,
    }
    return {name: value for name, value in made.items() if value is not UNSET}


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass
class Mesh:
    """Calls a Registry from this machine."""

    client: Client
    secret: str = SECRET
    skew: list[float] = field(default_factory=lambda: [0.0])

    def skip(self, seconds: float) -> None:
        """Move the wall clock on, and it alone."""
        self.skew[0] += seconds

    async def ask(
        self, method: str, path: str, *, address: str = "127.0.0.1", bearer: str | None = None, **options: Any
    ) -> Answer:
        if method != "GET" and "json" not in options and "content" not in options:
            options["json"] = {}
        return await self.client(method, path, address=address, bearer=bearer, **options)

    async def register(
        self, sent: Mapping[str, Any] | None = None, *, secret: str | None = None, path: str = "/register"
    ) -> Any:
        answer = await self.try_register(sent, secret=secret, path=path)
        assert answer.status in (200, 201), answer.body
        return answer.json()

    async def try_register(
        self, sent: Mapping[str, Any] | None = None, *, secret: str | None = None, path: str = "/register"
    ) -> Answer:
        headers = {"x-droplet-secret": self.secret if secret is None else secret}
        return await self.ask("POST", path, json=sent or body(), headers={k: v for k, v in headers.items() if v})

    async def beat(self, told: Mapping[str, Any], path: str = "/heartbeat", **changes: Any) -> Answer:
        """A beat of what /register answered with."""
        sent = {"droplet_id": told["id"], "status": "active", "phase": "ready", "in_flight": 0, **changes}
        if told.get("instance_id"):
            sent.setdefault("instance_id", told["instance_id"])
        sent = {name: value for name, value in sent.items() if value is not UNSET}
        return await self.ask("POST", path, bearer=told.get("token"), json=sent)

    async def token(self, droplet_id: int = 77, *, secret: str | None = None, **fields: Any) -> str:
        asked = {"droplet_id": droplet_id, "secret": secret or self.secret, **fields}
        answer = await self.ask("POST", "/auth/token", json=asked)
        assert answer.status == 200, answer.body
        return str(answer.json()["token"])

    async def get(self, path: str, **options: Any) -> Any:
        answer = await self.ask("GET", path, headers={"x-droplet-secret": self.secret}, **options)
        assert answer.status == 200, answer.body
        return answer.json()

    async def others(self, path: str = "/droplets") -> list[Any]:
        """The list without the Registry itself."""
        return [each for each in await self.get(path) if each["id"] != 1]


async def serve(world: World, droplet: Registry | None = None) -> Mesh:
    """Start it where the test wants it served."""
    return Mesh(await world.serve(droplet or registry()))


@asynccontextmanager
async def in_virtual_time(droplet: Registry | None = None, **around: Any) -> Any:
    """A Registry whose clock leaps; yields the mesh, whose wall clock follows the loop's."""
    start = anyio.current_time()
    skew = [0.0]
    ambient: Ambient = seeded(7, lambda: 1_800_000_000.0 + anyio.current_time() - start + skew[0])
    surroundings = Surroundings(sample_process=False, threads=False, ambient=ambient, **around)
    life = Life(App(Placed(droplet or registry(), surroundings)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(life.run)
        yield Mesh(MemoryClient(life.app), skew=skew)
        life.stop.set()
