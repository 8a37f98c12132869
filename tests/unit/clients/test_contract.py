"""The contract's Registry: section 6, call by call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.clients.kit import AMBIENT, REGISTRY_AUDIENCE, URL, Desk, Fixed, beat, calling, config, registration
from udc.clients._base import Change, RevocationList, Revoked
from udc.errors import (
    ConfigError,
    DeliveryError,
    InstanceRetired,
    InvalidReply,
    PeerError,
    RegistryRefused,
    UnknownInstance,
)
from udc.identity.tokens import received_token

ACCEPTED = {
    **registration().body,
    "token": "t1",
    "expires_in": 3600,
    "lease_ttl_seconds": 30,
    "beat_every_seconds": 10,
    "jwks_uri": f"{URL}/.well-known/jwks.json",
    "issuer": "registry.fullpotential.ai",
}
WITHOUT_SECRET: dict[str, Any] = {"droplet": {"secret": None}}


async def test_registering_shows_the_secret_and_the_contracts_body() -> None:
    desk = Desk({"POST /register": (200, ACCEPTED)})
    async with calling(desk, config()) as (registry, _):
        answer = await registry.register(registration())
    (seen,) = desk.seen
    assert seen.headers["x-droplet-secret"] == "s3cret"
    assert "authorization" not in seen.headers
    assert seen.body == dict(registration().body)
    assert (answer.token, answer.expires_in) == ("t1", 3600.0)
    assert (answer.lease_ttl_seconds, answer.beat_every_seconds) == (30.0, 10.0)
    assert answer.jwks_uri == f"{URL}/.well-known/jwks.json"
    assert answer.issuer == "registry.fullpotential.ai"
    assert (answer.record["name"], "token" in answer.record) == ("Resizer", False)
    assert "t1" not in repr(answer)


async def test_the_list_of_revoked_tokens() -> None:
    listed = {
        "revision": 7,
        "revoked": [
            {"jti": "t-1", "before": 5},
            {"droplet_id": "droplet-15", "before": 1000.5},
            {"droplet_id": "worker", "before": "1970-01-01T00:00:10Z"},
            {"droplet_id": 16},
            {"before": 3},
            "rubbish",
        ],
    }
    desk = Desk({"GET /auth/revocations": (200, listed)})
    async with calling(desk, config(), source=Fixed("own")) as (registry, _):
        found = await registry.revocations()
    assert desk.seen[0].headers["authorization"] == "Bearer own"
    assert found == RevocationList(
        revision="7",
        revoked=(
            Revoked(token_id="t-1"),
            Revoked(droplet_id=15, before=1000.5),
            Revoked(droplet_id="worker", before=10.0),
        ),
        unread=3,
    )


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_registry_without_a_list_of_revoked_tokens(status: int) -> None:
    desk = Desk({"GET /auth/revocations": (status, {})})
    async with calling(desk, config()) as (registry, _):
        assert await registry.revocations() is None


@pytest.mark.parametrize("answer", [(200, {"ok": True}), (200, {"revoked": {}}), (200, b"<html>"), (500, {})])
async def test_what_is_no_list_of_revoked_tokens_is_a_failure(answer: Any) -> None:
    desk = Desk({"GET /auth/revocations": answer})
    async with calling(desk, config()) as (registry, _):
        with pytest.raises(DeliveryError):
            await registry.revocations()


async def test_without_a_secret_a_token_of_the_registrys_audience_is_shown() -> None:
    desk, source = Desk({"POST /register": (200, ACCEPTED)}), Fixed("own")
    async with calling(desk, config(**WITHOUT_SECRET), source=source) as (registry, _):
        await registry.register(registration())
    assert desk.seen[0].headers["authorization"] == "Bearer own"
    assert source.asked == [REGISTRY_AUDIENCE]


async def test_without_any_credential_the_registry_has_the_word() -> None:
    desk = Desk({"POST /register": (200, {"ok": True})})
    async with calling(desk, config(**WITHOUT_SECRET)) as (registry, _):
        answer = await registry.register(registration())
    assert not {"authorization", "x-droplet-secret"} & desk.seen[0].headers.keys()
    assert answer.token is None


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:8001/jwks", "https://127.0.0.1:8000/jwks", "http://evil.example/", 7]
)
async def test_keys_of_another_origin_are_not_named(uri: Any) -> None:
    desk = Desk({"POST /register": (200, {**ACCEPTED, "jwks_uri": uri})})
    async with calling(desk, config()) as (registry, _):
        assert (await registry.register(registration())).jwks_uri is None


@pytest.mark.parametrize("lie", [0, -1, True, "10", None, 1e300, 86_401])
async def test_times_that_make_no_sense_count_as_not_told(lie: Any) -> None:
    desk = Desk({"POST /register": (200, {**ACCEPTED, "beat_every_seconds": lie, "expires_in": lie})})
    async with calling(desk, config()) as (registry, _):
        answer = await registry.register(registration())
    assert (answer.beat_every_seconds, answer.expires_in) == (None, None)


async def test_409_to_a_registration_becomes_a_change_of_the_record() -> None:
    desk = Desk({"POST /register": (409, {"detail": "exists"}), "PATCH /droplets/14": (200, ACCEPTED)})
    async with calling(desk, config()) as (registry, _):
        assert (await registry.register(registration())).token == "t1"
    assert desk.calls == ["POST /register", "PATCH /droplets/14"]


async def test_409_that_stays_is_told() -> None:
    desk = Desk({"POST /register": (409, {"detail": "exists"})})
    async with calling(desk, config()) as (registry, _):
        with pytest.raises(RegistryRefused, match=r"answered 409 \(exists\)") as caught:
            await registry.register(registration())
    assert caught.value.status == 409


async def test_409_by_a_newer_instance() -> None:
    gone = (409, {"error": {"code": "CONFLICT", "details": {"retired_by": "i-2"}}})
    desk = Desk({"POST /register": gone, "POST /heartbeat": gone})
    async with calling(desk, config()) as (registry, _):
        for call in (registry.register(registration()), registry.beat(beat())):
            with pytest.raises(InstanceRetired) as caught:
                await call
            assert caught.value.retired_by == "i-2"


async def test_a_beat_is_small_and_shows_the_token() -> None:
    told = {
        "ok": True,
        "beat_every_seconds": 20,
        "lease_ttl_seconds": 60,
        "revision": "e.7",
        "keys_revision": 3,
        "revocations_revision": "e.1",
        "send_record": True,
        "token": "t2",
        "expires_in": 60,
    }
    desk = Desk({"POST /heartbeat": (200, told)})
    async with calling(desk, config()) as (registry, tokens):
        tokens.adopt(REGISTRY_AUDIENCE, received_token("t1", now=AMBIENT.wall(), expires_in=60))
        answer = await registry.beat(beat(droplet_id=2**40, phase="initializing", in_flight=1000))
    assert desk.seen[0].headers["authorization"] == "Bearer t1"
    assert "x-droplet-secret" not in desk.seen[0].headers
    assert int(desk.seen[0].headers["content-length"]) <= 200
    assert set(desk.seen[0].body) == {"droplet_id", "instance_id", "status", "phase", "record_hash", "in_flight"}
    assert (answer.beat_every_seconds, answer.lease_ttl_seconds) == (20.0, 60.0)
    assert (answer.revision, answer.keys_revision, answer.revocations_revision) == ("e.7", "3", "e.1")
    assert (answer.send_record, answer.token, answer.expires_in) == (True, "t2", 60.0)


async def test_a_beat_without_a_token_shows_the_secret_and_asks_for_none() -> None:
    desk, source = Desk({"POST /heartbeat": (200, {"ok": True})}), Fixed("t")
    async with calling(desk, config(), source=source) as (registry, _):
        await registry.beat(beat())
    assert desk.seen[0].headers["x-droplet-secret"] == "s3cret"
    assert source.asked == []


async def test_a_refused_token_is_followed_by_the_secret_once() -> None:
    desk = Desk({"POST /heartbeat": lambda seen: (200 if "x-droplet-secret" in seen.headers else 401, {})})
    async with calling(desk, config()) as (registry, tokens):
        tokens.adopt(REGISTRY_AUDIENCE, received_token("old", now=AMBIENT.wall(), expires_in=60))
        await registry.beat(beat())
    assert len(desk.seen) == 2


@pytest.mark.parametrize(
    ("body", "spread"),
    [
        ({"error": {"code": "NOT_FOUND", "details": {"spread_seconds": 12.5}}}, 12.5),
        ({"error": {"code": "NOT_FOUND", "details": {"spread_seconds": -1}}}, 0.0),
        ({"detail": "Not Found"}, 0.0),
        (b"<html>", 0.0),
    ],
)
async def test_a_beat_that_nobody_knows(body: Any, spread: float) -> None:
    async with calling(Desk({"POST /heartbeat": (404, body)}), config()) as (registry, _):
        with pytest.raises(UnknownInstance) as caught:
            await registry.beat(beat())
    assert caught.value.spread_seconds == spread


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_leaving(status: int) -> None:
    desk = Desk({"POST /deregister": (status, b"")})
    async with calling(desk, config()) as (registry, _):
        await registry.deregister()
    assert desk.seen[0].body == {"droplet_id": 14, "instance_id": "i-1"}


@pytest.mark.parametrize(
    "body", [[{"id": 2}], {"droplets": [{"id": 2}]}, {"services": [{"id": 2}]}, {"payload": {"droplets": [{"id": 2}]}}]
)
async def test_listing_in_every_shape(body: Any) -> None:
    headers = {"x-udc-revision": "e.4", "x-udc-warming": "1"}
    desk = Desk({"GET /droplets": (200, body, headers)})
    async with calling(desk, config(), source=Fixed("t")) as (registry, _):
        listing = await registry.list()
    assert [record["id"] for record in listing.records] == [2]
    assert (listing.revision, listing.warming) == ("e.4", True)
    assert desk.seen[0].headers["authorization"] == "Bearer t"


async def test_what_is_no_list_is_not_an_empty_mesh() -> None:
    async with calling(Desk({"GET /droplets": (200, {"hello": 1})}), config()) as (registry, _):
        with pytest.raises(InvalidReply, match=r"registry\.style 'contract'"):
            await registry.list()


async def test_a_read_renews_a_refused_token_once() -> None:
    desk = Desk({"GET /droplets": lambda seen: (200 if seen.headers.get("authorization") == "Bearer b" else 401, [])})
    async with calling(desk, config(), source=Fixed("a", "b")) as (registry, _):
        assert (await registry.list()).records == ()
    assert len(desk.seen) == 2


async def test_changes_and_a_registry_without_a_watch() -> None:
    told = {
        "revision": "e.9",
        "changes": [{"op": "put", "record": {"id": 2}}, {"op": "remove", "record": {"id": 3}}, {"op": "put"}, 7],
        "snapshot": True,
    }
    path = "GET /droplets?since=e.8&wait=55"
    async with calling(Desk({path: (200, told)}), config(), source=Fixed("t")) as (registry, _):
        changes = await registry.changes("e.8", wait_seconds=55)
    assert changes is not None
    assert (changes.revision, changes.snapshot) == ("e.9", True)
    assert changes.changes == (Change(op="put", record={"id": 2}), Change(op="remove", record={"id": 3}))
    others: list[Any] = [[{"id": 2}], {"droplets": []}]
    for other in others:
        async with calling(Desk({path: (200, other)}), config(), source=Fixed("t")) as (registry, _):
            assert await registry.changes("e.8", wait_seconds=55) is None


async def test_a_wrong_path_is_called_by_its_name() -> None:
    async with calling(Desk({}), config()) as (registry, _):
        with pytest.raises(RegistryRefused) as caught:
            await registry.register(registration())
    said = f"registry.url is {URL}; POST /register answered 404 (Not Found): is registry.style 'contract' right?"
    assert str(caught.value) == said


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_secret_is_called_by_its_setting(status: int) -> None:
    async with calling(Desk({"POST /register": (status, {"detail": "bad"})}), config()) as (registry, _):
        with pytest.raises(RegistryRefused, match=r"check droplet\.secret") as caught:
            await registry.register(registration())
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    desk = Desk({"POST /register": (status, b"", {"location": "https://elsewhere.example/register"})})
    async with calling(desk, config()) as (registry, _):
        with pytest.raises(RegistryRefused, match="a redirect, which is not followed"):
            await registry.register(registration())
    assert len(desk.seen) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_what_may_pass_is_no_refusal(status: int) -> None:
    desk = Desk({"POST /register": (status, b"", {"retry-after": "7"})})
    async with calling(desk, config()) as (registry, _):
        with pytest.raises(PeerError) as caught:
            await registry.register(registration())
    assert (caught.value.status, caught.value.retry_after_seconds) == (status, 7.0)


@pytest.mark.parametrize("body", [{"message_type": "error", "payload": {}}, {"ok": False}, {"success": False}])
async def test_an_error_in_a_200_is_none_the_less_one(body: Any) -> None:
    async with calling(Desk({"POST /register": (200, body)}), config()) as (registry, _):
        with pytest.raises(PeerError):
            await registry.register(registration())


async def test_a_page_of_html_is_no_registration() -> None:
    async with calling(Desk({"POST /register": (200, b"<html>hello</html>")}), config()) as (registry, _):
        with pytest.raises(InvalidReply, match=r"are registry\.url and registry\.style 'contract' right\?"):
            await registry.register(registration())


@pytest.mark.parametrize("style", ["contract", "v2", "sqlite"])
async def test_secrets_do_not_travel_over_plain_http(style: str) -> None:
    from udc.clients._calls import Calls, Place

    with pytest.raises(ConfigError, match="insecure_hosts"):
        Calls(Place(url="http://registry.example", style=style, credential=""), client=None)  # type: ignore[arg-type]  # never used
    hosts = frozenset({"registry.example"})
    place = Place(url="http://registry.example", style=style, credential="")
    Calls(place, client=None, insecure_hosts=hosts)  # type: ignore[arg-type]  # never used
