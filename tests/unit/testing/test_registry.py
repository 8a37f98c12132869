"""`FakeRegistry`: section 6 of the contract, and its knobs. In virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc.identity.sources import unverified_claims
from udc.testing import Answer, FakeRegistry, World, mesh

pytestmark = virtual_time
ALONE = {"registry.auto_register": False}
"""Nobody but the test itself is registered."""
REGISTRY = "fullpotential.droplets/registry"


def _record(number: int = 14, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"Droplet{number}",
        "steward": "tests",
        "endpoint": f"https://d{number}.example.org",
        "capabilities": ["resize"],
        "version": "1",
        "status": "active",
        "instance_id": f"i-{number}",
        **more,
    }


async def _call(
    world: World, method: str, path: str, json: Any = None, *, secret: str | None = "test-secret"
) -> Answer:
    headers = [("x-droplet-secret", secret)] if secret else []
    if json is None:
        return await world.request(method, "Registry", path, headers=headers)
    return await world.request(method, "Registry", path, json=json, headers=headers, token=None)


def _claims(answer: Answer) -> dict[str, Any]:
    return unverified_claims(answer.json()["token"])


async def test_registering_is_an_upsert_and_gives_a_token() -> None:
    async with mesh(config=ALONE) as world:
        first = await _call(world, "POST", "/register", _record())
        again = await _call(world, "POST", "/register", _record(version="2"))

        assert (first.status, again.status) == (200, 200)
        assert again.json()["version"] == "2"
        body = first.json()
        assert _claims(first)["aud"] == REGISTRY
        assert (body["lease_ttl_seconds"], body["beat_every_seconds"], body["expires_in"]) == (30.0, 10.0, 3600)
        assert body["jwks_uri"] == "https://registry.mesh.test/.well-known/jwks.json"
        assert body["issuer"] == "registry.fullpotential.ai"
        assert [row["id"] for row in (await _call(world, "GET", "/droplets")).json()] == [14]


async def test_a_foreign_registration_gets_a_token_of_the_mesh() -> None:
    async with mesh(config=ALONE) as world:
        foreign = _record()
        del foreign["instance_id"]
        answer = await _call(world, "POST", "/register", foreign)
        token = answer.json()["token"]

        assert _claims(answer)["aud"] == "fullpotential.droplets"
        assert answer.json()["lease_ttl_seconds"] == 180.0
        beat = await world.request("POST", "Registry", "/heartbeat", json={"service_id": "droplet-14"}, token=token)
        assert beat.json()["ok"] is True


@pytest.mark.parametrize(
    ("body", "field"), [({"name": "x"}, "id"), ({"id": 14, "name": "x"}, "endpoint"), ({"id": True}, "id")]
)
async def test_a_registration_must_name_id_and_address(body: dict[str, Any], field: str) -> None:
    async with mesh(config=ALONE) as world:
        answer = await _call(world, "POST", "/register", body)
        assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, field)


@pytest.mark.parametrize("secret", [None, "wrong"])
@pytest.mark.parametrize("path", ["/register", "/heartbeat", "/deregister", "/auth/token"])
async def test_changes_take_the_secret(path: str, secret: str | None) -> None:
    async with mesh(config=ALONE) as world:
        answer = await _call(world, "POST", path, {**_record(), "droplet_id": 14}, secret=secret)
        assert answer.status == 401


async def test_changes_take_only_a_token_for_the_registry_of_that_droplet() -> None:
    async with mesh(config=ALONE) as world:
        beat = {"droplet_id": 14, "instance_id": "i-14"}
        await _call(world, "POST", "/register", _record())

        async def status(**claims: Any) -> int:
            token = world.token(**{"permissions": ["read", "write"], "droplet_id": 14, "aud": REGISTRY, **claims})
            return (await world.request("POST", "Registry", "/heartbeat", json=beat, token=token)).status

        assert await status() == 200
        assert await status(aud="fullpotential.droplets") == 403
        assert await status(aud="fullpotential.droplets/1") == 403
        assert await status(aud="fullpotential.droplets/15") == 401
        assert await status(droplet_id=15) == 403
        assert await status(droplet_id=999, permissions=["admin"]) == 200


async def test_tokens_in_both_shapes() -> None:
    async with mesh(config=ALONE) as world:
        body = {"droplet_id": 14, "secret": "test-secret", "audience": REGISTRY, "scope": "udc:send x"}
        one = await _call(world, "POST", "/auth/token", body, secret=None)
        two = await _call(world, "POST", "/auth/token?droplet_id=14")
        none = await _call(world, "POST", "/auth/token", {"droplet_id": 14, "audience": None})
        less = await _call(world, "POST", "/auth/token", {"droplet_id": 14, "permissions": ["read", "admin"]})

        assert one.json()["access_token"] == one.json()["token"]
        assert {key: one.json()[key] for key in ("token_type", "algorithm", "expires_in", "droplet_id")} == {
            "token_type": "Bearer",
            "algorithm": "RS256",
            "expires_in": 3600,
            "droplet_id": 14,
        }
        assert (_claims(one)["aud"], _claims(one)["scope"]) == (REGISTRY, "udc:send x")
        assert (_claims(two)["aud"], _claims(two)["permissions"]) == ("fullpotential.droplets", ["read", "write"])
        assert "aud" not in _claims(none)
        assert _claims(less)["permissions"] == ["read"], "never more than enrolled"


async def test_enrol_limits_what_tokens_allow() -> None:
    async with mesh(config=ALONE) as world:
        world.registry.enrol(14, permissions=["admin"], scopes=["a"])
        answer = await _call(world, "POST", "/auth/token", {"droplet_id": "droplet-14", "scope": "a b"})
        assert (_claims(answer)["permissions"], _claims(answer)["scope"]) == (["admin"], "a")


async def test_beats() -> None:
    async with mesh(config=ALONE) as world:
        unknown = await _call(world, "POST", "/heartbeat", {"droplet_id": 14, "instance_id": "i-14"})
        assert (unknown.status, unknown.json()["error"]["details"]) == (404, {"spread_seconds": 0})
        await _call(world, "POST", "/register", _record())
        for path in ("/heartbeat", "/registry/heartbeat", "/droplets/14/heartbeat"):
            beat = {"instance_id": "i-14", "record_hash": "0" * 16, "phase": "ready", "in_flight": 3}
            known = await _call(world, "POST", path, beat if path.startswith("/droplets") else {**beat, "id": 14})
            assert known.json()["send_record"] is True
        row = (await _call(world, "GET", "/droplet/14")).json()
        assert row["instances"][0] == {
            "instance_id": "i-14", "endpoint": "https://d14.example.org", "state": "ready", "in_flight": 3,
        }  # fmt: skip


async def test_a_beat_renews_the_token_at_half_its_life() -> None:
    async with mesh(config=ALONE) as world:
        token = (await _call(world, "POST", "/register", _record())).json()["token"]

        async def beat() -> dict[str, Any]:
            body = {"droplet_id": 14, "instance_id": "i-14"}
            answer: dict[str, Any] = (
                await world.request("POST", "Registry", "/heartbeat", json=body, token=token)
            ).json()
            return answer

        told = [await beat()]
        for _ in range(60):
            await anyio.sleep(30 - 0.1)
            told.append(await beat())
        renewed = [unverified_claims(each["token"])["instance_id"] for each in told if "token" in each]
        assert "token" not in told[48], "after 0.4 of its life"
        assert set(renewed) == {"i-14"}


async def test_a_newer_instance_at_the_same_address_retires_the_older() -> None:
    async with mesh(config=ALONE) as world:
        await _call(world, "POST", "/register", _record())
        await _call(world, "POST", "/register", _record(instance_id="new"))
        await _call(world, "POST", "/register", _record(instance_id="far", endpoint="https://far.example.org"))

        retired = await _call(world, "POST", "/heartbeat", {"droplet_id": 14, "instance_id": "i-14"})
        row = (await _call(world, "GET", "/droplets/14")).json()

        assert (retired.status, retired.json()["error"]["details"]) == (409, {"retired_by": "new"})
        assert [each["instance_id"] for each in row["instances"]] == ["new", "far"]


async def test_leases_run_out() -> None:
    async with mesh(config=ALONE) as world:
        await _call(world, "POST", "/register", _record())
        await _call(world, "POST", "/register", _record(15, instance_id=None))
        await anyio.sleep(31)
        ours, foreign = (await _call(world, "GET", "/droplets")).json()

        assert (ours["status"], ours["instances"][0]["state"]) == ("inactive", "suspect")
        assert (foreign["status"], foreign["instances"][0]["state"]) == ("active", "ready")


async def test_lists_and_filters() -> None:
    async with mesh(config=ALONE) as world:
        await _call(world, "POST", "/register", _record(14))
        await _call(world, "POST", "/register", _record(15, capabilities=["crop"], phase="starting"))

        async def ids(query: str) -> list[int]:
            return [row["id"] for row in (await _call(world, "GET", f"/droplets{query}")).json()]

        assert await ids("") == [14, 15]
        assert await ids("?capability=crop") == [15]
        assert await ids("?capability=crop&capability=resize") == [14, 15]
        assert await ids("?name=Droplet14&capability=crop") == []
        assert await ids("?status=active") == [14, 15]
        assert (await _call(world, "GET", "/droplets/name/Droplet15")).json()["id"] == 15
        assert (await _call(world, "GET", "/droplets/name/Nobody")).status == 404
        assert (await _call(world, "GET", "/droplets/16")).status == 404
        assert "x-udc-revision" in (await _call(world, "GET", "/droplets")).headers
        assert (await world.request("GET", "Registry", "/droplets", token=None)).status == 401


async def test_leaving() -> None:
    async with mesh(config=ALONE) as world:
        await _call(world, "POST", "/register", _record())
        for _ in range(2):
            assert (await _call(world, "DELETE", "/droplets/14?instance_id=i-14")).status == 200
        assert (await _call(world, "GET", "/droplets")).json() == []
        await _call(world, "POST", "/register", _record())
        assert (await _call(world, "POST", "/deregister", {"droplet_id": 14})).status == 200
        assert (await _call(world, "GET", "/droplet/14")).status == 404


async def test_keys_are_public_and_rotate() -> None:
    async with mesh(config=ALONE) as world:

        async def kids() -> list[str]:
            answer = await world.request("GET", "Registry", "/.well-known/jwks.json", token=None)
            return [key["kid"] for key in answer.json()["keys"]]

        assert await kids() == ["registry-1"]
        world.registry.rotate_keys(publish_first=False)
        assert await kids() == ["registry-1"]
        world.registry.publish_keys()
        world.registry.publish_keys()
        assert await kids() == ["registry-1", "registry-2"]
        world.registry.rotate_keys(drop_old=True)
        assert await kids() == ["registry-3"]
        public = (await world.request("GET", "Registry", "/auth/public-key", token=None)).json()
        assert public["public_key"] == public["keys"][0]["pem"] == world.registry.keys.public_pem


async def test_revocations() -> None:
    async with mesh(config=ALONE) as world:
        world.registry.revoke(token_id="t-1")
        world.registry.revoke(droplet_id=14, before=5.0)
        body = (await _call(world, "GET", "/auth/revocations")).json()
        assert body["revision"] == 2
        assert body["revoked"][0]["jti"] == "t-1"
        assert body["revoked"][1] == {"droplet_id": 14, "before": 5.0}


async def test_knobs() -> None:
    async with mesh(config=ALONE) as world:
        before = len(world.registry.calls)  # the mesh's own calls came first
        world.registry.answer_with(429, times=1, path="/auth")
        assert (await _call(world, "POST", "/auth/token", {"droplet_id": 14})).status == 429
        assert (await _call(world, "POST", "/auth/token", {"droplet_id": 14})).status == 200
        world.registry.answer_with(500)
        assert (await _call(world, "GET", "/droplets")).status == 500
        world.registry.answer_with(None)
        await _call(world, "POST", "/register", _record())
        world.registry.forget()
        assert (await _call(world, "GET", "/droplet/14")).status == 404
        assert [(call.path, call.status) for call in world.registry.calls[before:] if "auth/token" in call.path] == [
            ("/auth/token", 429),
            ("/auth/token", 200),
        ]
        assert "test-secret" not in repr(world.registry.calls)


async def test_another_id() -> None:
    async with mesh(FakeRegistry(config={"droplet.id": 7})) as world:
        assert (await world.request("GET", 7, "/droplets")).status == 200


async def test_down_is_refused_in_a_mesh() -> None:
    async with mesh(config=ALONE) as world:
        world.registry.down()
        assert world.registry.is_down
        with pytest.raises(Exception, match="Registry is not reachable"):
            await world.request("GET", "Registry", "/droplets")
        world.registry.up()
        assert (await world.request("GET", "Registry", "/droplets")).status == 200
