"""Several instances of one droplet in a mesh, and droplets that come later. In virtual time."""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, on_start, query
from udc.errors import ConfigError, ConnectionLost, PeerUnreachable, UnknownPeer
from udc.instrument import MessageHandled
from udc.testing import FakeRegistry, World, mesh

pytestmark = virtual_time


class Billing(Droplet):
    id, name, steward = 15, "Billing", "tests"
    capabilities = ("bill",)

    def __init__(self, label: str = "") -> None:
        super().__init__()
        self.label = label

    @query("who")
    async def who(self) -> str:
        return self.label

    @query("hold")
    async def hold(self) -> None:
        await anyio.sleep(100)


class Caller(Droplet):
    id, name, steward = 16, "Caller", "tests"

    @query("ask")
    async def ask(self, target: str, ctx: Context) -> object:
        return await ctx.query(target, "who")


class Broken(Droplet):
    id, name, steward = 17, "Broken", "tests"

    @on_start
    async def fail(self) -> None:
        raise ValueError("my own start failed")


async def asked(world: World, target: str = "Billing", *, times: int = 20) -> set[object]:
    """Who answers, of so many calls through a droplet."""
    return {await world.client.query("Caller", "ask", {"target": target}) for _ in range(times)}


async def called(world: World, target: str = "Billing", *, times: int = 20) -> set[object]:
    """The same for the test's own calls."""
    return {await world.client.query(target, "who") for _ in range(times)}


async def test_two_objects_of_one_id_are_two_instances() -> None:
    one, two = Billing("one"), Billing("two")
    async with mesh(one, two, Caller()) as world:
        first, second = world.instances("Billing")

        for target in ("Billing", "15", "bill"):
            assert await asked(world, target) == await called(world, target) == {"one", "two"}
        assert (first.id, first.name, first.number, first.droplet, first.alive) == (15, "Billing", 1, one, True)
        assert (second.id, second.name, second.number, second.droplet) == (15, "Billing", 2, two)
        assert (first.endpoint, second.endpoint) == ("https://billing.mesh.test", "https://billing-2.mesh.test")
        assert world.instances(two) == world.instances(first) == [first, second]
        assert repr(second) == "Instance('Billing', number=2, alive=True)"
        row = (await world.request("GET", "Registry", "/droplet/15")).json()
        assert {each["instance_id"] for each in row["instances"]} == {first.instance_id, second.instance_id}
        live = (await world.request("GET", second, "/livez")).json()
        assert live["instance_id"] == second.instance_id


async def test_what_is_meant_for_one_needs_one() -> None:
    async with mesh(Billing, Billing) as world:
        with pytest.raises(
            UnknownPeer, match=r"'Billing' has 2 instances in this mesh; .*world\.instances\('Billing'\)\[0\]"
        ):
            world.droplet("Billing")
        with pytest.raises(UnknownPeer, match="has 2 instances"):
            await world.request("GET", 15, "/health")
        first, second = world.instances("Billing")
        assert world.droplet(second) is second.droplet is not first.droplet
        assert world.endpoint(first) == first.endpoint


async def test_one_of_them_is_killed_stopped_and_restarted() -> None:
    async with mesh(Billing("one"), Billing("two"), Caller()) as world:
        first, second = world.instances("Billing")
        old_id = first.instance_id

        world.faults.crash(first)
        assert (first.alive, second.alive, second.presence) == (False, True, "registered")
        assert await asked(world) == await called(world) == {"two"}
        await world.faults.restart(first)
        assert first.instance_id != old_id
        assert await asked(world) == await called(world) == {"one", "two"}

        await world.stop(second)
        assert await asked(world) == await called(world) == {"one"}
        assert [each.alive for each in world.instances("Billing")] == [True, False]


async def test_a_name_means_all_of_them() -> None:
    async with mesh(Billing("one"), Billing("two")) as world:
        before = [each.instance_id for each in world.instances("Billing")]
        world.faults.refuse("Billing")
        with pytest.raises(PeerUnreachable):
            await world.client.query("Billing", "who", retries=0)
        world.faults.heal("Billing")
        assert await called(world) == {"one", "two"}
        await world.faults.restart("Billing")
        assert not set(before) & {each.instance_id for each in world.instances("Billing")}
        world.faults.lose_answers("Billing")
        with pytest.raises(ConnectionLost):
            await world.client.query("Billing", "who", retries=1)
        await world.stop("Billing")
        assert [each.alive for each in world.instances("Billing")] == [False, False]


async def test_faults_of_one_leave_the_other_alone() -> None:
    async with mesh(Billing("one"), Billing("two")) as world:
        first, second = world.instances("Billing")
        world.faults.refuse(first)
        assert await called(world) == {"two"}
        for break_it in (world.faults.pause, lambda who: world.faults.slow(who, 1000)):
            break_it(first)
            began = anyio.current_time()
            assert (await world.request("GET", second, "/health")).status == 200
            assert anyio.current_time() == began
            world.faults.heal(first)
            assert (await world.request("GET", first, "/health")).status == 200
            assert anyio.current_time() == began


async def test_another_instance_comes_later() -> None:
    """Nobody had configured more than the one address."""
    async with mesh(Billing("one"), Caller()) as world:
        assert await asked(world) == await called(world) == {"one"}
        second = await world.start(Billing("two"))
        assert (second.number, world.instances("Billing")[1]) == (2, second)
        assert await asked(world) == await called(world) == {"one", "two"}


async def test_another_droplet_comes_later() -> None:
    async with mesh(Caller()) as world:
        billing = await world.start(lambda: Billing("one"))
        assert await asked(world) == await asked(world, "bill") == {"one"}
        first = billing.droplet
        await world.faults.restart("Billing")
        assert world.droplet("Billing") is not first


async def test_one_that_cannot_start_is_not_in_the_mesh() -> None:
    async with mesh(Billing("one"), Caller()) as world:
        with pytest.raises(ValueError, match="my own start failed"):
            await world.start(Broken())
        with pytest.raises(UnknownPeer):
            world.instances("Broken")
        with pytest.raises(ConfigError, match="one Registry"):
            await world.start(FakeRegistry())
        assert await asked(world) == {"one"}


async def test_events_are_told_by_instance() -> None:
    async with mesh(Billing("one"), Billing("two")) as world:
        await called(world)
        first, second = world.instances("Billing")
        handled = [world.events.of(MessageHandled, droplet=who) for who in ("Billing", first, second)]
        assert len(handled[0]) == 20
        assert [*handled[1], *handled[2]] == sorted(handled[0], key=lambda event: event not in handled[1])
        assert handled[1]
        assert handled[2]


async def test_what_cannot_be_instances_is_told() -> None:
    billing = Billing()
    with pytest.raises(
        ConfigError, match="'Billing' \\(15\\) is given twice: each instance needs an object of its own"
    ):
        async with mesh(billing, billing):
            pass
    with pytest.raises(ConfigError, match="is foreign and has several instances"):
        async with mesh(Billing, Billing, foreign=["Billing"]):
            pass
    with pytest.raises(ConfigError, match="a mesh has one Registry, not 2"):
        async with mesh(FakeRegistry, FakeRegistry):
            pass


async def test_capabilities_are_known_as_soon_as_the_mesh_is() -> None:
    """By calls and by broadcasts, of droplets and of the test."""
    async with mesh(Caller(), Billing("one")) as world:
        caller = world.droplet("Caller")
        assert await caller.mesh.query("bill", "who") == await world.client.query("bill", "who") == "one"
        for side in (caller.mesh, world.client):
            assert list((await side.broadcast("news", capability="bill")).replies) == [15]
