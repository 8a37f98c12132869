"""Foreign Registries, one test for each cell of the dialect table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.clients.kit import AMBIENT, ENDPOINT, Desk, Fixed, beat, calling, config, opaque_jwt, registration
from udc.clients._foreign import host_name
from udc.errors import ConfigError, PeerError, RegistryRefused, UnknownInstance

ROW = {"id": 14, "name": "Resizer", "endpoint": ENDPOINT}
SUPERSET = {"id", "droplet_id", "name", "fqdn", "host", "ip", "role", "env", "version", "cost_hour", "steward"} | {
    "endpoint",
    "url",
    "capabilities",
    "status",
    "metadata",
}


def without_credentials(desk: Desk) -> bool:
    shown = {"authorization", "x-droplet-secret", "x-registry-key"}
    return not any(shown & seen.headers.keys() for seen in desk.seen)


async def test_plain_registers_with_the_superset_and_no_credentials() -> None:
    desk = Desk({"POST /droplets": (201, ROW)})
    async with calling(desk, config("plain"), source=Fixed("t")) as (registry, _):
        answer = await registry.register(registration())
    assert without_credentials(desk)
    body = desk.seen[0].body
    assert set(body) == SUPERSET
    assert (body["id"], type(body["id"])) == (14, int)
    assert body["metadata"]["udc_mesh"] == "1.0"
    assert body["metadata"]["instance_id"] == "i-1"
    assert (answer.token, answer.beat_every_seconds) == (None, 30.0)


@pytest.mark.parametrize("style", ["plain", "v2", "sqlite", "services"])
async def test_no_foreign_style_is_asked_for_revoked_tokens(style: str) -> None:
    desk = Desk({})
    async with calling(desk, config(style), source=Fixed("t")) as (registry, _):
        assert await registry.revocations() is None
    assert desk.calls == []


async def test_plain_with_register_instead() -> None:
    desk = Desk({"POST /register": (200, {"ok": True})})
    async with calling(desk, config("plain")) as (registry, _):
        await registry.register(registration())
        await registry.register(registration())
    assert desk.calls == ["POST /droplets", "POST /register", "POST /register"]


async def test_plain_with_neither_path_says_so() -> None:
    async with calling(Desk({}), config("plain")) as (registry, _):
        with pytest.raises(RegistryRefused, match=r"POST /register answered 404.*registry.style 'plain' right"):
            await registry.register(registration())


@pytest.mark.parametrize("spelling", [14, "14", "droplet-14"])
async def test_plain_409_looks_up_by_name_and_patches(spelling: Any) -> None:
    desk = Desk(
        {
            "POST /droplets": (409, {"detail": "already registered"}),
            "GET /droplets/name/Resizer": (200, {"droplet": {**ROW, "id": spelling}}),
            f"PATCH /droplets/{spelling}": (200, ROW),
            f"GET /droplets/{spelling}": (200, ROW),
        }
    )
    async with calling(desk, config("plain")) as (registry, _):
        await registry.register(registration())
        await registry.beat(beat())
    assert set(desk.seen[2].body) <= {"status", "endpoint", "metadata", "proof", "cost_usd", "yield_usd"}
    assert desk.seen[2].body["endpoint"] == ENDPOINT


async def test_plain_does_not_take_over_a_strangers_record() -> None:
    stranger = {"id": 7, "name": "Resizer", "endpoint": "https://other.example"}
    desk = Desk({"POST /droplets": (409, {}), "GET /droplets/name/Resizer": (200, stranger)})
    async with calling(desk, config("plain")) as (registry, _):
        with pytest.raises(RegistryRefused, match="belongs to droplet 7"):
            await registry.register(registration())
    assert not [call for call in desk.calls if call.startswith("PATCH")]


async def test_plain_beats_are_looks_until_the_status_changes() -> None:
    desk = Desk({"POST /droplets": (201, ROW), "GET /droplets/14": (200, ROW), "PATCH /droplets/14": (200, ROW)})
    async with calling(desk, config("plain")) as (registry, _):
        await registry.register(registration())
        for status in ("active", "error", "error"):
            await registry.beat(beat(status=status))
        await registry.deregister()
    assert desk.calls[1:] == ["GET /droplets/14", "PATCH /droplets/14", "GET /droplets/14", "PATCH /droplets/14"]
    assert [seen.body for seen in desk.seen if seen.method == "PATCH"] == [{"status": "error"}, {"status": "inactive"}]


async def test_plain_that_has_forgotten_us() -> None:
    desk = Desk({"POST /droplets": (201, ROW)})
    async with calling(desk, config("plain")) as (registry, _):
        await registry.register(registration())
        for status in ("active", "error"):
            with pytest.raises(UnknownInstance):
                await registry.beat(beat(status=status))
        await registry.deregister()


async def test_plain_is_never_sent_an_id_that_is_no_number() -> None:
    desk = Desk({})
    async with calling(desk, config("plain"), droplet_id="resizer") as (registry, _):
        with pytest.raises(RegistryRefused, match="takes numbers as ids"):
            await registry.register(registration())
    assert desk.seen == []


async def test_plain_lists() -> None:
    desk = Desk({"GET /droplets": (200, {"droplets": [ROW]})})
    async with calling(desk, config("plain")) as (registry, _):
        listing = await registry.list()
        assert await registry.changes("1", wait_seconds=1) is None
    assert ([r["id"] for r in listing.records], listing.revision) == ([14], None)


def v2_desk(token: str) -> Desk:
    return Desk(
        {
            "POST /auth/token?droplet_id=drop14.example.org": (200, {"token": token, "droplet_id": 14}),
            "POST /registry/register": (200, {"ok": True}),
            "POST /registry/heartbeat": (200, {"ok": True, "ts": 1}),
            "GET /registry/droplets": (200, {"droplets": [ROW], "count": 1}),
        }
    )


async def test_v2_gets_a_token_for_its_key_and_then_shows_both() -> None:
    token = opaque_jwt(sub="drop14", role="droplet", scope=["x"], iat=1_000_000, exp=1_000_060)
    desk = v2_desk(token)
    async with calling(desk, config("v2")) as (registry, tokens):
        await registry.register(registration())
        await registry.beat(beat(in_flight=3))
        listing = await registry.list()
        held = tokens.held(None)
    assert held is not None
    assert held.expires_at - AMBIENT.wall() == 60  # read from the token: the Registry told nothing
    first, *others = desk.seen
    assert (first.headers["x-registry-key"], "authorization" in first.headers) == ("k3y", False)
    assert {seen.headers["authorization"] for seen in others} == {f"Bearer {token}"}
    assert {seen.headers["x-registry-key"] for seen in others} == {"k3y"}
    assert not [seen for seen in desk.seen if "x-droplet-secret" in seen.headers]
    assert desk.calls.count("POST /auth/token?droplet_id=drop14.example.org") == 1
    body = others[0].body
    assert (body["droplet_id"], body["id"], body["status"]) == ("drop14.example.org", 14, "healthy")
    assert others[1].body == {"droplet_id": "drop14.example.org", "load": 3, "status": "healthy"}
    assert [r["id"] for r in listing.records] == [14]


async def test_v2_fetches_a_new_token_when_one_is_refused() -> None:
    desk = v2_desk("unused")
    desk.rows["POST /registry/heartbeat"] = lambda seen: (
        (200, {"ok": True}) if seen.headers.get("authorization") == "Bearer b" else (401, {})
    )
    async with calling(desk, config("v2"), source=Fixed("a", "b")) as (registry, _):
        await registry.beat(beat())
    assert desk.calls == ["POST /registry/heartbeat"] * 2


async def test_v2_goes_on_with_the_key_where_no_token_is_given() -> None:
    desk = v2_desk("")
    async with calling(desk, config("v2")) as (registry, _):
        await registry.register(registration())
    assert "authorization" not in desk.seen[-1].headers


async def test_v2_404_and_leaving() -> None:
    desk = v2_desk("t")
    desk.rows["POST /registry/heartbeat"] = (404, {"detail": "unknown"})
    async with calling(desk, config("v2"), source=Fixed("t")) as (registry, _):
        with pytest.raises(UnknownInstance):
            await registry.beat(beat())
        await registry.deregister()
        assert await registry.changes("1", wait_seconds=1) is None
    assert desk.seen[-1].body["status"] == "down"


@pytest.mark.parametrize("style", ["v2", "sqlite"])
async def test_a_wrong_key_is_called_by_its_setting(style: str) -> None:
    desk = Desk({"POST /registry/register": (403, {"detail": "bad key"})})
    async with calling(desk, config(style), source=Fixed()) as (registry, _):
        with pytest.raises(RegistryRefused, match=r"check registry\.key") as caught:
            await registry.register(registration())
    assert "k3y" not in str(caught.value)


@pytest.mark.parametrize(("status", "word"), [("active", "healthy"), ("inactive", "unknown"), ("error", "down")])
@pytest.mark.parametrize("given", [5, "uuid-5", None])
async def test_sqlite_takes_three_status_words(status: str, word: str, given: Any) -> None:
    answer = {} if given is None else {"id": given}
    desk = Desk({"POST /registry/register": (201, answer), "POST /registry/heartbeat": (200, {"ok": True})})
    async with calling(desk, config("sqlite")) as (registry, _):
        await registry.register(registration(status=status))
        await registry.beat(beat(status=status))
    first, second = desk.seen
    assert (first.headers["x-registry-key"], first.body["status"], first.body["id"]) == ("k3y", word, 14)
    assert {"id", "fqdn"} <= first.body.keys()
    assert second.body == {
        "id": 14 if given is None else given,
        "status": word,
        "cpu": 1.5,
        "mem": 80.0,
        "disk": 40.0,
        "last_seen": "1970-01-12T13:46:40.000Z",
    }
    assert not [seen for seen in desk.seen if "authorization" in seen.headers or "x-droplet-secret" in seen.headers]


async def test_sqlite_lists_forgets_and_is_left() -> None:
    desk = Desk({"GET /registry/droplets": (200, [ROW]), "POST /registry/heartbeat": (404, {"error": "unknown"})})
    async with calling(desk, config("sqlite")) as (registry, _):
        assert [r["id"] for r in (await registry.list()).records] == [14]
        with pytest.raises(UnknownInstance):
            await registry.beat(beat())
        await registry.deregister()
        assert await registry.changes("1", wait_seconds=1) is None
    assert desk.seen[-1].body["status"] == "down"


@pytest.mark.parametrize(("answer", "service_id"), [({"service_id": "s-9"}, "s-9"), ({"ok": True}, 14), (b"", 14)])
async def test_a_service_list_is_beaten_with_the_id_it_gave(answer: Any, service_id: Any) -> None:
    desk = Desk(
        {"POST /register": (200, answer), "POST /heartbeat": (200, {}), "GET /services": (200, {"services": [ROW]})}
    )
    async with calling(desk, config("services"), source=Fixed("t")) as (registry, _):
        assert (await registry.register(registration())).beat_every_seconds == 30.0
        await registry.beat(beat())
        assert [r["id"] for r in (await registry.list()).records] == [14]
        assert await registry.changes("1", wait_seconds=1) is None
        await registry.deregister()
    assert desk.seen[1].body == {"service_id": service_id}
    assert without_credentials(desk)


@pytest.mark.parametrize("style", ["plain", "v2", "sqlite", "services"])
async def test_failures_that_may_pass_are_no_refusals(style: str) -> None:
    path = "/droplets" if style == "plain" else "/register" if style == "services" else "/registry/register"
    async with calling(Desk({f"POST {path}": (500, {"detail": "oops"})}), config(style), source=Fixed()) as (
        registry,
        _,
    ):
        with pytest.raises(PeerError):
            await registry.register(registration())


@pytest.mark.parametrize(
    ("droplet_id", "endpoint", "name"),
    [
        (14, "https://drop14.example.org", "drop14.example.org"),
        (14, "https://resize.example.org/x", "drop14.resize.example.org"),
        (14, "http://10.0.0.3:8014", "drop14.local"),
        (14, "http://localhost:8014", "drop14.local"),
        ("resizer", "https://resize.example.org", "resize.example.org"),
        ("resizer", "", "resizer"),
    ],
)
def test_an_id_in_the_form_of_a_host_name(droplet_id: Any, endpoint: str, name: str) -> None:
    assert host_name(droplet_id, endpoint) == name


async def test_styles_without_secrets_may_be_on_plain_http_and_the_others_not() -> None:
    for style in ("plain", "services"):
        made = config(style, registry={"url": "http://registry.example"})
        async with calling(Desk({}), made):
            pass
    from udc.clients import choose

    for style in ("contract", "v2", "sqlite"):
        with pytest.raises(ConfigError, match="insecure_hosts"):
            choose._calls(config(style), None, "http://registry.example")  # type: ignore[arg-type]  # never used
