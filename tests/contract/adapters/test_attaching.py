"""Attaching: what is refused, with both sides named, and what then stands in the application's documents."""

from __future__ import annotations

import importlib
import sys
from collections.abc import MutableMapping
from typing import Any

import pytest
from aiohttp import web
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

import udc.aiohttp
import udc.fastapi
from tests.contract import served
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import ATTACHED, Kind, Place, application, hosting, serving
from tests.contract.adapters.own import ATTACH
from tests.contract.adapters.test_lives import served_with_state
from tests.contract.served import MemoryClient, Sample, token
from udc import Droplet, Endpoint, HttpRequest
from udc._wiring.surroundings import Surroundings
from udc.errors import DefinitionError, LifecycleError

adapters = pytest.mark.parametrize("adapter", ATTACHED)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def own(*_: Any) -> Any:
    return PlainTextResponse("own")


def new(adapter: str) -> Any:
    return {"fastapi": FastAPI, "starlette": Starlette, "aiohttp": web.Application}[adapter]()


def add(app: Any, method: str, path: str) -> None:
    """A route of the application's own, whatever its framework."""
    if isinstance(app, web.Application):
        app.router.add_route(method, path, own)
    elif isinstance(app, FastAPI):
        app.add_api_route(path, lambda: None, methods=[method], name="own")
    else:
        app.router.routes.append(Route(path, own, methods=[method]))


CLASHES = [
    ("GET", "/health", "", "/health"),
    ("POST", "/message", "", "/message"),
    ("GET", "/message", "", "/message"),  # a path has one owner, whatever the method
    ("GET", "/hello/{anybody}", "", "/hello/{anybody}"),
    ("GET", "/hello/mine", "", "/hello/mine"),  # it would never be reached
    ("GET", "/sample/state", "/sample", "/sample/state"),
]


@adapters
@pytest.mark.parametrize(("method", "path", "prefix", "named"), CLASHES)
def test_a_clash_names_both(adapter: str, method: str, path: str, prefix: str, named: str) -> None:
    app = new(adapter)
    add(app, method, path)
    with pytest.raises(DefinitionError) as caught:
        ATTACH[adapter](app, Everything(), prefix)
    text = str(caught.value)
    assert text.startswith(f"{named} is claimed twice")
    assert "own" in text or "lambda" in text
    assert "the droplet Everything" in text
    assert " at 0x" not in text


@adapters
@pytest.mark.parametrize(
    ("method", "path", "prefix"),
    [
        ("GET", "/{page}", ""),
        ("GET", "/healthz", ""),
        ("GET", "/hello", ""),
        ("GET", "/hello/{name}/more", ""),
        ("GET", "/health", "/sample"),
        ("GET", "/sample", "/sample"),
        ("GET", "/sample/own", "/sample"),
        ("GET", "/samples/health", "/sample"),
    ],
)
def test_what_is_no_clash(adapter: str, method: str, path: str, prefix: str) -> None:
    app = new(adapter)
    add(app, method, path)
    ATTACH[adapter](app, Everything(), prefix)


def nested(adapter: str) -> Any:
    if adapter == "aiohttp":
        app, inner = web.Application(), web.Application()
        inner.router.add_get("/health", own)
        app.add_subapp("/sample", inner)
        return app
    if adapter == "fastapi":
        fastapi, router = FastAPI(), APIRouter(prefix="/sample")
        router.add_api_route("/health", lambda: None, name="own")
        fastapi.include_router(router)
        return fastapi
    return Starlette(routes=[Mount("/sample", routes=[Route("/health", own)])])


@adapters
def test_a_clash_with_something_nested(adapter: str) -> None:
    with pytest.raises(DefinitionError, match=r"^/sample/health is claimed twice: by the route '(own|<lambda>)' of"):
        ATTACH[adapter](nested(adapter), Sample(), "/sample")


async def opaque(scope: Any, receive: Any, send: Any) -> None: ...


def test_a_clash_with_something_mounted_that_has_no_routes() -> None:
    app = Starlette(routes=[Mount("/sample", opaque)])
    with pytest.raises(DefinitionError, match=r"by the mount '/sample' of the application and by the droplet Sample"):
        ATTACH["starlette"](app, Sample(), "/sample")
    with pytest.raises(DefinitionError, match="claimed twice"):
        ATTACH["starlette"](app, Sample(), "/sample/deep")


def test_a_clash_with_static_files(tmp_path: Any) -> None:
    app = web.Application()
    app.router.add_static("/sample", tmp_path)
    with pytest.raises(DefinitionError, match="claimed twice"):
        ATTACH["aiohttp"](app, Sample(), "/sample/deep")


def test_what_takes_all_that_is_left_is_no_clash() -> None:
    async def chat(socket: WebSocket) -> None: ...

    app = Starlette(routes=[WebSocketRoute("/message", chat), Mount("/", opaque)])
    ATTACH["starlette"](app, Sample())


@adapters
async def test_a_route_that_is_added_later_fails_the_start(adapter: str) -> None:
    app = new(adapter)
    ATTACH[adapter](app, Place(Sample()))
    add(app, "GET", "/health")
    with pytest.raises(DefinitionError, match="/health is claimed twice"):
        await _start(app)


async def _start(app: Any) -> None:
    if isinstance(app, web.Application):
        runner = web.AppRunner(app)
        try:
            await runner.setup()
        finally:
            await runner.cleanup()
    else:
        await served.Life(served_with_state(app)).run()


@adapters
async def test_an_endpoint_that_only_the_configuration_adds(adapter: str) -> None:
    ended: list[bool] = []
    droplet = Everything(config={"security.emergency_stop": True})
    around = Surroundings(sample_process=False, exit_process=lambda: ended.append(True))
    async with hosting(Kind(adapter, "memory"), droplet, surroundings=around) as host:
        answer = await host.client("POST", "/emergency-stop", bearer=token("admin"))
        assert answer.json()["stopping"] is True
    assert ended == [True]


@adapters
async def test_an_endpoint_that_only_the_configuration_adds_may_clash_too(adapter: str) -> None:
    app = new(adapter)
    add(app, "GET", "/emergency-stop")
    ATTACH[adapter](app, Place(Sample(config={"security.emergency_stop": True})))
    with pytest.raises(DefinitionError, match="/emergency-stop is claimed twice"):
        await _start(app)


class TestSubApplications:
    """Of aiohttp's, which have a life of their own."""

    @pytest.mark.parametrize(("place", "before"), [("", "/sub"), ("/in", "/sub/in")])
    async def test_a_droplet_in_one(self, place: str, before: str) -> None:
        ended: list[bool] = []
        droplet = Everything(config={"security.emergency_stop": True})
        around = Surroundings(sample_process=False, exit_process=lambda: ended.append(True))
        outer, inner = web.Application(), web.Application()
        udc.aiohttp.attach(inner, Place(droplet, around), place)
        outer.add_subapp("/sub", inner)
        async with serving(Kind("aiohttp", "memory"), outer) as host:
            assert (await host.client("GET", f"{before}/echo/ada")).json()["path"] == "/echo/ada"
            assert (await host.client("GET", f"{before}/version", bearer=token("read"))).status == 200
            answer = await host.client("POST", f"{before}/emergency-stop", bearer=token("admin"))
            assert answer.json()["stopping"] is True
            for elsewhere in ("/emergency-stop", "/sub/nowhere", "/health"):
                assert b"NOT_FOUND" not in (await host.client("GET", elsewhere)).body
        assert ended == [True]

    async def test_a_route_that_is_added_later_clashes(self) -> None:
        outer, inner = web.Application(), web.Application()
        udc.aiohttp.attach(inner, Place(Sample()))
        add(inner, "GET", "/health")
        outer.add_subapp("/sub", inner)
        with pytest.raises(DefinitionError, match="/health is claimed twice"):
            await _start(outer)


@adapters
def test_droplets_that_clash(adapter: str) -> None:
    class Other(Droplet):
        id, name, steward = 15, "Other", "test-team"

    app = new(adapter)
    ATTACH[adapter](app, Sample())
    with pytest.raises(DefinitionError, match="by the droplet Sample and by the droplet Other"):
        ATTACH[adapter](app, Other())
    ATTACH[adapter](app, Other(), "/other")
    with pytest.raises(
        DefinitionError, match=r"^/other/\S+ is claimed twice: by the droplet Other and by the droplet Sample"
    ):
        ATTACH[adapter](app, Sample(), "/other")


@adapters
def test_a_template_of_one_droplet_may_not_swallow_anothers_path(adapter: str) -> None:
    async def any_of_them(_: HttpRequest) -> None: ...

    class Greedy(Droplet):
        id, name, steward = 15, "Greedy", "test-team"
        endpoints = (Endpoint(method="GET", path="/{place}/health", access="public", handler=any_of_them),)

    for first, second in ((Greedy(), Sample()), (Sample(), Greedy())):
        app = new(adapter)
        ATTACH[adapter](app, first, "" if isinstance(first, Greedy) else "/sample")
        with pytest.raises(DefinitionError, match="claimed twice"):
            ATTACH[adapter](app, second, "" if isinstance(second, Greedy) else "/sample")


@adapters
def test_one_droplet_is_attached_once(adapter: str) -> None:
    app, droplet = new(adapter), Sample()
    assert ATTACH[adapter](app, droplet) is droplet
    with pytest.raises(DefinitionError, match="attached already"):
        ATTACH[adapter](app, droplet, "/again")


@adapters
@pytest.mark.parametrize("prefix", ["sample", "/", "/sample/", "//sample", "/a//b", "/{name}", "/a b", "/a?b", "/ä"])
def test_a_prefix_that_is_none(adapter: str, prefix: str) -> None:
    with pytest.raises(DefinitionError, match="must look like '/billing'"):
        ATTACH[adapter](new(adapter), Sample(), prefix)


@adapters
def test_a_class_is_no_droplet(adapter: str) -> None:
    with pytest.raises(TypeError, match=r"give an instance: attach\(app, Sample\(\)\)"):
        ATTACH[adapter](new(adapter), Sample)


@adapters
def test_nothing_is_read_when_a_droplet_is_attached(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDC_LIMITS__IN_FLIGHT", "many")
    monkeypatch.setenv("DROPLET_ID", "none")
    ATTACH[adapter](new(adapter), Sample())


@adapters
async def test_too_late(adapter: str) -> None:
    app = application(adapter, Place(Sample()))
    async with serving(Kind(adapter, "memory"), app) as host:
        await host.client("GET", "/livez")
        with pytest.raises(LifecycleError, match="already"):
            ATTACH[adapter](app, Sample(), "/late")


@adapters
def test_an_extra_that_is_missing_is_told_in_one_line(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [adapter, *(name for name in sys.modules if name.startswith(f"{adapter}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"udc.{adapter}")
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(f"udc.{adapter}")
    assert str(caught.value).endswith(f": pip install 'udc-mesh[{adapter}]'")
    assert "\n" not in str(caught.value)


@adapters
async def test_one_droplet_is_alone(adapter: str) -> None:
    place = Place(Sample())
    async with serving(Kind(adapter, "memory"), application(adapter, place)):
        assert place.alone == [True]


def test_the_outline_is_the_table_that_will_be() -> None:
    async def compare() -> None:
        droplet = Everything()
        hosted = droplet._host(Surroundings(loopback=True))
        assert list(map(_row, droplet._outline())) == list(map(_row, hosted.rows))

    import anyio

    anyio.run(compare)


def _row(row: Endpoint) -> tuple[Any, ...]:
    return (row.method, row.path, row.access, row.scope, row.summary, row.request_model, row.response_model, row.query)


class TestPrincipals:
    @pytest.mark.parametrize("permission", ["public", "reed", ""])
    async def test_a_permission_that_is_none(self, permission: Any) -> None:
        with pytest.raises(DefinitionError, match="give one of 'read', 'write', 'admin'"):
            udc.fastapi.principal(permission)

    async def test_an_application_without_droplets(self) -> None:
        app = FastAPI()

        @app.get("/guarded", dependencies=[Depends(udc.fastapi.principal("write"))])
        async def guarded() -> int:
            return 1

        with pytest.raises(DefinitionError, match="no droplet is attached"):
            await MemoryClient(app)("GET", "/guarded")

    @pytest.mark.parametrize("named", [True, False])
    async def test_of_several_droplets_one_must_be_named(self, named: bool) -> None:
        class Other(Droplet):
            id, name, steward = 15, "Other", "test-team"

        strict = {**served.settings(), "security.own_audience_only": True}
        first, second = Place(Sample(config=strict)), Place(Other(config=strict))
        app = FastAPI()

        @app.get("/guarded")
        async def guarded(
            caller: Any = Depends(udc.fastapi.principal("write", droplet=second if named else None)),  # noqa: B008
        ) -> Any:
            return caller.audience

        udc.fastapi.attach(app, first, "/first")
        udc.fastapi.attach(app, second, "/second")
        bearer = served.key().sign(served.claims("write", aud="fullpotential.droplets/15"))
        async with serving(Kind("fastapi", "memory"), app) as host:
            if named:
                answer = await host.client("GET", "/guarded", bearer=bearer)
                assert answer.json() == "fullpotential.droplets/15"
                other = served.key().sign(served.claims("write", aud="fullpotential.droplets/14"))
                assert (await host.client("GET", "/guarded", bearer=other)).status == 401
            else:
                answer = await host.client("GET", "/guarded", bearer=bearer)
                assert (answer.status, answer.code) == (500, "INTERNAL_ERROR")

    async def test_the_caller_of_a_websocket_is_known_too(self) -> None:
        told: list[Any] = []

        async def chat(socket: WebSocket) -> None:
            await socket.accept()
            told.append((await udc.starlette.principal(socket, "write")).permissions)
            await socket.close()

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(event: MutableMapping[str, Any]) -> None:
            told.append(event["type"])

        app = Starlette(routes=[WebSocketRoute("/chat", chat)])
        udc.starlette.attach(app, Place(Sample(config=served.settings())))
        bearer = served.key().sign(served.claims("write"))
        scope: dict[str, Any] = {"type": "websocket", "path": "/chat", "query_string": b"", "subprotocols": []}
        scope["headers"] = [(b"authorization", f"Bearer {bearer}".encode())]
        async with serving(Kind("starlette", "memory"), app):
            await app(scope, receive, send)
        assert told == ["websocket.accept", frozenset({"write"}), "websocket.close"]
