"""What the tokens allow that droplets show to each other. In virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import virtual_time
from udc import Context, Droplet, PeerError, query
from udc.identity.sources import unverified_claims
from udc.testing import mesh

pytestmark = virtual_time


class Front(Droplet):
    id, name, steward = 50, "Front", "tests"

    @query("ask")
    async def ask(self, ctx: Context, who: str) -> object:
        return await ctx.query(who, "answer")


class Keen(Droplet):
    """Answers with the claims of the token that it was shown, as a curious droplet may read them."""

    id, name, steward = 51, "Keen", "tests"

    @query("answer")
    async def answer(self, ctx: Context) -> dict[str, Any]:
        shown = ctx.principal
        assert shown is not None
        return {"audience": shown.audience, "may": sorted(shown.permissions), "scopes": sorted(shown.scopes)}


class Ours(Keen):
    id, name = 52, "Ours"


@pytest.mark.parametrize(
    ("enrolled", "configured", "shown"),
    [
        (["read", "write", "admin"], {}, ["read", "write"]),
        (["admin"], {}, ["read", "write"]),
        (["write"], {}, ["write"]),
        (["read", "write", "admin"], {"security.foreign_permissions": ["write"]}, ["write"]),
        (["admin"], {"security.foreign_permissions": ["admin"]}, ["admin"]),
    ],
    ids=str,
)
async def test_a_foreign_peer_is_shown_what_it_needs(
    enrolled: list[str], configured: dict[str, Any], shown: list[str]
) -> None:
    async with mesh(Front(), Keen(), Ours(), foreign=["Keen"], config=configured) as world:
        world.registry.enrol(50, permissions=enrolled, scopes=["udc:send"])
        foreign = await world.client.query("Front", "ask", {"who": "Keen"})
        assert foreign == {"audience": "fullpotential.droplets", "may": shown, "scopes": []}

        own = await world.client.query("Front", "ask", {"who": "Ours"})
        assert own["audience"] == "fullpotential.droplets/52"
        assert own["may"] == sorted(enrolled)


async def test_what_a_foreign_peer_was_shown_is_of_no_use_for_administration() -> None:
    async with mesh(Front(), Keen(), Ours(), foreign=["Keen"]) as world:
        world.registry.enrol(50, permissions=["admin"])
        await world.client.query("Front", "ask", {"who": "Keen"})
        (asked,) = [call.body for call in world.registry.calls if call.body.get("audience") == "fullpotential.droplets"]
        answer = await world.request("POST", "Registry", "/auth/token", json=dict(asked), token=None)
        stolen = answer.json()["token"]
        assert unverified_claims(stolen)["permissions"] == ["read", "write"]

        refused = await world.request("POST", "Ours", "/reload-config", json={}, token=stolen)
        assert (refused.status, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        with pytest.raises(PeerError, match="FORBIDDEN"):
            await world.client_for(permissions=["read"]).query("Ours", "answer")
