"""While no token of a peer's own audience is to be had, the mesh's goes to it."""

from __future__ import annotations

import pytest

from tests.unit.outgoing.droplets import AMBIENT, Purse
from udc._http import HttpAnswer
from udc.errors import PeerError, TokenError
from udc.identity._base import Token
from udc.messages import MessageType, Peer, Reply
from udc.transports._exchange import Headers, audiences, exchange
from udc.wire.canonical import canonical_json
from udc.wire.envelope import compose

SENT = compose(MessageType.QUERY, "x", {}, trace_id=AMBIENT.new_id(), timestamp=AMBIENT.now())
OURS = Peer(id=14, name="billing", endpoint="http://b", ours=True)


class Partly(Purse):
    """A purse that lacks some audiences."""

    def __init__(self, *missing: str | None) -> None:
        super().__init__()
        self.missing = missing

    async def get(self, audience: str | None) -> Token:
        token = await super().get(audience)
        if audience in self.missing:
            raise TokenError(f"no token for {audience}")
        return token


async def call(peer: Peer, purse: Purse, *, mesh: str = "mesh", refused: int = 0) -> tuple[Reply, list[str]]:
    shown: list[str] = []

    async def post(_: Peer, __: str, headers: Headers, ___: bytes) -> HttpAnswer:
        shown.append(dict(headers)["authorization"].removeprefix("Bearer "))
        if len(shown) <= refused:
            return HttpAnswer(401, {}, b'{"status":"error","error":{"code":"UNAUTHORIZED","message":"no"}}')
        receipt = {
            "received": True,
            "trace_id": SENT.trace_id,
            "result": "success",
            "processed_at": "2026-01-01T00:00:00Z",
        }
        return HttpAnswer(200, {}, canonical_json(receipt))

    return await exchange(peer, SENT, post=post, tokens=purse, audience_of=audiences(mesh)), shown


@pytest.mark.parametrize("mesh", ["mesh", "https://mesh.test/all"])
async def test_the_mesh_token_stands_in(mesh: str) -> None:
    assert (await call(OURS, Partly(f"{mesh}/14"), mesh=mesh))[1] == [f"{mesh}#1"]
    assert (await call(OURS, Partly(), mesh=mesh))[1] == [f"{mesh}/14#1"]


async def test_a_refusal_renews_the_one_that_was_shown() -> None:
    purse = Partly("mesh/14")
    assert (await call(OURS, purse, refused=1))[1] == ["mesh#1", "mesh#2"]
    purse.stuck = True
    with pytest.raises(PeerError):
        await call(OURS, purse, refused=1)


async def test_why_the_own_one_is_missing_is_what_is_told() -> None:
    with pytest.raises(TokenError, match=r"no token for mesh/14$"):
        await call(OURS, Partly("mesh/14", "mesh"))


@pytest.mark.parametrize(
    "peer",
    [
        Peer(id=14, name="atlas", endpoint="http://a"),
        Peer(id=14, name="atlas", endpoint="http://a", ours=True, without_audience=True),
        Peer(name="atlas", endpoint="http://a", ours=True),
    ],
)
async def test_nobody_else_is_shown_another_audience(peer: Peer) -> None:
    purse = Partly("https://mesh/x", None)
    with pytest.raises(TokenError):
        await call(peer, purse, mesh="https://mesh/x")
    assert len(purse.asked) == 1


def test_a_peer_that_calls_itself_registry_sees_no_token_that_changes_the_registry() -> None:
    peer = Peer(id="registry", name="thief", endpoint="https://thief.example", ours=True)

    assert audiences("mesh")(peer) == "mesh"
