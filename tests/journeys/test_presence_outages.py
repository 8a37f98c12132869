"""A mesh of fifty and a Registry that fails in every way: all are back within 60 s, and not all at once.

The rate of registrations is taken over ten seconds: fifty independent droplets that spread over half a minute are
sometimes five in one second, which is 10 % of them and five requests.
"""

from __future__ import annotations

import itertools

import anyio
import pytest

from tests.conftest import virtual_time
from tests.journeys.fleet import Fleet, Member, Registry, peak_per_second, running
from udc.instrument import BeatFailed, PresenceChanged, RegistrationFailed

pytestmark = [virtual_time, pytest.mark.timeout(60)]

N = 50
BACK_SECONDS = 60.0
HIGHEST_RATE = 0.05 * N


def rate(fleet: Fleet, since: float) -> float:
    return peak_per_second(fleet.registry.attempted_at(since), window=10.0)


async def test_the_registry_is_down_at_start() -> None:
    registry = Registry()
    registry.down = True
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(300)
        assert {m.loop.presence for m in fleet.members} == {"unregistered"}
        back = anyio.current_time()
        registry.restart(empty=True)
        await fleet.all_back(BACK_SECONDS)
        assert rate(fleet, back) <= HIGHEST_RATE


@pytest.mark.parametrize("outage_seconds", [40, 29 * 60])
@pytest.mark.parametrize("empty", [False, True])
async def test_killed_and_restarted(outage_seconds: float, *, empty: bool) -> None:
    registry = Registry()
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.down = True
        await anyio.sleep(outage_seconds)
        assert {m.loop.presence for m in fleet.members} == {"lost"}
        back = anyio.current_time()
        registry.restart(empty=empty)
        await fleet.all_back(BACK_SECONDS)
        again = registry.attempted_at(back)
        assert len(again) == (N if empty else 0)
        assert peak_per_second(again, window=10.0) <= HIGHEST_RATE


async def test_a_registry_that_forgot_everybody_and_names_no_spread() -> None:
    registry = Registry(spread_seconds=0.0)
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.down = True
        await anyio.sleep(120)
        back = anyio.current_time()
        registry.restart(empty=True)
        await fleet.all_back(BACK_SECONDS)
        assert rate(fleet, back) <= 1.1 * HIGHEST_RATE


async def test_tokens_die_during_an_outage() -> None:
    registry = Registry()
    registry.expires_in = 300.0
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.down = True
        await anyio.sleep(900)
        registry.restart(empty=False)
        await fleet.all_back(BACK_SECONDS)
        assert not [call for call in registry.calls if call.status == 401]


async def test_a_new_key_of_the_registry_costs_one_refused_token() -> None:
    registry = Registry()
    async with running(5, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.generation += 1
        await anyio.sleep(30)
        assert len([call for call in registry.calls if call.status == 401]) == 5
        assert fleet.present == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
async def test_answers_that_are_no_success(status: int) -> None:
    registry = Registry()
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.forced = status
        await anyio.sleep(120)
        assert {m.loop.presence for m in fleet.members} == {"lost"}
        tried = len(registry.calls)
        await anyio.sleep(60)
        # Nobody hammers: not more than one attempt (of two requests: token, secret; register, patch) each 10 s.
        assert len(registry.calls) - tried <= N * 2 * 6
        registry.forced = None
        await fleet.all_back(BACK_SECONDS)


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_refused_from_the_start(status: int) -> None:
    registry = Registry()
    registry.forced = status
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(300)
        said = [event.error for event in fleet.members[0].events if isinstance(event, RegistrationFailed)]
        wanted = {401: "check droplet.secret", 404: "is registry.style 'contract' right?", 500: "500"}
        assert wanted[status] in said[-1]
        registry.forced = None
        await fleet.all_back(BACK_SECONDS)


async def test_a_slow_registry_loses_nobody() -> None:
    registry = Registry()
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.delay_seconds = 5.0
        await anyio.sleep(300)
        assert fleet.present == N
        assert not [event for m in fleet.members for event in m.events if isinstance(event, BeatFailed)]
        assert peak_per_second([c.at for c in registry.calls if c.droplet_id == 101], window=10.0) <= 0.2


async def test_beats_are_small_and_on_time_and_none_is_queued() -> None:
    registry = Registry()
    async with running(3, registry=registry) as fleet:
        await anyio.sleep(300)
        registry.down = True
        await anyio.sleep(600)
        back = anyio.current_time()
        registry.restart(empty=False)
        await fleet.all_back(BACK_SECONDS)
        await anyio.sleep(120)
    beats = [call for call in registry.calls if call.path == "/heartbeat"]
    assert max(call.size for call in beats) <= 200
    for member in fleet.members:
        own = [call.at for call in beats if call.droplet_id == member.id]
        pauses = [later - earlier for earlier, later in itertools.pairwise(own) if later < 300 or earlier > back]
        assert all(9.0 <= pause <= 11.0 for pause in pauses), pauses
        assert max(pauses) - min(pauses) > 0.5


async def test_the_registry_slows_the_mesh_down() -> None:
    registry = Registry()
    async with running(1, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.beat_every = 20.0
        await anyio.sleep(30)
        before = len(registry.calls)
        await anyio.sleep(200)
        assert 9 <= len(registry.calls) - before <= 12
        assert fleet.present == 1


async def test_two_instances_of_one_droplet_live_side_by_side() -> None:
    registry = Registry()
    async with running(1, registry=registry) as fleet:
        fleet.add(Member(101, registry, fleet.client, instance="b"))
        await anyio.sleep(100)
        assert fleet.present == 2
        await fleet.members[0].loop.leave()
        assert set(registry.known) == {(101, fleet.members[1].instance_id)}
        await anyio.sleep(60)
        assert fleet.members[1].loop.presence == "registered"


async def test_a_graceful_stop_leaves_no_record() -> None:
    registry = Registry()
    async with running(N, registry=registry) as fleet:
        await anyio.sleep(47)
        registry.delay_seconds = 0.3  # calls are under way when it comes
        async with anyio.create_task_group() as stops:
            for member in fleet.members:
                member.phase = "stopping"
                member.loop.changed()
                stops.start_soon(member.loop.leave)
        await anyio.sleep(60)
        assert registry.known == {}
        assert {m.loop.presence for m in fleet.members} == {"unregistered"}


async def test_a_change_is_told_at_once() -> None:
    registry = Registry()
    async with running(1, registry=registry) as fleet:
        await anyio.sleep(42)
        changed = anyio.current_time()
        fleet.members[0].phase = "stopping"
        fleet.members[0].loop.changed()
        await anyio.sleep(0.5)
        assert registry.calls[-1].body["phase"] == "stopping"
        assert registry.calls[-1].at - changed < 0.1


async def test_presence_is_told_in_events() -> None:
    registry = Registry()
    async with running(1, registry=registry) as fleet:
        await anyio.sleep(30)
        registry.down = True
        await anyio.sleep(60)
        registry.restart(empty=True)
        await fleet.all_back(BACK_SECONDS)
        await fleet.members[0].loop.leave()
        moves = [(e.before, e.after) for e in fleet.members[0].events if isinstance(e, PresenceChanged)]
        assert moves == [
            ("unregistered", "registered"),
            ("registered", "lost"),
            ("lost", "registered"),
            ("registered", "unregistered"),
        ]
