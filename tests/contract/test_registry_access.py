"""Who may do what at a Registry: secrets, the three audiences, enrolment, nobody (contract section 6, "Access")."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.contract.served import Client, World, anyio_backend, server, way, world
from tests.unit.mesh.registry.kit import MESH, SECRET, Mesh, beyond_loopback, body, claims_of, registry, serve
from udc._types import UNSET
from udc.mesh.registry import Registry
from udc.wire import records

__all__ = ["anyio_backend", "server", "way", "world"]

READS = ["/droplets", "/droplets/1", "/droplet/1", "/droplets/name/Registry", "/registry/droplets",
         "/registry/droplet/1", "/services/Registry", "/services", "/auth/revocations"]  # fmt: skip
PUBLIC = ["/.well-known/jwks.json", "/auth/public-key", "/auth/public_key", "/health", "/livez"]
CHANGES = [
    ("POST", "/register", body(14)),
    ("POST", "/registry/register", body(14)),
    ("POST", "/droplets", body(14)),
    ("POST", "/heartbeat", {"droplet_id": 14, "instance_id": "i-14-1"}),
    ("POST", "/registry/heartbeat", {"droplet_id": 14, "instance_id": "i-14-1"}),
    ("POST", "/droplets/14/heartbeat", {"instance_id": "i-14-1"}),
    ("PATCH", "/droplets/14", {"status": "error"}),
    ("DELETE", "/droplets/14", {}),
    ("POST", "/deregister", {"droplet_id": 14}),
]


async def enrolled(world: World, *ids: int, **options: Any) -> tuple[Registry, Mesh, dict[int, str]]:
    """A Registry beyond loopback, and the secrets of those who may join."""
    droplet = beyond_loopback()
    client: Client = await world.serve(droplet)
    secrets = {each: await droplet.enrol(each, **options) for each in ids}
    return droplet, Mesh(client, secret=""), secrets


@pytest.mark.parametrize("path", READS)
async def test_every_read_takes_each_of_the_three_audiences_and_no_other(world: World, path: str) -> None:
    droplet, mesh, secrets = await enrolled(world, 77, permissions=["read"])
    for audience in (MESH, f"{MESH}/1", f"{MESH}/registry"):
        token = await mesh.token(77, secret=secrets[77], audience=audience)
        assert (await mesh.ask("GET", path, bearer=token)).status == 200, audience
    for other in (f"{MESH}/14", None):
        token = await mesh.token(77, secret=secrets[77], audience=other)
        assert (await mesh.ask("GET", path, bearer=token)).status == 401, other
    assert (await mesh.ask("GET", path)).status == 401
    assert (await mesh.ask("GET", path, headers={"x-registry-key": secrets[77]})).status == 200
    assert (await mesh.ask("GET", path, headers={"x-registry-key": "wrong"})).status == 401
    blind = await droplet.enrol(78, permissions=["write"])
    assert (await mesh.ask("GET", path, bearer=await mesh.token(78, secret=blind))).status == 403


@pytest.mark.parametrize("path", PUBLIC)
async def test_some_paths_are_public(world: World, path: str) -> None:
    _, mesh, _ = await enrolled(world)

    assert (await mesh.ask("GET", path)).status == 200


@pytest.mark.parametrize(("method", "path", "sent"), CHANGES)
async def test_no_change_without_a_credential(world: World, method: str, path: str, sent: dict[str, Any]) -> None:
    _, mesh, _ = await enrolled(world, 14)

    assert (await mesh.ask(method, path, json=sent)).status == 401
    assert (await mesh.ask(method, path, json=sent, headers={"x-droplet-secret": "w" * 40})).status == 401
    assert (await mesh.ask(method, path, json=sent, bearer="x.y.z")).status == 401


@pytest.mark.parametrize(("method", "path", "sent"), CHANGES)
async def test_nobody_changes_what_is_somebody_elses_but_an_admin(
    world: World, method: str, path: str, sent: dict[str, Any]
) -> None:
    droplet, mesh, secrets = await enrolled(world, 14, 15)
    await mesh.register(body(14), secret=secrets[14])
    other = await mesh.register(body(15), secret=secrets[15])
    boss = await droplet.enrol(16, permissions=["admin"])

    by_token = await mesh.ask(method, path, json=sent, bearer=other["token"])
    by_secret = await mesh.ask(method, path, json=sent, headers={"x-droplet-secret": secrets[15]})
    token = await mesh.token(16, secret=boss, audience=f"{MESH}/registry")
    by_admin = await mesh.ask(method, path, json=sent, bearer=token)

    enrolling = path in ("/register", "/registry/register", "/droplets")
    assert by_token.status == (401 if enrolling else 403)
    assert by_secret.status == (401 if enrolling else 403)
    assert by_admin.status == (401 if enrolling else 200)  # who registers shows that droplet's own secret


async def test_who_registers_another_droplet_does_not_become_it(world: World) -> None:
    droplet, mesh, _ = await enrolled(world, 14)
    boss = await droplet.enrol(16, permissions=["admin"])

    told = await mesh.ask("POST", "/register?droplet_id=16", json=body(15), headers={"x-droplet-secret": boss})

    assert (told.status, told.json()["id"]) == (200, 15)
    assert "token" not in told.json()
    own = await mesh.ask("POST", "/register", json=body(16), headers={"x-droplet-secret": boss})
    assert claims_of(own.json()["token"])["droplet_id"] == 16


@pytest.mark.parametrize(("method", "path", "sent"), CHANGES[3:])
@pytest.mark.parametrize("audience", [MESH, f"{MESH}/1"])
async def test_a_token_that_peers_have_seen_changes_nothing(
    world: World, method: str, path: str, sent: dict[str, Any], audience: str
) -> None:
    _, mesh, secrets = await enrolled(world, 14, permissions=["admin"])
    await mesh.register(body(14), secret=secrets[14])

    answer = await mesh.ask(method, path, json=sent, bearer=await mesh.token(14, secret=secrets[14], audience=audience))

    assert answer.status == 403


@pytest.mark.parametrize(("method", "path", "sent"), CHANGES[3:])
async def test_a_foreign_droplet_does_all_with_the_one_token_it_has(
    world: World, method: str, path: str, sent: dict[str, Any]
) -> None:
    _, mesh, secrets = await enrolled(world, 14, 15)
    told = await mesh.register(body(14, instance_id=UNSET, phase=UNSET), secret=secrets[14])
    assert claims_of(told["token"])["aud"] == MESH
    mine = {name: value for name, value in sent.items() if name != "instance_id"}

    assert (await mesh.ask(method, path, json=mine, bearer=told["token"])).status == 200
    other = await mesh.register(body(15, instance_id=UNSET), secret=secrets[15])
    assert (await mesh.ask(method, path, json=mine, bearer=other["token"])).status in (403, 404)


async def test_enrolled_rights_are_never_exceeded(world: World) -> None:
    droplet, mesh, _ = await enrolled(world)
    secret = await droplet.enrol(14, permissions=["read"], scopes=["images:resize"])

    told = await mesh.register(body(14), secret=secret)

    assert claims_of(told["token"])["permissions"] == ["read"]
    assert claims_of(told["token"])["scope"] == "images:resize"
    asked = {"droplet_id": 14, "secret": secret}
    for wish in ({"permissions": ["read", "write"]}, {"permissions": ["admin"]}, {"scope": "udc:send"}):
        assert (await mesh.ask("POST", "/auth/token", json={**asked, **wish})).status == 403, wish
    assert "scope" not in claims_of(await mesh.token(14, secret=secret, scope=""))


async def test_enrolled_rights_hold_in_a_development_mesh_too(world: World) -> None:
    droplet = registry()
    mesh = await serve(world, droplet)
    secret = await droplet.enrol(14, permissions=["read"])

    told = await mesh.register(body(14), secret=secret)

    assert claims_of(told["token"])["permissions"] == ["read"]
    assert claims_of(await mesh.token(14, secret=secret))["permissions"] == ["read"]
    assert (await mesh.try_register(body(14), secret=SECRET)).status == 401


async def test_beyond_loopback_the_development_secret_is_worth_nothing(world: World) -> None:
    _, mesh, _ = await enrolled(world)

    assert (await mesh.try_register(body(14), secret=SECRET)).status == 401
    assert (await mesh.ask("POST", "/auth/token", json={"droplet_id": 14, "secret": SECRET})).status == 401
    assert (await mesh.ask("GET", "/droplets", headers={"x-droplet-secret": SECRET})).status == 401


async def test_a_withdrawn_droplet_is_out_at_once(world: World) -> None:
    droplet, mesh, secrets = await enrolled(world, 14, 15)
    told = await mesh.register(body(14), secret=secrets[14])

    assert await droplet.withdraw(14) is True
    assert await droplet.withdraw(14) is False

    assert (await mesh.beat(told)).status == 401
    assert (await mesh.try_register(body(14), secret=secrets[14])).status == 401
    rows = (await mesh.ask("GET", "/droplets", headers={"x-droplet-secret": secrets[15]})).json()
    assert [row["id"] for row in rows] == [1]


async def test_nobody_may_join_and_read_a_development_mesh_but_gets_no_token(world: World) -> None:
    mesh = await serve(world)

    told = await mesh.register(body(14), secret="")

    assert "token" not in told
    assert (await mesh.ask("POST", "/heartbeat", json={"droplet_id": 14, "instance_id": "i-14-1"})).status == 200
    assert [row["id"] for row in (await mesh.ask("GET", "/droplets")).json()] == [1, 14]
    assert (await mesh.ask("POST", "/auth/token", json={"droplet_id": 14})).status == 401
    assert (await mesh.ask("POST", "/message", json={})).status == 401
    assert (await mesh.ask("GET", "/logs")).status == 401
    assert (await mesh.ask("PATCH", "/droplets/14", json={"status": "error"})).status == 200
    assert (await mesh.ask("DELETE", "/droplets/14")).status == 200


@pytest.mark.parametrize(("method", "path", "sent"), CHANGES)
async def test_nobody_touches_what_has_a_credential(world: World, method: str, path: str, sent: dict[str, Any]) -> None:
    droplet = registry()
    mesh = await serve(world, droplet)
    await mesh.register(body(14))
    await droplet.enrol(15)

    assert (await mesh.ask(method, path, json=sent)).status == 401
    assert (await mesh.try_register(body(15), secret="")).status == 401


async def test_a_credential_takes_an_id_over_from_nobody(world: World) -> None:
    mesh = await serve(world)
    await mesh.register(body(14, instance_id="squatter", endpoint="http://127.0.0.1:1"), secret="")

    await mesh.register(body(14))

    [row] = await mesh.others()
    assert [each["instance_id"] for each in row["instances"]] == ["i-14-1"]


async def test_the_list_tells_who_joined_without_a_credential(world: World) -> None:
    mesh = await serve(world)
    nobody = body(15, name="Twin", instance_id=UNSET, metadata={}, anonymous=False)
    assert (await mesh.ask("POST", "/register", json=nobody)).status == 200
    await mesh.register(body(16, name="Twin", anonymous=True))

    rows = {row["id"]: row.get("anonymous") for row in await mesh.others()}
    assert rows == {15: True, 16: None}
    assert (await mesh.get("/droplets/name/Twin"))["id"] == 16


async def test_anonymity_can_be_switched_off_and_on(world: World) -> None:
    closed = await serve(world, registry(config={"registry.allow_anonymous": False}))
    assert (await closed.ask("GET", "/droplets")).status == 401
    assert (await closed.try_register(body(14), secret="")).status == 401

    opened = Mesh(await world.serve(beyond_loopback(config={"registry.allow_anonymous": True})), secret="")
    assert (await opened.ask("GET", "/droplets")).status == 200
    assert "token" not in await opened.register(body(14))


async def test_a_web_page_that_rebinds_its_name_is_nobody_here(world: World) -> None:
    mesh = await serve(world)

    for host, status in (("evil.example:8000", 401), ("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200)):
        assert (await mesh.ask("GET", "/droplets", headers={"host": host})).status == status, host


async def test_a_body_that_is_no_json_is_refused(world: World) -> None:
    """What a web page can post without being asked first is text."""
    mesh = await serve(world)

    answer = await mesh.ask("POST", "/register", content=b"{}", headers={"content-type": "text/plain"})

    assert answer.status == 415


async def test_guessing_secrets_is_limited(world: World) -> None:
    mesh = await serve(world, registry(config={"security.failed_auth_limit": 3}))

    answers = [await mesh.try_register(body(14), secret="w" * 40) for _ in range(4)]

    assert [each.status for each in answers] == [401, 401, 401, 429]
    assert (await mesh.try_register(body(14))).status == 200


async def test_no_secret_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    droplet = registry()
    mesh = await serve(world, droplet)
    own = await droplet.enrol(15)
    seen = [
        await mesh.ask("POST", "/register", json={**body(14), "secret": SECRET}, headers={"x-droplet-secret": SECRET})
    ]
    seen.append(await mesh.try_register(body(15), secret=own))
    seen.append(await mesh.try_register(body(15), secret=own[:-1] + "~"))
    seen.append(await mesh.ask("GET", "/droplets"))
    token = await mesh.token(99)
    seen += [await mesh.ask("GET", path, bearer=token) for path in ("/logs", "/events", "/state", "/metrics")]

    told = b"".join(each.body for each in seen).decode() + caplog.text + repr(droplet)
    assert SECRET not in told
    assert own[:-1] not in told


async def test_a_caller_from_elsewhere_is_no_development(world: World) -> None:
    """Though the URL says loopback: somebody has bound the server to more."""
    mesh = await serve(world)
    if world.server is not None:
        return  # over this machine's sockets nobody comes from elsewhere

    assert (
        await mesh.ask("POST", "/auth/token", address="10.0.0.9", json={"droplet_id": 1, "secret": SECRET})
    ).status == 401


async def test_a_change_does_not_turn_a_record_into_another_droplets(world: World) -> None:
    droplet, mesh, secrets = await enrolled(world, 14)
    await mesh.register(body(14), secret=secrets[14])
    named = await droplet.enrol("thief")
    taken = await mesh.register(body(14, id="thief", endpoint="https://thief.example"), secret=named)

    for field in ("fqdn", "host"):
        answer = await mesh.ask("PATCH", "/droplets/thief", json={field: "drop14.example.org"}, bearer=taken["token"])
        assert answer.status == 400, field
    rows = (await mesh.ask("GET", "/droplets", headers={"x-registry-key": named})).json()

    assert sorted(str(records.record_id(each)) for each in rows) == ["1", "14", "thief"]


async def test_changes_do_not_make_a_record_larger_than_a_registration(world: World) -> None:
    mesh = Mesh(await world.serve(registry()))
    told = await mesh.register(body(14))

    answers = [
        await mesh.ask("PATCH", "/droplets/14", json={"metadata": {f"k{n}": "x" * 40_000}}, bearer=told["token"])
        for n in range(2)
    ]

    assert [each.status for each in answers] == [200, 413]
    assert list((await mesh.get("/droplets/14"))["metadata"]) == ["udc_mesh", "k0"]


@pytest.mark.parametrize("name", ["registry", " registry "])
async def test_nobody_is_called_as_the_registrys_audience_is(world: World, name: str) -> None:
    mesh = Mesh(await world.serve(registry()))

    by_secret = await mesh.try_register(body(14, id=name))
    by_nobody = await mesh.ask("POST", "/register", json=body(14, id=name))

    assert (by_secret.status, by_nobody.status) == (400, 400)
    with pytest.raises(ValueError, match="registry"):
        await registry().enrol("registry")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://evil.example:8000", "http://[", "x"])
async def test_a_strange_web_page_is_not_nobody(world: World, origin: str) -> None:
    mesh = Mesh(await world.serve(registry()))

    # A page may post a body without a content type to any address, and never sees the answer.
    answer = await mesh.ask("POST", "/register", json=body(14), headers={"origin": origin})
    own = await mesh.ask("POST", "/register", json=body(14), headers={"origin": "http://localhost:8002"})

    assert (answer.status, own.status) == (401, 200)
