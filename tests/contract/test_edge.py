"""The edge to the network: security headers, CORS, OPTIONS and HEAD, rates, odd requests; alike on every way in."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
import trustme

from tests.contract import served
from tests.contract.served import Answer, Client, Connection, Extended, Sample, World, envelope, token
from udc import Endpoint, HttpRequest, HttpResponse
from udc._wiring.surroundings import Surroundings
from udc.asgi import App

way, anyio_backend, server, world = served.way, served.anyio_backend, served.server, served.world

APP = "https://app.example"
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
PREFLIGHT = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def cors_of(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def _page(_: HttpRequest) -> HttpResponse:
    policy = (("Content-Security-Policy", "default-src 'self'"), ("Cache-Control", "max-age=60"))
    return HttpResponse(body=b"<p>", media_type="text/html", headers=policy)


async def _splitting(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=303, headers=(("Location", request.query["to"][0]),))


async def _parts(_: HttpRequest) -> HttpResponse:
    async def parts() -> Any:
        yield b"data: 1\n\n"

    return HttpResponse(body=parts(), media_type="text/event-stream")


async def _own_options(request: HttpRequest) -> dict[str, str]:
    return {"own": request.method}


class Edged(Extended):
    endpoints = (
        *Extended.endpoints,
        Endpoint(method="GET", path="/page", access="public", handler=_page),
        Endpoint(method="GET", path="/splitting", access="public", handler=_splitting),
        Endpoint(method="GET", path="/parts", access="read", handler=_parts),
        Endpoint(method="OPTIONS", path="/own", access="read", handler=_own_options),
    )


class TestSecurityHeaders:
    @pytest.mark.parametrize(
        ("method", "path", "status", "stored"),
        [
            ("GET", "/health", 200, True),
            ("HEAD", "/health", 200, True),
            ("GET", "/state", 200, False),
            ("GET", "/parts", 200, False),
            ("GET", "/empty", 204, True),
            ("OPTIONS", "/state", 204, False),
            ("GET", "/nowhere", 404, False),
            ("PUT", "/health", 405, False),
            ("POST", "/shutdown", 403, False),
            ("POST", "/failing", 500, False),
        ],
    )
    async def test_every_answer_has_them(self, world: World, method: str, path: str, status: int, stored: bool) -> None:
        client = await world.serve(Edged())
        answer = await client(method, path, bearer=token("read"))
        assert answer.status == status
        assert SECURITY.items() <= answer.headers.items()
        assert "strict-transport-security" not in answer.headers
        assert answer.headers.get("cache-control") == (None if stored else "no-store")

    async def test_a_message_a_refusal_and_a_body_that_is_too_large_have_them(self, world: World) -> None:
        client = await world.serve(Edged(config={"limits.max_body_bytes": 1000}))
        answers = [
            await client("POST", "/message", bearer=token("write"), json=envelope()),
            await client("POST", "/message", json=envelope()),
            await client("POST", "/message", bearer=token("write"), content=b" " * 1001),
        ]
        assert [answer.status for answer in answers] == [200, 401, 413]
        for answer in answers:
            assert {**SECURITY, "cache-control": "no-store"}.items() <= answer.headers.items()

    async def test_what_an_endpoint_brings_stays(self, world: World) -> None:
        client = await world.serve(Edged())
        answer = await client("GET", "/page")
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert (answer.headers["cache-control"], answer.headers["x-frame-options"]) == ("max-age=60", "DENY")

    async def test_an_answer_cannot_be_split(self, world: World) -> None:
        client = await world.serve(Edged())
        answer = await client("GET", "/splitting?to=/a%0d%0aSet-Cookie:%20stolen=1")
        assert (answer.status, answer.code) == (500, "INTERNAL_ERROR")
        assert "set-cookie" not in answer.headers
        assert b"stolen" not in answer.body
        assert (await client("GET", "/splitting?to=/a")).headers["location"] == "/a"

    async def test_before_the_start_too(self, way: str) -> None:
        connection = Connection(App(Sample()), served.http_scope("GET", "/health"), [])
        answer = await connection.run()
        assert answer.status == 503
        assert SECURITY.items() <= answer.headers.items()


@served.socket_only
async def test_hsts_over_https(world: World, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    app = App(served.Placed(Sample(config={"security.hsts_seconds": 60}), Surroundings(sample_process=False)))
    async with served.uvicorn_serving(app, lifespan="on", ssl_keyfile=key, ssl_certfile=chain) as (_, port):
        async with httpx2.AsyncClient(verify=trust, trust_env=False) as client:
            for path, status in (("/health", 200), ("/state", 401)):
                answer = await client.get(f"https://127.0.0.1:{port}{path}")
                assert (answer.status_code, answer.headers["strict-transport-security"]) == (status, "max-age=60")


class TestCors:
    async def start(self, world: World, **more: Any) -> Client:
        return await world.serve(Edged(config={"cors.origins": [f"{APP}:443"], **more}))

    async def test_it_is_off_until_configured(self, world: World) -> None:
        client = await world.serve(Edged())
        for method in ("OPTIONS", "GET"):
            answer = await client(method, "/health", headers=PREFLIGHT)
            assert cors_of(answer) == {}
            assert "vary" not in answer.headers
        assert (await client("OPTIONS", "/message", headers=PREFLIGHT)).headers["allow"] == "OPTIONS, POST"

    async def test_a_preflight_is_answered_before_any_token(self, world: World) -> None:
        client = await self.start(world)
        answer = await client("OPTIONS", "/message", headers=PREFLIGHT)
        assert (answer.status, answer.body) == (204, b"")
        assert cors_of(answer) == {
            "access-control-allow-origin": APP,
            "access-control-allow-methods": "OPTIONS, POST",
            "access-control-allow-headers": "authorization, content-type",
            "access-control-max-age": "600",
        }
        assert answer.headers["vary"].startswith("Origin")
        assert (await client("OPTIONS", "/nowhere", headers=PREFLIGHT)).status == 404

    async def test_answers_and_refusals_may_be_read_by_the_page(self, world: World) -> None:
        client = await self.start(world)
        for path, status in (("/health", 200), ("/state", 401), ("/nowhere", 404), ("/parts", 401)):
            answer = await client("GET", path, headers={"origin": APP})
            assert (answer.status, answer.headers["vary"]) == (status, "Origin")
            assert cors_of(answer) == {
                "access-control-allow-origin": APP,
                "access-control-expose-headers": "retry-after, www-authenticate",
            }

    async def test_other_pages_get_nothing_but_caches_are_told(self, world: World) -> None:
        client = await self.start(world, **{"cors.credentials": True})
        for method in ("GET", "OPTIONS"):
            answer = await client(method, "/health", headers={**PREFLIGHT, "origin": "https://evil.example"})
            assert (cors_of(answer), answer.headers["vary"]) == ({}, "Origin")
        assert (await client("GET", "/health")).headers["vary"] == "Origin"

    async def test_credentials(self, world: World) -> None:
        client = await self.start(world, **{"cors.credentials": True})
        for method in ("GET", "OPTIONS"):
            found = cors_of(await client(method, "/health", headers=PREFLIGHT))
            assert (found["access-control-allow-credentials"], found["access-control-allow-origin"]) == ("true", APP)

    async def test_an_endpoint_may_answer_options_itself_but_no_preflight(self, world: World) -> None:
        client = await self.start(world)
        assert (await client("OPTIONS", "/own")).status == 401
        assert (await client("OPTIONS", "/own", bearer=token("read"))).json() == {"own": "OPTIONS"}
        assert (await client("OPTIONS", "/own", headers=PREFLIGHT)).status == 204

    async def test_a_reload_changes_the_origins(self, world: World, tmp_path: Path) -> None:
        served.config_file(tmp_path, cors={"origins": [APP]}, rate={"caller_per_second": 0.001, "caller_burst": 2})
        around = Surroundings(sample_process=False, config_file=tmp_path / "udc_config.json")
        client = await world.serve(Edged(), around)
        assert cors_of(await client("GET", "/health", headers={"origin": APP}))
        served.config_file(tmp_path, cors={"origins": []}, rate={"caller_per_second": 0.001, "caller_burst": 2})
        changed = (await client("POST", "/reload-config", bearer=token("admin"), json={})).json()["changed"]
        assert changed == ["cors.origins"]
        assert not cors_of(await client("GET", "/health", headers={"origin": APP}))


class TestOptionsAndHead:
    async def test_options_tells_what_a_path_takes_without_a_token(self, world: World) -> None:
        client = await world.serve(Edged())
        for path, allow in (
            ("/health", "GET, HEAD, OPTIONS"),
            ("/message", "OPTIONS, POST"),
            ("/hello/ada", "DELETE, GET, HEAD, OPTIONS"),
        ):
            answer = await client("OPTIONS", path)
            assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", allow)
            assert "content-length" not in answer.headers
        assert (await client("OPTIONS", "/nowhere")).status == 404

    @pytest.mark.parametrize("path", ["/health", "/state", "/parts", "/nowhere", "/page"])
    async def test_head_is_get_without_its_body(self, world: World, path: str) -> None:
        client = await world.serve(Edged())
        get = await client("GET", path, bearer=token("read"))
        head = await client("HEAD", path, bearer=token("read"))
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers.keys() >= get.headers.keys() - {"transfer-encoding"}
        assert head.headers["content-type"] == get.headers["content-type"]


class TestRates:
    async def test_a_caller_has_its_rate(self, world: World) -> None:
        client = await world.serve(Edged(config={"rate.caller_per_second": 0.01, "rate.caller_burst": 2}))
        answers = [await client("GET", "/state", bearer=token("read")) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].code == "RATE_LIMITED"
        assert 90 < int(answers[2].headers["retry-after"]) <= 100
        assert (await client("GET", "/state", bearer=token("read", droplet_id=78))).status == 200
        assert (await client("GET", "/health")).status == 200

    async def test_an_address_has_its_rate_whatever_it_asks(self, world: World) -> None:
        client = await world.serve(Edged(config={"rate.address_per_second": 0.01, "rate.address_burst": 3}))
        statuses = [
            (await client("GET", path, bearer=token("read"))).status
            for path in ("/state", "/nowhere", "/empty", "/state")
        ]
        assert statuses == [200, 404, 204, 429]
        assert (await client("OPTIONS", "/state")).status == 429
        for path in ("/health", "/livez", "/readyz"):
            assert (await client("GET", path)).status == 200
        refused = await client("GET", "/nowhere")
        assert (refused.status, "retry-after" in refused.headers) == (429, True)

    async def test_a_reload_of_something_else_forgets_nothing(self, world: World, tmp_path: Path) -> None:
        rate = {"caller_per_second": 0.001, "caller_burst": 1}
        served.config_file(tmp_path, rate=rate)
        around = Surroundings(sample_process=False, config_file=tmp_path / "udc_config.json")
        client = await world.serve(Edged(), around)
        assert (await client("GET", "/state", bearer=token("read"))).status == 200
        served.config_file(tmp_path, rate=rate, log_level="DEBUG")
        assert (await client("POST", "/reload-config", bearer=token("admin", droplet_id=78), json={})).status == 200
        assert (await client("GET", "/state", bearer=token("read"))).status == 429
        served.config_file(tmp_path, rate={**rate, "caller_burst": 9}, log_level="DEBUG")
        assert (await client("POST", "/reload-config", bearer=token("admin", droplet_id=79), json={})).status == 200
        assert (await client("GET", "/state", bearer=token("read"))).status == 200

    async def test_nothing_but_failures_is_limited_by_default(self, world: World) -> None:
        client = await world.serve(Edged())
        for _ in range(150):
            assert (await client("GET", "/version", bearer=token("read"))).status == 200


class TestOddRequests:
    async def test_what_a_proxy_says_is_not_believed_unasked(self, world: World) -> None:
        client = await world.serve(Edged(config={"rate.address_per_second": 0.01, "rate.address_burst": 2}))
        answers = [
            await client("GET", "/page", headers={"x-forwarded-for": f"10.9.9.{n}", "x-forwarded-proto": "https"})
            for n in range(3)
        ]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert all("strict-transport-security" not in answer.headers for answer in answers)


RAW = {
    "a token sent twice": (b"GET /state", b"Authorization: Bearer a\r\nAuthorization: Bearer b", 401),
    "a token that is no ASCII": (b"GET /state", b"Authorization: Bearer \xe9\xff", 401),
    "an endless token": (b"GET /state", b"Authorization: Bearer " + b"a" * 9000, 401),
    "a NUL": (b"GET /health", b"X-A: a\x00b", 400),
    "a bare CR": (b"GET /health", b"X-A: a\rb", 400),
    "a space in a name": (b"GET /health", b"X A: b", 400),
    "a space after a name": (b"GET /health", b"X-A : b", 400),
    "two lengths": (b"POST /message", b"Content-Length: 2\r\nContent-Length: 3", 400),
    "a negative length": (b"POST /message", b"Content-Length: -2", 400),
    "a path with a line end": (b"GET /health%0d%0aX:%20y", b"X-A: b", 404),
    "a path that is no UTF-8": (b"GET /%ff%fe", b"X-A: b", 404),
    "a raw byte in the path": (b"GET /h\xe9", b"X-A: b", 400),
}


@served.socket_only
@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_raw_requests_are_refused_clearly(world: World, http: str) -> None:
    """By the server's parser or by us, never with a 500, and the server serves on."""
    app = App(served.Placed(Edged(), Surroundings(sample_process=False)))
    async with served.uvicorn_serving(app, lifespan="on", http=http) as (_, port):
        for name, (line, headers, status) in RAW.items():
            raw = line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n\r\n"
            answer = await anyio.to_thread.run_sync(_ask_raw, port, raw)
            assert answer.startswith(b"HTTP/1.1 %d " % status), (name, answer)
        twice = b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + RAW["a token sent twice"][1] + b"\r\n\r\n"
        assert b"the Authorization header is not one bearer token" in await anyio.to_thread.run_sync(
            _ask_raw, port, twice
        )
        good = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert b" 200 " in await anyio.to_thread.run_sync(_ask_raw, port, good)


def _ask_raw(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(raw)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer
