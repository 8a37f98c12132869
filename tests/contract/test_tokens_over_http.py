"""Tokens as they come over HTTP: what is not exactly right is 401, and nothing else ever gets in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.contract import served
from tests.contract.served import ME, MESH, Sample, World, claims, envelope, key, settings, token
from udc.identity.keys import SigningKey

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    return f"{encoded(header)}.{encoded(body)}.{encoded(signature)}"


def hs256_with_the_public_key() -> str:
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': key().kid})}.{encoded(claims('admin'))}"
    return f"{signed}.{encoded(hmac.new(key().public_pem.encode(), signed.encode(), hashlib.sha256).digest())}"


def tampered() -> str:
    head, _, signature = token("read").split(".")
    return f"{head}.{encoded(claims('admin'))}.{signature}"


_foreign = SigningKey.generate()


def foreign(**headers: Any) -> str:
    return jwt.encode(claims("admin"), _foreign._private, algorithm="RS256", headers=headers)


def changed(**changes: Any) -> Callable[[], str]:
    return lambda: key().sign(claims("admin", **changes))


NOW = int(time.time())
BAD: dict[str, Callable[[], str]] = {
    "not a token": lambda: "nonsense",
    "two parts": lambda: "a.b",
    "dots": lambda: "..",
    "empty parts": lambda: ".".join(token("admin").split(".")[:2]) + ".",
    "tampered claims": tampered,
    "cut": lambda: token("admin")[:-6],
    "alg none": lambda: by_hand({"alg": "none", "typ": "JWT"}, claims("admin")),
    "alg None": lambda: by_hand({"alg": "None"}, claims("admin")),
    "alg nOnE with a signature": lambda: by_hand({"alg": "nOnE"}, claims("admin"), b"abc"),
    "no alg": lambda: by_hand({"typ": "JWT"}, claims("admin")),
    "HS256 signed with the public key": hs256_with_the_public_key,
    "RS512": lambda: jwt.encode(claims("admin"), key()._private, algorithm="RS512"),
    "PS256": lambda: jwt.encode(claims("admin"), key()._private, algorithm="PS256"),
    "another key": foreign,
    "another key under our kid": lambda: foreign(kid=key().kid),
    "kid is a path": lambda: foreign(kid="../../../../dev/null"),
    "kid is a query": lambda: foreign(kid="' or 1=1 --"),
    "kid is a number": lambda: by_hand({"alg": "RS256", "kid": 5}, claims("admin"), b"x" * 256),
    "jwk of the caller's": lambda: foreign(jwk=_foreign.jwk()),
    "jku of the caller's": lambda: foreign(jku="http://127.0.0.1:9/keys"),
    "critical extension": lambda: jwt.encode(
        claims("admin"), key()._private, algorithm="RS256", headers={"crit": ["x"], "x": 1}
    ),
    "expired": changed(exp=NOW - 3600, iat=NOW - 7200),
    "no exp": changed(exp=None),
    "exp as text": changed(exp=str(NOW + 600)),
    "exp infinite": lambda: by_hand({"alg": "RS256"}, {**claims("admin"), "exp": float("inf")}),
    "no iat": changed(iat=None),
    "from the future": changed(iat=NOW + 600, exp=NOW + 3600),
    "not yet": changed(nbf=NOW + 600),
    "another issuer": changed(iss="evil.example"),
    "no issuer": changed(iss=None),
    "another audience": changed(aud="another.mesh"),
    "another droplet's audience": changed(aud=f"{MESH}/15"),
    "the Registry's audience": changed(aud=f"{MESH}/registry"),
    "audience with more behind it": changed(aud=f"{MESH}/14x"),
    "no audience": changed(aud=None),
    "no identity": changed(droplet_id=None),
    "identity in sub only": changed(droplet_id=None, sub="droplet-77"),
    "droplet_id as text": changed(droplet_id="77"),
    "droplet_id true": changed(droplet_id=True),
    "droplet_id 0": changed(droplet_id=0),
    "permissions as text": changed(permissions="admin"),
    "a refresh token": changed(token_type="refresh"),
    "claims are a list": lambda: jwt.api_jws.encode(b"[]", key()._private, algorithm="RS256"),
    "claims are no JSON": lambda: jwt.api_jws.encode(b"{", key()._private, algorithm="RS256"),
    "100 KB": lambda: "eyJ" + "a" * 100_000,
    "100 KB and good": changed(padding="x" * 30_000),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_401_and_nothing_runs(world: World, name: str) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    bearer = BAD[name]()
    for method, path, body in (("GET", "/state", b""), ("POST", "/message", json.dumps(envelope()).encode())):
        answer = await client(method, path, bearer=bearer, content=body)
        if name.startswith("100 KB") and answer.status in (400, 431):
            continue  # the server itself would not read such a header
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), answer.body
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert bearer[-40:].encode() not in answer.body
        assert answer.json()["error"]["retryable"] is False
    assert droplet.ran == []
    assert (await client("GET", "/state", bearer=token("read"))).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": f"{MESH}/{ME}"},
        {"aud": ["other", MESH]},
        {"jti": None},
        {"sub": None},
        {"steward": "ada"},
        {"permissions": ["read", "unheard-of", 5]},
    ],
)
async def test_a_good_token_of_any_shape_gets_in(world: World, changes: dict[str, Any]) -> None:
    client = await world.serve(Sample())
    for _ in range(2):  # checked in full, then remembered
        answer = await client("GET", "/state", bearer=key().sign(claims("read", **{"iat": NOW - 60, **changes})))
        assert answer.status == 200, answer.body


async def test_a_token_just_past_its_end_is_within_the_leeway(world: World) -> None:
    client = await world.serve(Sample())
    token = key().sign(claims("read", iat=NOW - 60, exp=int(time.time()) - 5))
    assert (await client("GET", "/state", bearer=token)).status == 200


async def test_its_own_audience_only_when_told_so(world: World) -> None:
    client = await world.serve(Sample(config={"security.own_audience_only": True}))
    assert (await client("GET", "/state", bearer=token("read"))).status == 401
    own = key().sign(claims("read", aud=f"{MESH}/{ME}"))
    assert (await client("GET", "/state", bearer=own)).status == 200


async def test_a_missing_audience_needs_its_switch(world: World) -> None:
    client = await world.serve(Sample(config={"security.allow_missing_audience": True}))
    assert (await client("GET", "/state", bearer=key().sign(claims("read", aud=None)))).status == 200
    assert (await client("GET", "/state", bearer=key().sign(claims("read", aud="other")))).status == 401


async def test_what_one_caller_may_is_not_remembered_for_another(world: World) -> None:
    """Trap 36."""
    client = await world.serve(Sample())
    for permission, status in (("admin", 200), ("read", 403), ("admin", 200), ("write", 403)):
        asked = {"target": "Nobody", "message_type": "event", "payload": {}}
        answer = await client("POST", "/send", bearer=token(permission), json=asked)
        assert answer.status == (404 if status == 200 else 403)


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Token x", "", "Bearer a b"])
async def test_another_kind_of_credential_is_401(world: World, header: str) -> None:
    client = await world.serve(Sample())
    answer = await client("GET", "/state", headers={"authorization": header})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_a_token_in_the_query_or_the_body_counts_for_nothing(world: World) -> None:
    droplet = Sample()
    client = await world.serve(droplet)
    assert (await client("GET", f"/state?access_token={token('read')}")).status == 401
    assert (await client("POST", "/message", json=envelope(signature=token("admin")))).status == 401
    assert droplet.ran == []


async def test_tokens_never_show_up_in_logs_events_or_metrics(world: World) -> None:
    """Trap 39."""
    client = await world.serve(Sample())
    bad = BAD["expired"]()
    await client("GET", "/state", bearer=bad)
    await client("POST", "/message", bearer=token("write"), json=envelope(signature=bad))
    for path in ("/logs", "/events", "/metrics", "/state", "/capabilities"):
        answer = await client("GET", path, bearer=token("read"))
        assert answer.status == 200
        for secret in (bad, token("read"), token("write")):
            assert secret.encode() not in answer.body
            assert secret.split(".")[1].encode() not in answer.body


async def test_without_auth_everybody_may_on_loopback(world: World) -> None:
    config = {**settings(), "security.public_key": None, "security.require_auth": False}
    client = await world.serve(Sample(config=config))
    assert (await client("GET", "/state")).status == 200
    answer = await client("POST", "/message", json=envelope())
    assert answer.json()["data"] == "hi"
    assert (await client("POST", "/task", json={"id": "a", "type": "work", "payload": {"steps": 1}})).status == 200
