"""Tokens, keys and revocations of a Registry (contract section 6, "Tokens")."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.served import World, anyio_backend, server, way, world
from tests.unit.mesh.registry.kit import MESH, SECRET, body, claims_of, registry, serve, signing_keys
from udc._ids import system
from udc.errors import Conflict
from udc.identity.jwks import FixedKeys
from udc.identity.verify import TokenVerifier

__all__ = ["anyio_backend", "server", "way", "world"]

REGISTRY = f"{MESH}/registry"


async def test_both_shapes_of_asking(world: World) -> None:
    mesh = await serve(world)

    by_body = await mesh.ask("POST", "/auth/token", json={"droplet_id": "droplet-14", "secret": SECRET})
    by_key = await mesh.ask("POST", "/auth/token?droplet_id=14", headers={"x-registry-key": SECRET}, content=b"")
    by_secret = await mesh.ask("POST", "/auth/token?droplet_id=drop14.example", headers={"x-droplet-secret": SECRET})

    for answer in (by_body, by_key, by_secret):
        told = answer.json()
        assert answer.status == 200
        assert told["token"] == told["access_token"]
        assert (told["token_type"], told["algorithm"], told["expires_in"]) == ("Bearer", "RS256", 3600)
        assert told["droplet_id"] == 14
        assert claims_of(told["token"])["aud"] == MESH


@pytest.mark.parametrize(
    ("asked", "audience"),
    [
        ({}, MESH),
        ({"audience": MESH}, MESH),
        ({"audience": f"{MESH}/15"}, f"{MESH}/15"),
        ({"audience": REGISTRY}, REGISTRY),
        ({"audience": None}, None),
    ],
)
async def test_the_audiences(world: World, asked: dict[str, Any], audience: str | None) -> None:
    mesh = await serve(world)

    claims = claims_of(await mesh.token(14, **asked))

    assert claims.get("aud") == audience
    assert ("aud" in claims) is (audience is not None)


@pytest.mark.parametrize("audience", ["other", f"{MESH}/", f"{MESH}x", 5, ["a"], ""])
async def test_no_other_audience(world: World, audience: Any) -> None:
    mesh = await serve(world)

    answer = await mesh.ask("POST", "/auth/token", json={"droplet_id": 14, "secret": SECRET, "audience": audience})

    assert answer.status == 400
    assert answer.json()["error"]["details"]["field"] == "audience"


async def test_a_development_mesh_gives_every_scope_that_is_asked_for(world: World) -> None:
    mesh = await serve(world)

    plain = claims_of(await mesh.token(14))
    scoped = claims_of(await mesh.token(14, scope="udc:send images:resize", permissions=["read"]))

    assert plain["permissions"] == ["admin", "read", "write"]
    assert "scope" not in plain
    assert scoped["permissions"] == ["read"]
    assert scoped["scope"] == "images:resize udc:send"


@pytest.mark.parametrize("wish", [{"permissions": ["rule"]}, {"permissions": 5}, {"scope": [1]}])
async def test_rubbish_wishes_are_refused(world: World, wish: dict[str, Any]) -> None:
    mesh = await serve(world)

    assert (await mesh.ask("POST", "/auth/token", json={"droplet_id": 14, "secret": SECRET, **wish})).status == 400


async def test_the_published_keys_verify_the_tokens(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register()
    published = [
        await mesh.ask("GET", path) for path in ("/.well-known/jwks.json", "/auth/public-key", "/auth/public_key")
    ]

    assert len({each.body for each in published}) == 1
    document = published[0].json()
    assert len(document["keys"]) == 2  # the next one is published before its first use
    assert all(each["kid"] and each["pem"].startswith("-----BEGIN PUBLIC KEY") for each in document["keys"])
    assert document["public_key"] == document["keys"][0]["pem"]
    assert all("d" not in each for each in document["keys"])
    verifier = TokenVerifier(
        FixedKeys(json.dumps(document)), issuer=told["issuer"], audiences=frozenset({REGISTRY}), ambient=system()
    )
    assert (await verifier.verify(told["token"])).droplet_id == 14


async def test_rotation_signs_with_the_key_that_was_published_before(world: World) -> None:
    droplet = registry()
    mesh = await serve(world, droplet)
    old = await mesh.register()
    before = (await mesh.ask("GET", "/auth/public-key")).json()

    with pytest.raises(Conflict, match="too lately"):
        await droplet.rotate_keys()
    await droplet.rotate_keys(at_once=True)

    after = (await mesh.ask("GET", "/auth/public-key")).json()
    assert after["keys"][0]["kid"] == before["keys"][1]["kid"]
    assert [each["kid"] for each in after["keys"]] == [
        signing_keys()[1].kid,
        signing_keys()[2].kid,
        signing_keys()[0].kid,
    ]
    beat = await mesh.beat(old)
    assert beat.status == 200  # its token stays good
    assert beat.json()["keys_revision"] != old["keys_revision"]
    assert (await mesh.beat(await mesh.register(body(15)))).status == 200


async def test_revocation_of_a_droplet_and_of_one_token(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register(body(14))
    one, other = await mesh.token(15, audience=REGISTRY), await mesh.token(15, audience=REGISTRY)
    admin = {"x-droplet-secret": SECRET}

    by_id = await mesh.ask("POST", "/auth/revoke", headers=admin, json={"droplet_id": 14})
    by_jti = await mesh.ask("POST", "/auth/revoke", bearer=other, json={"jti": claims_of(one)["jti"]})

    assert (by_id.status, by_jti.status) == (200, 200)
    assert (await mesh.beat(told)).status == 401
    assert (await mesh.ask("GET", "/droplets", bearer=one)).status == 401
    assert (await mesh.ask("GET", "/droplets", bearer=other)).status == 200
    listed = await mesh.get("/auth/revocations")
    assert listed["revision"] == "2"
    assert listed["revoked"][0]["droplet_id"] == 14
    assert listed["revoked"][0]["before"] > 0
    assert listed["revoked"][1] == {"jti": claims_of(one)["jti"]}
    again = await mesh.register(body(15))
    assert (await mesh.beat(again)).json()["revocations_revision"] == "2"


@pytest.mark.parametrize("sent", [{}, {"jti": "a", "droplet_id": 1}, {"jti": 5}, {"droplet_id": 1, "before": "now"}])
async def test_rubbish_revocations_are_refused(world: World, sent: dict[str, Any]) -> None:
    mesh = await serve(world)

    assert (await mesh.ask("POST", "/auth/revoke", headers={"x-droplet-secret": SECRET}, json=sent)).status == 400


async def test_only_an_admin_revokes(world: World) -> None:
    droplet = registry()
    mesh = await serve(world, droplet)
    secret = await droplet.enrol(14, permissions=["read", "write"])

    assert (await mesh.ask("POST", "/auth/revoke", json={"droplet_id": 1})).status in (401, 403)
    assert (
        await mesh.ask("POST", "/auth/revoke", headers={"x-droplet-secret": secret}, json={"droplet_id": 1})
    ).status == 403
    seen_by_peers = await mesh.token(15, audience=MESH)
    assert (await mesh.ask("POST", "/auth/revoke", bearer=seen_by_peers, json={"droplet_id": 1})).status == 403


async def test_a_droplet_with_a_name_for_an_id_uses_its_token(world: World) -> None:
    mesh = await serve(world)

    told = await mesh.register(body(14, id="worker-a"))

    claims = claims_of(told["token"])
    assert claims["sub"] == "worker-a"
    assert "droplet_id" not in claims
    assert (await mesh.beat(told)).status == 200
