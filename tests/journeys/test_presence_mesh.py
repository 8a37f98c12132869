"""Whole droplets and their Registry: what they tell it, what they take from it, and that they serve without it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Droplet, query
from udc._http import HttpClient
from udc._http.memory import FunctionTransport
from udc._ids import seeded
from udc._wiring.hosted import Hosted
from udc._wiring.surroundings import Surroundings
from udc.identity.keys import SigningKey
from udc.instrument import PresenceChanged, RegistrationFailed
from udc.testing import FakeRegistry, World, mesh
from udc.transports.memory import MemoryNetwork

pytestmark = [virtual_time, pytest.mark.timeout(60)]


class Echo(Droplet):
    id, name, steward = 14, "Echo", "tests"
    capabilities = ("echo",)

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

    @query("slow")
    async def slow(self, seconds: float) -> str:
        await anyio.sleep(seconds)
        return "done"


def calls(world: World, path: str, droplet_id: int = 14) -> list[Any]:
    return [
        call
        for call in world.registry.calls
        if call.path == path and droplet_id in (call.body.get("id"), call.body.get("droplet_id"))
    ]


async def presence(world: World) -> str:
    return str((await world.request("GET", "Echo", "/readyz")).json()["presence"])


async def test_registered_with_the_contracts_body() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(1)
        (call,) = calls(world, "/register")
        capabilities = (await world.request("GET", "Echo", "/capabilities")).json()
        live = (await world.request("GET", "Echo", "/livez")).json()
        assert await presence(world) == "registered"
        proof = (await world.request("GET", "Echo", "/proof")).json()
    body = dict(call.body)
    assert len(body.pop("public_key")) == 43
    assert body == {
        "id": 14,
        "name": "Echo",
        "steward": "tests",
        "endpoint": world.endpoint("Echo"),
        "capabilities": ["echo"],
        "version": "0.1.0",
        "status": "active",
        "phase": "ready",
        "instance_id": live["instance_id"],
        "fingerprint": capabilities["fingerprint"],
        "metadata": {"udc_mesh": "1.0"},
    }
    assert proof["action"] == "register"


async def test_beats_carry_the_hash_of_the_registration() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(60)
        assert {call.status for call in calls(world, "/heartbeat")} == {200}
        assert len(calls(world, "/register")) == 1  # never asked to send the record again


async def test_a_stop_drains_in_the_registry_then_leaves_no_record() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.client.query("Echo", "slow", {"seconds": 3}))
            await anyio.sleep(1)
            tasks.start_soon(world.stop, "Echo")
            await anyio.sleep(1)
            assert calls(world, "/heartbeat")[-1].body["phase"] == "stopping"
            assert calls(world, "/heartbeat")[-1].body["in_flight"] == 1
            assert calls(world, "/deregister") == []
        assert len(calls(world, "/deregister")) == 1
        assert 14 not in [row["id"] for row in (await world.request("GET", "Registry", "/droplets")).json()]


async def test_a_stop_does_not_hang_when_the_registry_is_down() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(5)
        world.registry.down()
        await anyio.sleep(60)
        began = anyio.current_time()
        await world.stop("Echo")
        assert anyio.current_time() - began < 4


async def test_a_stop_does_not_hang_when_the_registry_does() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(5)
        world.faults.pause("Registry")
        began = anyio.current_time()
        await world.stop("Echo")
        assert anyio.current_time() - began < 4
        world.faults.heal()


async def test_it_serves_while_the_registry_is_away_for_29_minutes() -> None:
    async with mesh(Echo(), Echo2) as world:
        await anyio.sleep(30)
        world.registry.down()
        for _ in range(29):
            await anyio.sleep(60)
            assert await world.client.query("Echo", "echo", {"text": "a"}) == "a"
        ready = await world.request("GET", "Echo", "/readyz")
        assert (ready.status, ready.json()["presence"]) == (200, "lost")
        world.registry.up()
        await anyio.sleep(60)
        assert await presence(world) == "registered"
        assert len(calls(world, "/register")) <= 2


class Echo2(Echo):
    id, name = 15, "Echo2"


async def test_a_registry_that_lost_its_records_gets_them_again() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(15)
        world.registry.forget()
        await anyio.sleep(15)
        assert len(calls(world, "/register")) == 2
        assert await presence(world) == "registered"


async def test_new_keys_are_fetched_at_the_registrys_word() -> None:
    async with mesh(Echo()) as world:
        await anyio.sleep(15)
        world.registry.rotate_keys()
        before = len([call for call in world.registry.calls if call.path == "/.well-known/jwks.json"])
        await anyio.sleep(15)
        after = len([call for call in world.registry.calls if call.path == "/.well-known/jwks.json"])
        assert after > before


async def test_nothing_is_registered_when_that_is_off() -> None:
    async with mesh(Echo(), config={"registry.auto_register": False}) as world:
        await anyio.sleep(60)
        assert calls(world, "/register") == []
        assert await presence(world) == "unregistered"


def standing(hosted: Hosted) -> str:
    return hosted.parts.membership.presence


class Alone:
    """One droplet on loopback without a Registry, its data directory, and a network where a mesh may appear."""

    def __init__(self, data: Path, network: MemoryNetwork) -> None:
        self.data = data
        self.network = network
        self.events: list[Any] = []
        self.lives = 0

    def surroundings(self, **settings: Any) -> Surroundings:
        self.lives += 1
        return Surroundings(
            explicit={"droplet.url": "http://127.0.0.1:8014", "data": self.data, **settings},
            ambient=seeded(self.lives, anyio.current_time),
            loopback=True,
            make_client=lambda: HttpClient(transport_factory=lambda: FunctionTransport(self.network.exchange)),
            threads=False,
            sample_process=False,
            hooks=[self.events.append],
        )

    def appear(self, *, secret: str = "dev-secret", pid: int | None = None, url: str = "http://127.0.0.1:8000") -> None:
        self.data.mkdir(exist_ok=True)
        (self.data / "secret").write_text(secret)
        (self.data / "secret").chmod(0o600)
        mesh_file = {"registry": url, "pid": os.getpid() if pid is None else pid}
        (self.data / "mesh.json").write_text(json.dumps(mesh_file))


async def test_a_mesh_on_this_machine_is_joined_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async with MemoryNetwork() as network, anyio.create_task_group() as tasks:
        alone = Alone(tmp_path / "d", network)
        echo = Echo()._host(alone.surroundings())
        await tasks.start(lambda *, task_status: echo.serve(task_status=task_status))
        network.register("http://127.0.0.1:8014", echo.surface)
        await anyio.sleep(100)
        assert any("udc mesh" in e.error for e in alone.events if isinstance(e, RegistrationFailed))
        assert len([e for e in alone.events if isinstance(e, RegistrationFailed)]) <= 2  # said, not chanted

        registry = FakeRegistry(secret="dev-secret", config={"droplet.url": "http://127.0.0.1:8000"})
        hosted = registry._host(
            Surroundings(ambient=seeded(9, anyio.current_time), loopback=True, threads=False, sample_process=False)
        )
        await tasks.start(lambda *, task_status: hosted.serve(task_status=task_status))
        network.register("http://127.0.0.1:8000", hosted.surface)
        alone.appear()
        await anyio.sleep(2.5)

        assert [e.after for e in alone.events if isinstance(e, PresenceChanged)] == ["registered"]
        token = registry.keys.token(droplet_id=99, permissions=["read"], aud="fullpotential.droplets/14")
        answer = await network.exchange(
            "GET", "http://127.0.0.1:8014/state", (("authorization", f"Bearer {token}"),), b""
        )
        assert answer.status == 200  # its keys are that Registry's
        assert (await echo.parts.tokens.get("fullpotential.droplets/1")).value

        # The mesh ends, and comes back at another port.
        (alone.data / "mesh.json").unlink()
        network.unregister("http://127.0.0.1:8000")
        await anyio.sleep(60)
        assert standing(echo) == "lost"
        network.register("http://127.0.0.1:8001", hosted.surface)
        alone.appear(url="http://127.0.0.1:8001")
        await anyio.sleep(2.5)
        assert standing(echo) == "registered"

        echo.request_stop()
        hosted.request_stop()


@pytest.mark.parametrize("trouble", ["dead", "elsewhere", "no secret", "rubbish", "off", "reachable"])
async def test_what_is_no_mesh_of_ours_is_left_alone(trouble: str, tmp_path: Path) -> None:
    async with MemoryNetwork() as network, anyio.create_task_group() as tasks:
        asked: list[str] = []

        class Listening(MemoryNetwork):
            async def exchange(self, method: str, url: str, *rest: Any) -> Any:
                asked.append(url)
                return await network.exchange(method, url, *rest)

        alone = Alone(tmp_path / "d", Listening())
        alone.appear(
            pid=2**22 + 1 if trouble == "dead" else None,
            url="http://registry.example" if trouble == "elsewhere" else "http://127.0.0.1:8000",
        )
        if trouble == "no secret":
            (alone.data / "secret").unlink()
        if trouble == "rubbish":
            (alone.data / "mesh.json").write_text("[")
        settings: dict[str, Any] = {"registry.auto_register": False} if trouble == "off" else {}
        around = alone.surroundings(**settings)
        if trouble == "reachable":
            explicit = {**around.explicit, "security.public_key": SigningKey.generate().public_pem}
            around = replace(around, loopback=False, explicit=explicit)
        echo = Echo()._host(around)
        await tasks.start(lambda *, task_status: echo.serve(task_status=task_status))
        network.register("http://127.0.0.1:8014", echo.surface)
        await anyio.sleep(20)
        assert asked == []
        assert standing(echo) == "unregistered"
        echo.request_stop()


async def test_nothing_is_registered_before_the_port_is_open(tmp_path: Path) -> None:
    async with MemoryNetwork() as network, anyio.create_task_group() as tasks:
        alone = Alone(tmp_path, network)
        registry = FakeRegistry(config={"droplet.url": "http://127.0.0.1:8000"})
        hosted = registry._host(Surroundings(loopback=True, threads=False, sample_process=False))
        await tasks.start(lambda *, task_status: hosted.serve(task_status=task_status))
        network.register("http://127.0.0.1:8000", hosted.surface)
        settings = {"registry.url": "http://127.0.0.1:8000", "droplet.secret": registry.secret}
        first = Echo()._host(alone.surroundings(**settings))
        await tasks.start(lambda *, task_status: first.serve(task_status=task_status))
        await anyio.sleep(10)
        assert [c for c in registry.calls if c.path == "/register"] == []
        failed = [event for event in alone.events if isinstance(event, RegistrationFailed)]
        assert "GET /livez there is not answered" in failed[-1].error

        other = Echo()._host(alone.surroundings(**settings))  # somebody else sits at our address
        network.register("http://127.0.0.1:8014", other.surface)
        await anyio.sleep(10)
        assert [c for c in registry.calls if c.path == "/register"] == []

        network.unregister("http://127.0.0.1:8014")
        network.register("http://127.0.0.1:8014", first.surface)
        await anyio.sleep(2)
        assert len([c for c in registry.calls if c.path == "/register"]) == 1
        first.request_stop()
        hosted.request_stop()
