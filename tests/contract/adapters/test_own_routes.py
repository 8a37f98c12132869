"""An application keeps what is its own beside the droplets in it, and its routes may use what they have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract import served
from tests.contract.adapters.comparing import told
from tests.contract.adapters.hosts import ATTACHED, KINDS, Host, Kind, Place, serving
from tests.contract.adapters.own import APPLICATIONS, ATTACH, SEEN, Own
from tests.contract.served import ME, envelope, token
from udc import Droplet, query
from udc._http import HttpAnswer, HttpClient
from udc._http.memory import FunctionTransport
from udc._wiring.surroundings import Surroundings

OTHER = 15


class Other(Droplet):
    id, name, steward = OTHER, "Other", "test-team"

    @query("echo")
    async def echo(self, text: str) -> str:
        return text


@dataclass
class World:
    """One application with two droplets under prefixes and one without.

    Calls between them go through the application itself.
    """

    host: Host
    own: Own
    places: dict[str, Place] = field(default_factory=dict)


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind.adapter in ATTACHED], ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


def settings(**changes: Any) -> dict[str, Any]:
    peers = [
        {"id": OTHER, "name": "Other", "endpoint": "http://own.test/other", "ours": True},
        {"id": 16, "name": "Dead", "endpoint": "http://dead.test"},
    ]
    return {
        "security.public_key": served.key().public_pem,
        "security.token": token("write", droplet_id=ME),
        "security.insecure_hosts": ["own.test", "dead.test"],
        "security.failed_auth_limit": 1000,
        "droplet.url": "http://127.0.0.1:8014",
        "peers": peers,
        **changes,
    }


@pytest.fixture(scope="module")
async def world(kind: Kind, anyio_backend: Any) -> AsyncIterator[World]:
    own = Own()
    app = APPLICATIONS[kind.adapter](own)
    hosts: list[Host] = []

    async def exchange(method: str, url: str, headers: Any, body: bytes) -> HttpAnswer:
        if urlsplit(url).hostname != "own.test":
            raise ConnectionRefusedError("nobody is there")
        got = await hosts[0].client(method, urlsplit(url).path, headers=dict(headers), content=body)
        return HttpAnswer(status=got.status, headers=dict(got.headers), body=got.body)

    around = Surroundings(
        sample_process=False, make_client=lambda: HttpClient(transport_factory=lambda: FunctionTransport(exchange))
    )
    attach = ATTACH[kind.adapter]
    root = Place(served.Sample(config=settings()), around)
    other = Place(Other(config={**settings(**{"droplet.url": "http://127.0.0.1:8014/other"}), "peers": []}), around)
    third = Place(served.Sample(config=settings(**{"droplet.id": 17, "droplet.name": "Third"})), around)
    attach(app, root)
    attach(app, other, prefix="/other")
    attach(app, third, prefix="/deeply/third")
    async with serving(kind, app) as host:
        hosts.append(host)
        try:
            yield World(host, own, {"": root, "/other": other, "/deeply/third": third})
        finally:
            for each in (root, other, third):
                if each.hosted is not None:
                    each.hosted.request_stop(at_once=True)


async def test_own_routes_answer(world: World) -> None:
    client = world.host.client
    answer = await client("GET", "/mine")
    assert (answer.status, answer.json()) == (200, {"mine": True, "resource": "open"})
    assert (await client("GET", "/mine/5")).json() == 5
    assert (await client("GET", "/nested/deep")).json() == "deep"


async def test_own_errors_are_answered_by_own_handlers(world: World) -> None:
    answer = await world.host.client("GET", "/own-error")
    assert (answer.status, answer.json()) == (418, {"own": "mine"})
    nowhere = await world.host.client("GET", "/nowhere")
    assert (nowhere.status, nowhere.json()) == (404, {"own": "nowhere"})


async def test_own_middleware_sees_own_requests_only(world: World) -> None:
    world.own.passed.clear()
    mine = await world.host.client("GET", "/mine")
    theirs = await world.host.client("GET", "/health")
    for path in ("/other/health", "/deeply/third/livez"):
        assert SEEN not in (await world.host.client("GET", path)).headers
    await world.host.client("POST", "/message", bearer=token("write"), json=envelope())
    assert mine.headers[SEEN] == "yes"
    assert SEEN not in theirs.headers
    assert world.own.passed == ["/mine"]


async def test_own_lifespan_has_begun_once(world: World) -> None:
    assert world.own.life == ["opened"]


async def test_each_droplet_answers_under_its_prefix(world: World) -> None:
    client = world.host.client
    found = {prefix: (await client("GET", f"{prefix}/health")).json()["id"] for prefix in world.places}
    assert found == {"": ME, "/other": OTHER, "/deeply/third": 17}
    answer = await client(
        "POST", "/other/message", bearer=token("write"), json={**envelope(), "target": OTHER, "trace_id": None}
    )
    assert answer.json()["data"] == "hi"


async def test_prefixed_droplets_are_strict_about_paths(world: World) -> None:
    for path in ("/otherhealth", "/other", "/other/", "/other/other/health", "/deeply/health", "/third/health"):
        answer = await world.host.client("GET", path)
        assert (answer.status, answer.json()) == (404, {"own": "nowhere"}), path


async def test_errors_under_a_prefix_are_the_contracts(world: World) -> None:
    wrong = await world.host.client("DELETE", "/other/health")
    assert (wrong.status, wrong.code, wrong.headers["allow"].split(", ")[0]) == (405, "METHOD_NOT_ALLOWED", "GET")
    assert (await world.host.client("GET", "/other/state")).status == 401


@pytest.mark.parametrize("path", ["/other/openapi.json", "/deeply/third/openapi.json"])
async def test_each_prefixed_droplet_has_its_document(world: World, path: str) -> None:
    assert (await world.host.client("GET", path)).status == 401
    document = (await world.host.client("GET", path, bearer=token("read"))).json()
    assert "/message" in document["paths"]


@pytest.mark.parametrize(
    ("bearer", "status", "code"),
    [
        (None, 401, "UNAUTHORIZED"),
        ("no.real.token", 401, "UNAUTHORIZED"),
        (token("read"), 403, "FORBIDDEN"),
        (token(), 403, "FORBIDDEN"),
    ],
)
async def test_a_guarded_route_refuses_as_the_droplet_does(
    world: World, bearer: str | None, status: int, code: str
) -> None:
    own = await world.host.client("GET", "/guarded", bearer=bearer)
    assert (own.status, own.code) == (status, code)
    theirs = await world.host.client("POST", "/message", bearer=bearer, json=envelope())
    mine, other = told(own), told(theirs)
    assert {name: value for name, value in mine[1].items() if name != SEEN} == other[1]
    if status == 401:
        assert mine[2] == other[2]
    else:
        assert own.json()["error"]["details"]["missing_permission"] == "write"


async def test_a_guarded_route_lets_the_right_callers_in(world: World) -> None:
    for bearer in (token("write"), token("admin")):
        answer = await world.host.client("GET", "/guarded", bearer=bearer)
        assert (answer.status, answer.json()) == (200, {"caller": 77})


async def test_a_scope_will_do(world: World) -> None:
    client = world.host.client
    assert (await client("GET", "/scoped", bearer=token("write"))).status == 403
    assert (await client("GET", "/scoped", bearer=token("write", scope="other own:it"))).status == 200
    assert (await client("GET", "/scoped", bearer=token("admin"))).status == 200


async def test_guarded_routes_share_the_cache_of_verified_tokens(world: World) -> None:
    hosted = world.places[""].hosted
    assert hosted is not None
    seen = hosted.parts.verifier._seen  # type: ignore[attr-defined]  # a TokenVerifier here
    fresh = served.key().sign(served.claims("write", jti="shared-cache"))
    before = len(seen)
    await world.host.client("GET", "/guarded", bearer=fresh)
    assert len(seen) == before + 1
    await world.host.client("POST", "/message", bearer=fresh, json=envelope())
    assert len(seen) == before + 1


async def test_a_route_reaches_peers(world: World) -> None:
    answer = await world.host.client("GET", "/asks")
    assert (answer.status, answer.json()) == (200, "through")


async def test_a_peer_that_is_away_is_told_as_the_contract_says(world: World) -> None:
    answer = await world.host.client("GET", "/misses")
    assert (answer.status, answer.code) == (503, "DEPENDENCY_UNAVAILABLE")


async def test_business_errors_of_own_routes_are_the_contracts(world: World) -> None:
    answer = await world.host.client("GET", "/refuses")
    assert (answer.status, answer.code) == (409, "SOLD_OUT")


async def test_several_droplets_know_that_they_are_not_alone(world: World) -> None:
    assert [place.alone for place in world.places.values()] == [[False], [False], [False]]
