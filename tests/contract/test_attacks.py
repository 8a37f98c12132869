"""What an attacker would try, beside bad tokens (`test_tokens_over_http`) and bad bodies (`test_bad_input`).

Each test is one goal of the attacker's, and shows that it is not reached.
"""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.contract import served
from tests.contract.served import ME, MESH, Sample, World, claims, envelope, key, settings, token
from udc import Context, Droplet, event, query
from udc._wiring.hosting import log_to_stderr

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world

LONG = "x" * 300_000


class Gossip(Droplet):
    """Takes any event, fails over some of them, and tells who asks on whose behalf."""

    id, name, steward = ME, "Gossip", "tests"

    def __init__(self, **config: Any) -> None:
        super().__init__(config={**settings(), **config})
        self.heard = 0

    @event("*")
    async def anything(self, ctx: Context) -> None:
        self.heard += 1
        raise RuntimeError("not that again")

    @query("who")
    async def who(self, ctx: Context) -> dict[str, Any]:
        assert ctx.message is not None
        message = ctx.message
        return {"source": message.source, "on_behalf_of": message.on_behalf_of, "hops": message.hops}


async def test_filling_the_memory_with_names(world: World) -> None:
    """A catch-all takes any name; what is counted and kept of it must stay short."""
    droplet = Gossip()
    client = await world.serve(droplet)
    for number in range(5):
        body = {"message_type": "event", "payload": {"event_type": f"{number}{LONG}", "data": {}}}
        assert (await client("POST", "/message", bearer=token("write"), json=body)).status == 500
    assert droplet.heard == 5

    for path in ("/events?limit=1000", "/metrics", "/logs?limit=1000"):
        assert len((await client("GET", path, bearer=token("read"))).body) < 100_000, path


async def test_having_a_long_name_sent_back(world: World) -> None:
    client = await world.serve(Sample())
    answer = await client("POST", "/message", bearer=token("write"), json=envelope(LONG, {}))
    assert (answer.status, answer.code) == (404, "NO_HANDLER")
    assert len(answer.body) < 5_000


@pytest.mark.parametrize(
    "header", ["Bearer {good}, Bearer {good}", "Bearer bad, Bearer {good}", "Bearer {good} {good}"]
)
async def test_having_one_server_see_another_token_than_the_next(world: World, header: str) -> None:
    client = await world.serve(Sample())
    shown = header.format(good=token("read"))
    answer = await client("GET", "/state", headers={"authorization": shown})
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("name", ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-forwarded-prefix"])
async def test_reaching_another_path_by_a_header(world: World, name: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    for value in ("/health", "/shutdown", "POST"):
        assert (await client("GET", "/state", headers={name: value})).status == 401
        assert (await client("GET", "/shutdown", bearer=token("admin"), headers={name: value})).status == 405
    assert (await client("GET", "/readyz")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "//state",
        "/State",
        "/STATE",
        "/state/",
        "/state%2f",
        "/health%2f..%2fstate",
        "/state;x=1",
        "/state%00",
        "/%2fstate",
    ],
)
async def test_going_around_the_guard_by_another_spelling(world: World, path: str) -> None:
    client = await world.serve(Sample())
    assert (await client("GET", path)).status == 404


async def test_an_encoded_path_is_the_same_path_with_the_same_guard(world: World) -> None:
    client = await world.serve(Sample())
    assert (await client("GET", "/%73tate")).status == 401
    assert (await client("GET", "/%73tate", bearer=token("read"))).status == 200


@pytest.mark.parametrize("path", ["/message", "/send", "/task", "/reload-config", "/shutdown"])
async def test_a_body_that_unpacks_to_gigabytes(world: World, path: str) -> None:
    client = await world.serve(Sample())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    bomb = gzip.compress(b"0" * 10_000_000)
    answer = await client("POST", path, bearer=token("admin"), content=bomb, headers=headers)
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "asked",
    [
        "../outside.json",
        "{outside}",
        "link.json",
        "linked/outside.json",
        "sub/../../outside.json",
        "a\x00b",
        "/dev/zero",
    ],
)
async def test_having_a_file_read_from_elsewhere(world: World, tmp_path: Path, asked: str) -> None:
    outside, inside = tmp_path / "outside.json", tmp_path / "conf"
    inside.mkdir()
    outside.write_text(json.dumps({"limits": {"in_flight": 3}}))
    (inside / "link.json").symlink_to(outside)
    (inside / "linked").symlink_to(tmp_path)
    client = await world.serve(Sample(config={"config_dir": str(inside)}))

    body = {"config_path": asked.format(outside=outside)}
    answer = await client("POST", "/reload-config", bearer=token("admin"), json=body)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert str(tmp_path).encode() not in answer.body


async def test_using_send_to_speak_in_somebody_elses_name(world: World) -> None:
    """`/send` lends the droplet's voice: the receiver learns whose wish it was, whatever the body says."""
    droplet = Gossip()
    client = await world.serve(droplet)
    body = {
        "target": "me-again",
        "message_type": "query",
        "payload": {"type": "who"},
        "on_behalf_of": 1,
        "source": 1,
        "hops": -5,
        "headers": {"authorization": "Bearer stolen"},
    }
    for target in ("http://169.254.169.254/latest", "//evil.example", "../14", "file:///etc/passwd"):
        answer = await client("POST", "/send", bearer=token(scope="udc:send"), json={**body, "target": target})
        assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, "target")
    assert (await client("POST", "/send", bearer=token("write"), json=body)).status == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": f"{MESH}/15"},
        {"aud": [f"{MESH}/15", f"{MESH}/registry"]},
        {"aud": f"{MESH}/{ME}0"},
        {"aud": MESH.upper()},
        {"aud": {"0": MESH}},
        {"permissions": {"admin": True}},
        {"exp": 10**400},
        {"nbf": 10**12},
        {"token_use": "id"},
    ],
    ids=str,
)
async def test_a_token_made_for_something_else(world: World, changes: dict[str, Any]) -> None:
    client = await world.serve(Sample())
    answer = await client("GET", "/state", bearer=key().sign(claims("read", "admin", **changes)))
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


async def test_permissions_that_only_look_like_ones(world: World) -> None:
    client = await world.serve(Sample())
    for wished in (["ADMIN"], ["admin "], ["*"], [["admin"]], ["read write"], [None]):
        bearer = key().sign(claims(permissions=wished))
        assert (await client("GET", "/state", bearer=bearer)).status == 403, wished


async def test_writing_lines_into_the_log(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign trace id may be any text; in a terminal it stays within its line."""
    client = await world.serve(Sample())
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        log_to_stderr("INFO")
        body = {
            "metadata": {"trace_id": "a\n00:00:00 INFO udc: all is well\x1b[2J", "source_droplet_id": 77},
            "message_type": "query",
            "payload": {"type": "boom"},
        }
        assert (await client("POST", "/message", bearer=token("write"), json=body)).status == 500
    finally:
        root.handlers = before
    shown = capsys.readouterr().err
    assert "all is well" in shown, "the trace id is there"
    assert not any(line.startswith("00:00:00 INFO udc: all is well") for line in shown.splitlines())
    assert "\x1b" not in shown
