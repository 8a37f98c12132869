"""Joining, beating and leaving a Registry (contract section 6), in memory and behind uvicorn."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from tests.contract.served import World, anyio_backend, server, way, world
from tests.unit.mesh.registry.kit import MESH, URL, Mesh, body, claims_of, registry, serve
from udc._http import HttpClient
from udc._types import UNSET
from udc._wiring.surroundings import Surroundings
from udc.clients._base import Registration
from udc.mesh.registry.bodies import record_hash

__all__ = ["anyio_backend", "server", "way", "world"]


async def test_a_registration_is_answered_with_all_that_a_droplet_needs(world: World) -> None:
    mesh = await serve(world)

    told = await mesh.register(body(14, fingerprint="f", public_key="k"))

    assert told["id"] == 14
    assert told["status"] == "active"
    assert (told["lease_ttl_seconds"], told["beat_every_seconds"]) == (9, 3)
    assert told["jwks_uri"] == f"{URL}/.well-known/jwks.json"
    assert told["issuer"] == "registry.fullpotential.ai"
    assert told["expires_in"] == 3600
    assert (told["fingerprint"], told["public_key"]) == ("f", "k")
    claims = claims_of(told["token"])
    assert claims["aud"] == f"{MESH}/registry"
    assert claims["droplet_id"] == 14
    assert claims["sub"] == "droplet-14"
    assert claims["steward"] == "team"
    assert claims["instance_id"] == "i-14-1"
    assert claims["permissions"] == ["admin", "read", "write"]
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["jti"]


async def test_a_restart_is_never_refused(world: World) -> None:
    mesh = await serve(world)

    first = await mesh.register(body(14))
    again = await mesh.register(body(14))
    restarted = await mesh.register(body(14, instance_id="i-14-2"))

    assert first["id"] == again["id"] == restarted["id"] == 14
    [row] = await mesh.others()
    assert row["instance_id"] == "i-14-2"
    assert [each["instance_id"] for each in row["instances"]] == ["i-14-2"]


async def test_a_newer_registration_at_the_same_endpoint_retires_the_older_instance(world: World) -> None:
    mesh = await serve(world)
    old = await mesh.register(body(14))
    await mesh.register(body(14, instance_id="i-14-2"))

    beat = await mesh.beat(old)

    assert beat.status == 409
    assert beat.json()["error"]["details"]["retired_by"] == "i-14-2"
    again = await mesh.try_register(body(14))  # nobody answers at its endpoint
    assert again.status == 409
    assert again.json()["error"]["details"]["retired_by"] == "i-14-2"


class Elsewhere:
    """What answers at the droplets' own endpoints."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.instance_id = "nobody"
        self.status = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        return httpx2.Response(self.status, json={"ok": True, "instance_id": self.instance_id})

    def around(self) -> Surroundings:
        transport = httpx2.MockTransport(self)
        return Surroundings(sample_process=False, make_client=lambda: HttpClient(transport_factory=lambda: transport))


async def test_a_retired_instance_comes_back_only_when_it_answers_at_its_own_endpoint(world: World) -> None:
    elsewhere = Elsewhere()
    mesh = Mesh(await world.serve(registry(), elsewhere.around()))
    await mesh.register(body(14))
    newer = await mesh.register(body(14, instance_id="i-14-2"))

    assert (await mesh.try_register(body(14))).status == 409  # the newer one's port answers
    elsewhere.instance_id, elsewhere.status = "i-14-1", 503
    assert (await mesh.try_register(body(14))).status == 409
    elsewhere.status = 200
    back = await mesh.register(body(14))

    assert set(elsewhere.asked) == {"http://127.0.0.1:9014/livez"}
    assert (await mesh.beat(back)).status == 200
    refused = await mesh.beat(newer)
    assert refused.status == 409
    assert refused.json()["error"]["details"]["retired_by"] == "i-14-1"


async def test_nobody_is_asked_for_an_instance_that_was_never_retired(world: World) -> None:
    elsewhere = Elsewhere()
    mesh = Mesh(await world.serve(registry(), elsewhere.around()))

    await mesh.register(body(14))
    await mesh.register(body(14, instance_id="i-14-2"))

    assert elsewhere.asked == []


async def test_two_instances_at_different_endpoints_share_one_row(world: World) -> None:
    mesh = await serve(world)
    await mesh.register(body(14, phase="starting"))
    await mesh.register(body(14, instance_id="i-14-2", endpoint="http://127.0.0.1:9999"))

    [row] = await mesh.others()

    assert row["endpoint"] == "http://127.0.0.1:9999"  # the ready one
    assert [(each["instance_id"], each["state"]) for each in row["instances"]] == [
        ("i-14-2", "ready"),
        ("i-14-1", "starting"),
    ]


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("unknown", "starting"),
        ("registering", "starting"),
        ("initializing", "starting"),
        ("starting", "starting"),
        ("ready", "ready"),
        ("degraded", "ready"),
        (UNSET, "ready"),
        ("stopping", "draining"),
        ("stopped", "draining"),
        ("failed", "draining"),
    ],
)
async def test_the_phase_tells_the_state(world: World, phase: Any, state: str) -> None:
    mesh = await serve(world)
    await mesh.register(body(14, phase=phase))

    [row] = await mesh.others()

    assert row["instances"][0]["state"] == state


async def test_a_beat_tells_what_is_new(world: World) -> None:
    mesh = await serve(world)
    sent = body(14)
    told = await mesh.register(sent)
    own = Registration(body=sent).record_hash
    assert own == record_hash(sent)

    same = (await mesh.beat(told, record_hash=own, status="error", phase="degraded", in_flight=7)).json()
    other = (await mesh.beat(told, record_hash="0" * 16, in_flight=7)).json()

    assert same["ok"] is True
    assert (same["beat_every_seconds"], same["lease_ttl_seconds"]) == (3, 9)
    assert same["keys_revision"] == told["keys_revision"]
    assert same["revocations_revision"] == "0"
    assert "send_record" not in same
    assert "token" not in same  # the one that there is has just been made
    assert other["send_record"] is True
    [row] = await mesh.others()
    assert row["instances"][0]["in_flight"] == 7


async def test_a_beat_changes_status_and_phase_of_the_row(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register()

    await mesh.beat(told, status="inactive", phase="stopping")

    [row] = await mesh.others()
    assert (row["status"], row["phase"]) == ("inactive", "stopping")
    assert row["instances"][0]["state"] == "draining"


@pytest.mark.parametrize("path", ["/heartbeat", "/registry/heartbeat", "/droplets/14/heartbeat"])
async def test_a_beat_of_nobody_says_so_and_makes_nobody(world: World, path: str) -> None:
    mesh = await serve(world)

    unknown = await mesh.beat(
        {"id": 14, "instance_id": "x", "token": await mesh.token(14, audience=f"{MESH}/registry")}, path
    )

    assert unknown.status == 404
    assert unknown.json()["error"]["details"]["spread_seconds"] == 0
    assert await mesh.others() == []


async def test_another_instance_of_a_known_droplet_is_unknown(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register()

    assert (await mesh.beat(told, instance_id="somebody-else")).status == 404


async def test_leaving_takes_the_row_away_and_twice_is_harmless(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register()
    sent = {"droplet_id": 14, "instance_id": "i-14-1"}

    first = await mesh.ask("POST", "/deregister", bearer=told["token"], json=sent)
    second = await mesh.ask("POST", "/deregister", bearer=told["token"], json=sent)

    assert (first.status, first.json()["deregistered"]) == (200, 1)
    assert (second.status, second.json()["deregistered"]) == (200, 0)
    assert await mesh.others() == []
    assert (await mesh.beat(told)).status == 404


async def test_leaving_without_an_instance_ends_them_all(world: World) -> None:
    mesh = await serve(world)
    await mesh.register(body(14))
    told = await mesh.register(body(14, instance_id="i-14-2", endpoint="http://127.0.0.1:9999"))

    one = await mesh.ask("DELETE", "/droplets/14?instance_id=i-14-1", bearer=told["token"])
    assert [each["instance_id"] for each in (await mesh.others())[0]["instances"]] == ["i-14-2"]
    rest = await mesh.ask("DELETE", "/droplets/14", bearer=told["token"])

    assert (one.json()["deregistered"], rest.json()["deregistered"]) == (1, 1)
    assert await mesh.others() == []


async def test_the_registry_lists_itself_and_nobody_takes_its_place(world: World) -> None:
    mesh = await serve(world)

    rows = await mesh.get("/droplets")

    assert [(row["id"], row["name"], row["endpoint"], row["phase"]) for row in rows] == [(1, "Registry", URL, "ready")]
    assert rows[0]["metadata"]["udc_mesh"] == "1.0"
    assert rows[0]["public_key"]
    assert (await mesh.try_register(body(1))).status == 409
    assert (await mesh.ask("DELETE", "/droplets/1", headers={"x-droplet-secret": mesh.secret})).status == 409


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": UNSET}, "id"),
        ({"id": 0}, "id"),
        ({"id": True}, "id"),
        ({"endpoint": UNSET}, "endpoint"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"name": 5}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"status": "dancing"}, "status"),
        ({"phase": "dancing"}, "phase"),
        ({"capabilities": ["x" * 300]}, "capabilities"),
        ({"instance_id": ["x"]}, "instance_id"),
    ],
)
async def test_a_bad_registration_is_refused_by_the_name_of_its_field(
    world: World, changes: dict[str, Any], field: str
) -> None:
    mesh = await serve(world)

    answer = await mesh.try_register(body(14, **changes))

    assert answer.status == 400
    assert answer.json()["error"]["details"]["field"] == field
    assert await mesh.others() == []


async def test_a_registration_that_is_too_large_is_refused(world: World) -> None:
    mesh = await serve(world)

    assert (await mesh.try_register(body(14, metadata={"x": "y" * 70_000}))).status == 413


async def test_many_register_at_once(world: World) -> None:
    mesh = await serve(world)

    async with anyio.create_task_group() as tasks:
        for number in range(100, 160):
            tasks.start_soon(mesh.register, body(number))

    rows = await mesh.others()
    assert sorted(row["id"] for row in rows) == list(range(100, 160))
    told = await mesh.register(body(100))
    assert (told["lease_ttl_seconds"], told["beat_every_seconds"]) == (30, 10)  # no small mesh any more


async def test_what_a_droplet_patches_is_shown(world: World) -> None:
    mesh = await serve(world)
    told = await mesh.register()
    sent = {"status": "error", "endpoint": "http://127.0.0.1:9998", "metadata": {"a": 1}, "proof": "p", "cost_usd": 1.5}

    answer = await mesh.ask("PATCH", "/droplets/14", bearer=told["token"], json=sent)

    assert answer.status == 200
    [row] = await mesh.others()
    assert answer.json() == row
    assert (row["status"], row["endpoint"], row["url"]) == ("error", "http://127.0.0.1:9998", "http://127.0.0.1:9998")
    assert row["metadata"] == {"udc_mesh": "1.0", "a": 1}
    assert (row["proof"], row["cost_usd"]) == ("p", 1.5)
    assert (await mesh.ask("PATCH", "/droplets/15", bearer=told["token"], json=sent)).status == 404


async def test_a_second_life_of_the_same_droplet_object_begins_anew(world: World) -> None:
    droplet = registry()
    mesh = await serve(world, droplet)
    await mesh.register()
    again = await serve(world, droplet)

    assert await again.others() == []


async def test_only_the_last_retired_instances_are_remembered(world: World) -> None:
    mesh = await serve(world)
    told = [await mesh.register(body(14, instance_id=f"i-14-{n}")) for n in range(18)]

    answers = [(await mesh.beat(told[n])).status for n in (0, 1, 16)]

    assert answers == [404, 409, 409]
