"""What endpoints read from their queries, and what their documents say of it: the same, for every droplet of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from openapi_spec_validator import validate

from tests.contract.adapters.comparing import whole
from tests.contract.adapters.hosts import Host, Kind, hosting
from tests.contract.served import Sample, token
from tests.contract.test_orchestrator import orchestrator
from tests.unit.mesh.registry.kit import SECRET, registry
from udc import HttpRequest
from udc._wiring.surroundings import Surroundings

TEXT: Final = {"type": "string"}
TEXTS: Final = {"type": "array", "items": {"type": "string"}, "maxItems": 1000}
ID: Final = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
FROM_ZERO: Final = {"type": "integer", "minimum": 0}
LEVELS: Final = {"type": "string", "enum": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]}
STATUS: Final = {
    "type": "string",
    "enum": ["pending", "assigned", "in_progress", "completed", "failed", "cancelled"],
    "description": "Where a task stands.",
}
TASKS: Final = {"status": STATUS, "task_type": TEXT, "assigned_droplet_id": ID}
FILTER: Final = {"capability": TEXTS, "status": TEXTS, "name": TEXTS}
SINCE: Final = {"type": "string", "maxLength": 128}

EVERY: Final[dict[str, dict[str, Any]]] = {
    "GET /logs": {"limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "level": LEVELS},
    "GET /events": {"limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}, "event_type": TEXT},
}
TOLD: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "sample": EVERY,
    "registry": EVERY
    | {
        "GET /droplets": {**FILTER, "since": SINCE, "wait": {"type": "number", "minimum": 0, "default": 0.0}},
        "GET /droplets/watch": {**FILTER, "since": SINCE},
        "GET /registry/droplets": FILTER,
        "GET /services": FILTER,
        "PATCH /droplets/{id}": {"instance_id": TEXT},
        "DELETE /droplets/{id}": {"instance_id": TEXT},
        "POST /register": {"droplet_id": ID},
        "POST /registry/register": {"droplet_id": ID},
        "POST /droplets": {"droplet_id": ID},
        "POST /auth/token": {"droplet_id": ID, "audience": TEXT},
    },
    "orchestrator": EVERY
    | {
        "GET /tasks": {
            **TASKS,
            "limit": {**FROM_ZERO, "default": 100},
            "offset": {**FROM_ZERO, "default": 0},
        },
        "GET /tasks/events": {
            "task_id": TEXT,
            **TASKS,
            "since": {**FROM_ZERO, "exclusiveMaximum": 10**18},
        },
    },
}
DROPLETS: Final[dict[str, Any]] = {"sample": Sample, "registry": registry, "orchestrator": orchestrator}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def served(name: str) -> AsyncIterator[tuple[Host, dict[str, str]]]:
    """The droplet, and the headers of somebody who may do everything there."""
    made = DROPLETS[name]()
    around = Surroundings(loopback=True, sample_process=False)
    async with hosting(Kind("asgi", "memory"), made, surroundings=around) as host:
        admin = {"x-droplet-secret": SECRET} if name == "registry" else {"authorization": f"Bearer {token('admin')}"}
        if name == "registry":
            sent = {"droplet_id": 77, "secret": SECRET}
            got = await host.client("POST", "/auth/token", json=sent, address="127.0.0.1")
            admin["authorization"] = f"Bearer {got.json()['token']}"
        yield host, admin


@pytest.mark.parametrize("name", DROPLETS)
async def test_documents_tell_what_can_be_asked(name: str) -> None:
    async with served(name) as (host, admin):
        bearer = {"authorization": admin["authorization"]}
        document = (await host.client("GET", "/openapi.json", headers=bearer)).json()
    validate(document)
    told: dict[str, dict[str, Any]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for each in operation.get("parameters", ()):
                if each["in"] == "query":
                    assert (each["required"], each["description"][-1]) == (False, ".")
                    told.setdefault(f"{method.upper()} {path}", {})[each["name"]] = whole(each["schema"], document)
    assert told == TOLD[name]


@pytest.mark.parametrize("name", DROPLETS)
async def test_nothing_else_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each endpoint is called; which names it looks up in its query is noted."""
    noted: set[str] = set()

    class Noting(dict[str, list[str]]):
        def get(self, key: str, default: Any = None) -> Any:
            noted.add(key)
            return super().get(key, default)

        __getitem__ = __iter__ = items = None  # type: ignore[assignment]  # nobody reads it otherwise

    parse: Any = HttpRequest.query
    monkeypatch.setattr(HttpRequest, "query", property(lambda request: Noting(parse.fget(request))))
    seen: set[str] = set()
    async with served(name) as (host, admin):
        surface = host.place.hosted.surface
        for row in host.place.hosted.rows:
            if row.path in ("/shutdown", "/emergency-stop"):
                continue
            noted.clear()
            body = b'{"droplet_id": 77, "id": 77, "name": "A", "endpoint": "http://127.0.0.1:9077"}'
            headers = {**admin, "content-type": "application/json"}
            if row.authenticate is not None and row.method != "GET":
                headers.pop("authorization")  # the secret counts there
            asked = HttpRequest(
                method=row.method, path=row.path.replace("{id}", "77"), headers=headers, body=body, client="127.0.0.1"
            )
            answer = await surface.handle(asked)
            if not isinstance(answer.body, bytes):
                await answer.body.aclose()  # a stream that nobody hears
            operation = f"{row.method} {row.path}"
            assert noted <= set(TOLD[name].get(operation, ())), operation
            seen |= {operation} if noted else set()
    assert seen == set(TOLD[name])
