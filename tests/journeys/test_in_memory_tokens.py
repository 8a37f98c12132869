"""Tokens and keys through a whole mesh: renewal, rotation, outage, forgery. In virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, PeerError, query
from udc.instrument import AuthenticationFailed, KeysFetched, TokenFailed, TokenRenewed
from udc.testing import Keys, World, mesh

pytestmark = [virtual_time, pytest.mark.timeout(60)]
HOUR = 3600


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


def _renewals(world: World, audience: str) -> list[TokenRenewed]:
    return world.events.of(TokenRenewed, droplet="Front", where=lambda event: event.audience == audience)


async def test_a_refused_token_is_renewed_once() -> None:
    async with mesh(Front(), Back()) as world:
        assert await world.client.query("Front", "ask") == 42
        world.registry.rotate_keys(drop_old=True)
        # A token of the new key makes Back read the new set, in which the old key is missing.
        await world.request("GET", "Back", "/state", token=world.token())

        assert await world.client.query("Front", "ask") == 42

        assert len(world.events.of(AuthenticationFailed, droplet="Back")) == 1
        assert len(_renewals(world, "fullpotential.droplets/51")) == 2


@pytest.mark.timeout(60)
async def test_tokens_are_renewed_in_the_background_while_calls_go_on() -> None:
    async with mesh(Front(), Back()) as world:
        began = anyio.current_time()
        while (elapsed := anyio.current_time() - began) < 3 * HOUR:
            # Down for 30 minutes, in which every token's renewal comes due.
            if HOUR <= elapsed < 1.5 * HOUR:
                world.registry.down()
            else:
                world.registry.up()
            assert await world.client.query("Front", "ask") == 42
            await anyio.sleep(60)

        times = [event.expires_at - HOUR for event in _renewals(world, "fullpotential.droplets/51")]
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert len(gaps) >= 5
        assert all(gap >= 0.4 * HOUR for gap in gaps)
        assert sum(gap <= 0.5 * HOUR + 1 for gap in gaps) >= len(gaps) - 1, "only the outage may delay a renewal"
        assert world.events.of(TokenFailed, droplet="Front"), "the outage must have been felt"
        assert not world.events.of(AuthenticationFailed)


async def test_a_registry_that_hangs_costs_a_first_call_a_second_and_the_next_nothing() -> None:
    async with mesh(Front(), Back()) as world:
        await anyio.sleep(6)  # by then the mesh's token is at hand
        world.faults.pause("Registry")
        took: list[float] = []
        for _ in range(3):
            began = anyio.current_time()
            assert await world.client.query("Front", "ask") == 42
            took.append(anyio.current_time() - began)
        assert took[0] <= 1.1
        assert max(took[1:]) <= 0.1


async def test_with_the_registry_away_a_peer_that_was_never_called_can_be() -> None:
    async with mesh(Front(), Back()) as world:
        await anyio.sleep(6)
        world.registry.down()
        await anyio.sleep(HOUR / 4)
        assert await world.client.query("Front", "ask") == 42


async def test_an_unknown_key_is_fetched_once() -> None:
    async with mesh(Back()) as world:
        assert await world.client.query("Back", "answer") == 42
        await anyio.sleep(1)  # the fetch that follows the registration is over
        before = len(world.events.of(KeysFetched, droplet="Back"))
        world.registry.rotate_keys()

        for _ in range(3):
            answer = await world.request("GET", "Back", "/state", token=world.token())
            assert answer.status == 200

        assert len(world.events.of(KeysFetched, droplet="Back")) == before + 1


async def test_a_key_that_is_not_published_is_refused_until_it_is() -> None:
    async with mesh(Back()) as world:
        await world.client.query("Back", "answer")
        world.registry.rotate_keys(publish_first=False)
        token = world.token()

        assert (await world.request("GET", "Back", "/state", token=token)).status == 401
        world.registry.publish_keys()
        await anyio.sleep(31)  # an unknown key causes at most one fetch in 30 s
        assert (await world.request("GET", "Back", "/state", token=token)).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"iss": "somebody"},
        {"aud": "fullpotential.droplets/50"},
        {"aud": None},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"droplet_id": None, "sub": None},
    ],
    ids=str,
)
async def test_a_forged_claim_is_refused(claims: dict[str, Any]) -> None:
    async with mesh(Back()) as world:
        assert (await world.request("GET", "Back", "/state", token=world.token())).status == 200

        answer = await world.request("GET", "Back", "/state", token=world.token(**claims))

        assert answer.status == 401
        assert answer.json()["error"]["code"] == "UNAUTHORIZED"


async def test_a_strangers_signature_is_refused() -> None:
    async with mesh(Back()) as world:
        strangers = Keys("stranger", wall=lambda: world.now().timestamp())

        assert (await world.request("GET", "Back", "/state", token=strangers.token())).status == 401
        assert (await world.request("GET", "Back", "/state", token=None)).status == 401
        assert (await world.request("GET", "Back", "/health", token=None)).status == 200


async def test_tokens_end_in_virtual_time() -> None:
    async with mesh(Back()) as world:
        token = world.token()
        assert (await world.request("GET", "Back", "/state", token=token)).status == 200
        await anyio.sleep(HOUR + 61)
        assert (await world.request("GET", "Back", "/state", token=token)).status == 401


async def test_a_spoofed_source_is_refused() -> None:
    async with mesh(Back()) as world:
        answer = await world.request(
            "POST", "Back", "/message", json={"source": 50, "message_type": "query", "payload": {"type": "answer"}}
        )

        assert answer.status == 403
        assert answer.json()["error"]["details"]["field"] == "source"


async def test_a_token_without_the_permission_is_refused() -> None:
    async with mesh(Back()) as world:
        reader = world.client_for(permissions=["read"])
        with pytest.raises(PeerError, match="403 FORBIDDEN"):
            await reader.query("Back", "answer")
        assert await world.client_for(permissions=["write"], droplet_id=50).query("Back", "answer") == 42


async def test_what_the_registry_grants_is_what_a_droplet_may() -> None:
    async with mesh(Front(), Back()) as world:
        world.registry.enrol(50, permissions=["read"])
        with pytest.raises(PeerError) as caught:
            await world.client.query("Front", "ask")
        assert caught.value.status == 500, "a peer's 4xx let pass is the handler's own fault"
