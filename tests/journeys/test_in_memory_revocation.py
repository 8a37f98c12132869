"""A revoked token and a rotated-out key stop working within their documented time. In virtual time.

The documented time (docs/explanation/security.md): one beat, and the fetch that follows it. The Registry of these
tests has its droplets beat every 10 s, of which each takes up to 10 % more.
"""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from tests.journeys.many import registry
from udc import Context, Droplet, query
from udc.instrument import KeysFetched, RevocationsFailed, RevocationsFetched
from udc.mesh.registry import Registry
from udc.testing import World, mesh

pytestmark = virtual_time
ONE_BEAT = 11.0
FETCH = 0.5
ADMIN = [("x-droplet-secret", "s" * 32)]


class Front(Droplet):
    id, name, steward = 50, "Front", "tests"

    @query("ask")
    async def ask(self, ctx: Context) -> object:
        return await ctx.query("Back", "answer")


class Back(Droplet):
    id, name, steward = 51, "Back", "tests"

    @query("answer")
    async def answer(self) -> int:
        return 42


async def _status(world: World, token: str, who: str = "Back") -> int:
    return (await world.request("GET", who, "/state", token=token)).status


async def _until_refused(world: World, token: str, who: str = "Back") -> float:
    """Seconds until the token is refused; it is shown all the time, so the verifier has it at hand."""
    began = anyio.current_time()
    while await _status(world, token, who) == 200:
        await anyio.sleep(0.25)
        assert anyio.current_time() - began < 600, "it goes on working"
    return anyio.current_time() - began


@pytest.mark.parametrize("way", ["by droplet", "by token"])
async def test_a_revoked_token_is_refused_everywhere_after_one_beat(way: str) -> None:
    async with mesh(Front(), Back()) as world:
        token = world.token(droplet_id=77, jti="t-77")
        other = world.token(droplet_id=78, jti="t-78")
        assert [await _status(world, token, who) for who in ("Front", "Back")] == [200, 200]

        world.registry.revoke(**({"droplet_id": 77} if way == "by droplet" else {"token_id": "t-77"}))

        assert await _status(world, token, "Registry") == 401, "the Registry itself refuses it at once"
        assert await _until_refused(world, token, "Back") <= ONE_BEAT + FETCH
        assert await _until_refused(world, token, "Front") <= FETCH + ONE_BEAT
        assert [await _status(world, other, who) for who in ("Front", "Back")] == [200, 200]
        await anyio.sleep(1.0)
        assert await _status(world, world.token(droplet_id=77, jti="new")) == 200, "a new token is good"


async def test_a_revoked_token_stays_refused_over_an_outage_and_a_registry_that_lost_its_list() -> None:
    async with mesh(Back()) as world:
        token = world.token(droplet_id=77)
        world.registry.revoke(droplet_id=77)
        await _until_refused(world, token)

        world.registry.down()
        await anyio.sleep(300)
        assert await _status(world, token) == 401
        world.registry.desk.revoked.clear()
        world.registry.forget()
        world.registry.up()
        await anyio.sleep(120)
        assert await _status(world, token) == 401


async def test_the_list_is_read_again_until_that_succeeds() -> None:
    async with mesh(Back()) as world:
        token = world.token(droplet_id=77)
        assert await _status(world, token) == 200
        world.registry.answer_with(500, path="/auth/revocations")
        world.registry.revoke(droplet_id=77)
        await anyio.sleep(60)
        assert await _status(world, token) == 200
        assert world.events.of(RevocationsFailed, droplet="Back")

        world.registry.answer_with(None)
        assert await _until_refused(world, token) <= 30 + FETCH


async def test_a_droplet_that_starts_later_reads_the_list_at_its_start() -> None:
    async with mesh(Back()) as world:
        token = world.token(droplet_id=77)
        world.registry.revoke(droplet_id=77)
        world.faults.crash("Back")
        await world.faults.restart("Back")
        assert await _until_refused(world, token) <= FETCH


async def test_one_fetch_for_each_change() -> None:
    async with mesh(Back()) as world:
        await anyio.sleep(100)
        assert len(world.events.of(RevocationsFetched, droplet="Back")) == 1
        world.registry.revoke(droplet_id=77)
        await anyio.sleep(100)
        assert len(world.events.of(RevocationsFetched, droplet="Back")) == 2


async def test_a_key_that_was_rotated_out_is_refused_after_one_beat_though_its_tokens_were_seen() -> None:
    async with mesh(Back()) as world:
        await anyio.sleep(30)
        token = world.token()
        assert await _status(world, token) == 200

        world.registry.rotate_keys(drop_old=True)

        # Nobody shows a token of the new key, so only the beat tells that there is one.
        assert await _until_refused(world, token) <= ONE_BEAT + FETCH
        assert await _status(world, world.token()) == 200


async def test_a_key_rotated_out_between_the_start_and_the_first_beat_is_refused_too() -> None:
    async with mesh(Back()) as world:
        token = world.token()
        assert await _status(world, token) == 200
        world.registry.rotate_keys(drop_old=True)
        assert await _until_refused(world, token) <= ONE_BEAT + FETCH


async def test_a_new_key_is_fetched_before_its_first_token_comes() -> None:
    async with mesh(Back()) as world:
        await anyio.sleep(30)
        fetched = len(world.events.of(KeysFetched, droplet="Back"))
        world.registry.rotate_keys()
        await anyio.sleep(ONE_BEAT + FETCH)
        assert len(world.events.of(KeysFetched, droplet="Back")) == fetched + 1

        assert await _status(world, world.token()) == 200

        assert len(world.events.of(KeysFetched, droplet="Back")) == fetched + 1


async def test_calls_go_on_while_keys_change() -> None:
    async with mesh(Front(), Back()) as world:
        for turn in range(6):
            assert await world.client.query("Front", "ask") == 42
            world.registry.rotate_keys(drop_old=turn % 2 == 1)
            for _ in range(20):
                await anyio.sleep(1)
                assert await world.client.query("Front", "ask") == 42


class TestWithTheRealRegistry:
    """The same where the Registry is no fake: under 50 droplets it has them beat every 3 s."""

    BEAT = 3.3

    @staticmethod
    async def _token(world: World, droplet_id: int) -> str:
        asked = {"droplet_id": droplet_id, "secret": "s" * 32}
        answer = await world.request("POST", "Registry", "/auth/token", json=asked, token=None)
        assert answer.status == 200
        return str(answer.json()["token"])

    async def test_a_revoked_token(self) -> None:
        async with mesh(registry(), Back()) as world:
            await anyio.sleep(5)
            token, other = await self._token(world, 77), await self._token(world, 78)
            assert await _status(world, token) == 200
            answer = await world.request(
                "POST", "Registry", "/auth/revoke", json={"droplet_id": 77}, headers=ADMIN, token=None
            )
            assert answer.status == 200
            assert await _until_refused(world, token) <= self.BEAT + FETCH
            assert await _status(world, other) == 200

    async def test_a_leaked_key(self) -> None:
        async with mesh(registry(), Front(), Back()) as world:
            await anyio.sleep(5)
            token = await self._token(world, 77)
            assert await _status(world, token) == 200
            assert await world.client.query("Front", "ask") == 42
            real = world.droplet("Registry")
            assert isinstance(real, Registry)

            await real.rotate_keys(leaked=True)

            assert await _until_refused(world, token) <= self.BEAT + FETCH
            assert await _status(world, await self._token(world, 77)) == 200
            await anyio.sleep(10)
            assert await world.client.query("Front", "ask") == 42, "droplets have got new tokens by themselves"
