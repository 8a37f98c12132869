"""schemathesis asks every operation of each adapter's own document, with data that fits it and data that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
import requests
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.contract import served
from tests.contract.adapters.droplets import SEARCH, search
from tests.contract.adapters.hosts import Host, Kind, hosting
from tests.contract.served import token
from udc import Endpoint

EXAMPLES = 4
KINDS = (*(Kind(adapter, "h11") for adapter in ("asgi", "fastapi", "starlette")), Kind("aiohttp", "port"))


SETTINGS = {"security.failed_auth_limit": 100_000}


class Asked(served.Sample):
    """As `served.Sample`, with templates beside; asked to stop it goes on."""

    endpoints = (
        *(row for row in served.extra_rows() if row.path not in ("/failing", "/empty")),
        Endpoint(
            method="GET", path="/search/{way}", access="read", handler=search, query=SEARCH, response_model=object
        ),
    )


@pytest.fixture(scope="module", params=KINDS, ids=str)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(hosting(request.param, Asked(config=SETTINGS))) as host:
            runtime = host.place.hosted.parts.runtime
            stop, runtime.request_stop = runtime.request_stop, lambda **_: None
            yield host
            runtime.request_stop = stop


@pytest.fixture(scope="module")
def operations(host: Host) -> dict[str, Any]:
    got = httpx2.get(f"{host.address}/openapi.json", headers={"authorization": f"Bearer {token('admin')}"})
    schema = schemathesis.openapi.from_dict(got.json())
    # Of a query's parameters nobody can say that unknown ones are welcome, as all unknown keys are.
    schema.config.generation.update(allow_extra_parameters=False)
    # A document cannot say that a deadline must lie ahead.
    schema.config.checks.positive_data_acceptance.expected_statuses += ["408"]
    found: list[Any] = [each.ok() for each in cast("Any", schema).get_all_operations()]
    return {operation.label: operation for operation in found}


NAMES = (
    "GET /health", "GET /livez", "GET /readyz", "GET /capabilities", "GET /state", "GET /dependencies",
    "GET /version", "GET /metrics", "GET /logs", "GET /events", "GET /proof", "POST /message", "POST /send",
    "POST /task", "POST /handle-chat", "POST /reload-config", "POST /shutdown", "GET /hello/{name}",
    "DELETE /hello/{who}", "GET /search/{way}",
)  # fmt: skip


NEEDS_A_FILE = "POST /reload-config"
"""Names that no file has are refused, however well they are written."""

WITHOUT_DATA = ("GET /health", "GET /livez", "GET /readyz")
"""Nothing can be wrong with a request that has no parameter, no body and no token."""

ASKED = [
    (name, mode)
    for name in NAMES
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or name not in WITHOUT_DATA
]


@pytest.mark.parametrize(("name", "mode"), ASKED, ids=lambda each: str(getattr(each, "value", each)))
def test_an_operation(host: Host, operations: dict[str, Any], name: str, mode: GenerationMode) -> None:
    operation = operations[name]

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.call_and_validate(
            base_url=host.address,
            session=session,
            headers={"Authorization": f"Bearer {token('admin')}"},
            excluded_checks=refused,
        )

    load_all_checks()
    refused: list[Any] = [CHECKS.get_one("positive_data_acceptance")] if name == NEEDS_A_FILE else []
    with requests.Session() as session:
        ask()
