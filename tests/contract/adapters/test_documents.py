"""`/openapi.json`: what stands in it is what is answered, through every adapter, and a validator agrees."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from openapi_spec_validator import validate

import udc.fastapi
from tests.contract import served
from tests.contract.adapters.comparing import whole
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import Host, Kind, Place, hosting, serving
from tests.contract.served import Sample, token
from tests.contract.test_orchestrator import orchestrator
from tests.unit.mesh.registry.kit import registry
from udc import Droplet
from udc._wiring.surroundings import Surroundings

OPENED = {
    "security.emergency_stop": True,
    "security.public_metrics": True,
    "security.public_openapi": True,
}
"""Settings that add endpoints or open them."""

WAYS = [("asgi", ""), *((adapter, prefix) for adapter in ("fastapi", "starlette", "aiohttp") for prefix in ("", "/in"))]
BEARER = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def document_of(host: Host, path: str = "/openapi.json") -> dict[str, Any]:
    document: dict[str, Any] = (await host.client("GET", path, bearer=token("read"))).json()
    assert document["openapi"].startswith("3.1.")
    assert document["components"]["securitySchemes"] == BEARER
    validate(document)
    return document


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


@pytest.mark.parametrize("settings", [{}, OPENED], ids=["closed", "opened"])
@pytest.mark.parametrize(("adapter", "prefix"), WAYS)
async def test_what_is_answered_stands_in_it_and_nothing_else(
    adapter: str, prefix: str, settings: dict[str, Any]
) -> None:
    async with hosting(Kind(adapter, "memory"), Everything(config=settings), prefix) as host:
        place = prefix if adapter == "fastapi" else ""  # the application's own document, with whole paths
        told = operations(await document_of(host, "/openapi.json" if place else f"{prefix}/openapi.json"))
        rows = {(row.method, place + row.path): row for row in host.place.hosted.rows}
        if adapter == "fastapi" and not prefix:
            del rows["GET", "/openapi.json"]  # the application's
        assert set(told) == set(rows)
        assert (("POST", f"{place}/emergency-stop") in told) == bool(settings)
        by_path: dict[str, set[str]] = {}
        for method, path in told:
            by_path.setdefault(prefix.removeprefix(place) + shape(path), set()).add(method)
        for path, methods in by_path.items():
            allowed = (await host.client("OPTIONS", path)).headers
            allow = next(value for name, value in allowed.items() if name.lower() == "allow")
            assert set(allow.split(", ")) - {"HEAD", "OPTIONS"} == methods, path
        for (method, path), operation in told.items():
            assert operation.get("security", []) == ([] if rows[method, path].access == "public" else [{"bearer": []}])


def said(operation: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """What an operation takes and gives, however a document words it."""
    parameters = {
        (each["in"], each["name"]): (
            each["required"],
            each.get("description"),
            {name: value for name, value in whole(each["schema"], document).items() if name != "description"},
        )
        for each in operation.get("parameters", ())
    }
    bodies = {
        status: whole(answer.get("content"), document)
        for status, answer in operation["responses"].items()
        if status in ("200", "default")
    }
    asked = operation.get("requestBody", {})
    return {
        "parameters": parameters,
        "asked": (asked.get("required"), whole(asked.get("content"), document)),
        "bodies": bodies,
        "statuses": set(operation["responses"]),
        "security": operation.get("security", []),
        "summary": operation["summary"],
    }


async def test_fastapis_says_of_each_endpoint_what_the_droplets_own_says() -> None:
    async with hosting(Kind("fastapi", "memory"), Everything(config=OPENED), "/in") as host:
        theirs, own = await document_of(host), await document_of(host, "/in/openapi.json")
    listed = operations(theirs)
    for (method, path), operation in operations(own).items():
        assert said(listed[method, f"/in{path}"], theirs) == said(operation, own), (method, path)


async def test_paths_that_are_answered_twice_stand_there_twice() -> None:
    app, place = FastAPI(), Place(Sample(config=OPENED))
    udc.fastapi.attach(app, place, "/in", root_paths=True)
    async with serving(Kind("fastapi", "memory"), app) as host:
        told = set(operations(await document_of(host)))
    assert place.hosted is not None
    rows = {(row.method, row.path) for row in place.hosted.rows}
    inside = {(method, f"/in{path}") for method, path in rows}
    assert told == inside | rows - {("GET", "/openapi.json")}


@pytest.mark.parametrize("make", [registry, orchestrator])
async def test_endpoints_that_only_a_life_brings(make: Callable[[], Droplet]) -> None:
    """The Registry's and the Orchestrator's own, of which the class knows nothing; of like names each has its id."""
    around = Surroundings(loopback=True, sample_process=False)
    async with hosting(Kind("fastapi", "memory"), make(), surroundings=around) as host:
        told = operations(await document_of(host))
        rows = {(row.method, row.path) for row in host.place.hosted.rows}
    assert set(told) == rows - {("GET", "/openapi.json")}


async def test_the_document_follows_each_start() -> None:
    """One application may be started again, with other settings; what stood there of the droplet is gone then."""
    places: list[Any] = []

    class Changing(Place):
        def _host(self) -> Any:
            self.droplet = Sample(config=places.pop(0))
            return super()._host()

    app = FastAPI()

    @app.get("/before")
    async def before() -> int:
        return 1

    udc.fastapi.attach(app, Changing(Sample()))

    @app.get("/after")
    async def after() -> int:
        return 1

    unstarted = list(app.openapi()["paths"])
    assert "/emergency-stop" not in unstarted
    for settings in (OPENED, {}, OPENED):
        places.append(settings)
        async with serving(Kind("fastapi", "memory"), app) as host:
            paths = list((await document_of(host))["paths"])
            assert ("/emergency-stop" in paths) == bool(settings)
            assert [each for each in paths if each != "/emergency-stop"] == unstarted
    assert (unstarted[0], unstarted[-1]) == ("/before", "/after")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    class Other(Droplet):
        id, name, steward = 15, "Other", "test-team"

    app = FastAPI()

    @app.get("/guarded", dependencies=[Depends(udc.fastapi.principal("write"))])
    async def guarded() -> int:
        return 1

    udc.fastapi.attach(app, Everything(), "/sample")
    udc.fastapi.attach(app, Other(), "/other")
    document = app.openapi()
    validate(document)
    return document


class TestTheApplicationsDocument:
    """FastAPI's, of an application with a route of its own and two droplets, before its start."""

    def test_the_droplets_stand_beside_the_applications_own(self, document: dict[str, Any]) -> None:
        assert {"/guarded", "/sample/message", "/other/message", "/sample/hello/{name}"} <= set(document["paths"])
        assert "/message" not in document["paths"]

    def test_own_routes_with_a_principal_have_the_same_scheme(self, document: dict[str, Any]) -> None:
        assert document["paths"]["/guarded"]["get"]["security"] == [{"bearer": []}]
        schemes = document["components"]["securitySchemes"]
        assert schemes == {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}

    def test_the_models_are_the_contracts(self, document: dict[str, Any]) -> None:
        message = document["paths"]["/sample/message"]["post"]
        assert message["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/MessageBody")
        answers = message["responses"]
        assert answers["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ReceiptBody")
        assert answers["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
        assert "422" not in answers
        assert document["paths"]["/sample/health"]["get"].get("security") is None
        assert document["paths"]["/sample/metrics"]["get"]["responses"]["200"].get("content") is None
        assert document["paths"]["/sample/message"]["post"]["tags"] == ["Everything"]
        parameters = document["paths"]["/sample/hello/{name}"]["get"]["parameters"]
        assert [(each["name"], each["in"], each["required"]) for each in parameters] == [("name", "path", True)]

    def test_every_operation_has_an_id_of_its_own(self, document: dict[str, Any]) -> None:
        ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        assert len(ids) == len(set(ids))

    def test_documented_routes_answer_nothing_themselves(self) -> None:
        app = FastAPI()
        udc.fastapi.attach(app, Sample())
        for route in app.router.routes:
            if isinstance(route, udc.fastapi._Documented):
                assert route.matches(served.http_scope("GET", route.path))[0].value == 0

    async def test_without_a_document_of_the_applications_the_droplet_has_its_own(self) -> None:
        app = FastAPI(openapi_url=None)
        udc.fastapi.attach(app, Place(Sample()))
        async with serving(Kind("fastapi", "memory"), app) as host:
            assert (await host.client("GET", "/openapi.json")).status == 401
            assert (await host.client("GET", "/openapi.json", bearer=token("read"))).status == 200
