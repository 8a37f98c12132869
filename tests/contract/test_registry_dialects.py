"""Foreign droplets of every style join our Registry unchanged (dialects, "Registries")."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.served import World, anyio_backend, server, way, world
from tests.unit.mesh.registry.kit import MESH, SECRET, body, claims_of, serve
from udc.wire.records import superset_registration, to_peer

__all__ = ["anyio_backend", "server", "way", "world"]

KEY = {"x-registry-key": SECRET}
ADMIN = {"x-droplet-secret": SECRET}


async def test_the_contract_style(world: World) -> None:
    """`X-Droplet-Secret` → token; POST /register, POST /heartbeat, GET /droplets, GET /droplet/{id}."""
    mesh = await serve(world)
    sent = {"id": 14, "name": "Plain", "steward": "s", "endpoint": "https://drop14.example", "capabilities": ["a"],
            "version": "1", "status": "active"}  # fmt: skip

    told = await mesh.register(sent)
    bearer = {"bearer": told["token"]}

    assert claims_of(told["token"])["aud"] == MESH
    assert (told["lease_ttl_seconds"], told["instance_id"]) == (180, None)
    assert (await mesh.ask("POST", "/heartbeat", json={"droplet_id": 14, "status": "active"}, **bearer)).status == 200
    listed = (await mesh.ask("GET", "/droplets", **bearer)).json()
    assert {**sent}.items() <= listed[1].items()
    assert (await mesh.ask("GET", "/droplet/14", **bearer)).json() == listed[1]


async def test_the_plain_style(world: World) -> None:
    """No credential; POST /droplets 201; found by name and patched; never beats."""
    mesh = await serve(world)
    sent = {"id": 14, "name": "Plain", "steward": "s", "endpoint": "http://127.0.0.1:9", "capabilities": []}

    created = await mesh.ask("POST", "/droplets", json=sent)
    again = await mesh.ask("POST", "/register", json=sent)
    found = await mesh.ask("GET", "/droplets/name/Plain")
    patch = {"status": "inactive", "endpoint": "http://127.0.0.1:10", "metadata": {"v": 2}, "proof": "x",
             "cost_usd": 1.0, "yield_usd": 2.0}  # fmt: skip
    patched = await mesh.ask("PATCH", f"/droplets/{found.json()['id']}", json=patch)

    assert (created.status, again.status) == (201, 200)
    assert created.json()["id"] == 14
    assert patch.items() <= patched.json().items()
    assert (await mesh.ask("GET", "/droplets/14")).json() == patched.json()


async def test_the_v2_style(world: World) -> None:
    """Key → token of `/auth/token?droplet_id=`; then bearer and key; `/registry/…`."""
    mesh = await serve(world)
    token = (await mesh.ask("POST", "/auth/token?droplet_id=drop14.example.org", headers=KEY, content=b"")).json()
    assert {"token", "droplet_id", "algorithm"} <= token.keys()
    sent = {"droplet_id": "drop14.example.org", "id": 14, "host": "drop14.example.org", "ip": "10.0.0.14",
            "status": "active", "metadata": {"version": "2.1", "capabilities": ["x"]}}  # fmt: skip
    both = {"bearer": token["token"], "headers": KEY}

    told = (await mesh.ask("POST", "/registry/register", json=sent, **both)).json()
    beat = {"droplet_id": "drop14.example.org", "load": 0.2, "status": "healthy"}
    beaten = (await mesh.ask("POST", "/registry/heartbeat", json=beat, **both)).json()
    listed = (await mesh.ask("GET", "/registry/droplets", **both)).json()

    assert told["ok"] is True
    assert (told["id"], told["endpoint"], told["version"]) == (14, "https://drop14.example.org", "2.1")
    assert beaten["ok"] is True
    assert beaten["ts"] > 1e9
    assert (beaten["beat_every_seconds"], beaten["lease_ttl_seconds"]) == (30, 180)
    assert listed["count"] == 2
    row = listed["droplets"][1]
    assert (row["id"], row["host"], row["ip"], row["status"]) == (14, "drop14.example.org", "10.0.0.14", "active")
    assert (await mesh.ask("GET", "/registry/droplet/14", **both)).json() == row


@pytest.mark.parametrize("named", [{"id": 14}, {"fqdn": "drop14.example.org"}, {"fqdn": "images.example.org"}])
async def test_the_sqlite_style(world: World, named: dict[str, Any]) -> None:
    """Key only; needs `id` or `fqdn`; beats with its load; 404 = unknown."""
    mesh = await serve(world)
    sent = {"ip": "127.0.0.1", "port": 8014, **named}
    who = named.get("id") or named["fqdn"]
    beat = {"id": who, "status": "healthy", "cpu": 1, "mem": 2, "disk": 3, "last_seen": "2026-01-01T00:00:00"}

    unknown = await mesh.ask("POST", "/registry/heartbeat", json=beat, headers=KEY)
    told = await mesh.ask("POST", "/registry/register", json=sent, headers=KEY)
    known = await mesh.ask("POST", "/registry/heartbeat", json=beat, headers=KEY)

    assert (unknown.status, told.status, known.status) == (404, 200, 200)
    assert told.json()["id"] == (14 if who != "images.example.org" else who)
    assert (await mesh.ask("GET", "/registry/droplets", headers=KEY)).json()["count"] == 2


async def test_the_service_list_style(world: World) -> None:
    """POST /register; beats with `service_id`; GET /services/{name} → `url`."""
    mesh = await serve(world)

    told = await mesh.register({"service_id": "billing", "name": "Billing", "url": "http://127.0.0.1:8100/"})

    for who in ("billing", "Billing"):
        assert (await mesh.ask("POST", "/heartbeat", json={"service_id": who}, bearer=told["token"])).status == 200
    assert (await mesh.ask("GET", "/services/Billing", bearer=told["token"])).json()["url"] == "http://127.0.0.1:8100"
    listed = (await mesh.ask("GET", "/services", bearer=told["token"])).json()
    assert [row["name"] for row in listed["services"]] == ["Registry", "Billing"]


async def test_the_superset_registration_is_taken_everywhere(world: World) -> None:
    mesh = await serve(world)
    sent = superset_registration(
        droplet_id=14, name="Super", steward="s", endpoint="https://drop14.example.org", version="1", capabilities=["a"]
    )

    for path in ("/register", "/registry/register", "/droplets"):
        told = await mesh.register(dict(sent), path=path)
        kept = {name: value for name, value in sent.items() if name != "metadata"}
        assert kept.items() <= told.items()
    [row] = await mesh.others()
    peer = to_peer(row)
    assert (peer.id, peer.name, peer.endpoint, peer.ours) == (14, "Super", "https://drop14.example.org", True)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sent: {"payload": sent, "metadata": {"source_droplet_id": 14}, "message_type": "registration"},
        lambda sent: {"droplet": sent},
        lambda sent: {**sent, "capabilities": '["resize"]', "metadata": '{"udc_mesh": "1.0"}'},
        lambda sent: {**sent, "id": "14", "status": "healthy", "capabilities": "resize"},
        lambda sent: {**sent, "id": "droplet-14", "status": "running"},
    ],
)
async def test_bodies_in_every_clothing(world: World, wrap: Any) -> None:
    mesh = await serve(world)

    await mesh.register(wrap(body(14)))

    [row] = await mesh.others()
    assert (row["id"], row["status"], row["capabilities"]) == (14, "active", ["resize"])
    assert row["metadata"] == {"udc_mesh": "1.0"}


@pytest.mark.parametrize(
    ("word", "status"),
    [("healthy", "active"), ("ok", "active"), ("degraded", "inactive"), ("down", "error"), ("unknown", "inactive"),
     ("dancing", "active"), (None, "active")],
)  # fmt: skip
async def test_a_beat_is_a_sign_of_life_in_any_words(world: World, word: str | None, status: str) -> None:
    mesh = await serve(world)
    await mesh.register({"id": 14, "endpoint": "http://127.0.0.1:9"})

    answer = await mesh.ask("POST", "/registry/heartbeat", json={"droplet_id": "14", "status": word}, headers=KEY)

    assert answer.status == 200
    [row] = await mesh.others()
    assert row["status"] == status


async def test_what_a_stranger_writes_beside_is_shown_to_nobody(world: World) -> None:
    mesh = await serve(world)

    await mesh.register({**body(14), "secret": "mine", "password": "mine", "token": "mine"})

    assert "mine" not in str(await mesh.others())
