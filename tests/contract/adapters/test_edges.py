"""CORS, limits of rates and https, where they are configured: the same through every adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import KINDS, Host, Kind, hosting
from tests.contract.served import Answer, envelope, token

APP = "https://app.example"


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
async def host(kind: Kind, anyio_backend: Any) -> AsyncIterator[Host]:
    settings = {
        "cors.origins": [APP],
        "cors.max_age_seconds": 60,
        "rate.caller_per_second": 0.001,
        "rate.caller_burst": 3,
    }
    async with hosting(kind, Everything(config=settings)) as host:
        yield host


def headers_of(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


async def test_a_page_of_an_allowed_origin_may_read(host: Host) -> None:
    headers = headers_of(await host.client("GET", "/livez", headers={"origin": APP}))
    assert headers["access-control-allow-origin"] == APP
    assert "origin" in headers["vary"].lower()
    assert "retry-after" in headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_may_not(host: Host) -> None:
    answer = await host.client("GET", "/livez", headers={"origin": "https://evil.example"})
    assert (answer.status, "access-control-allow-origin" in headers_of(answer)) == (200, False)


async def test_errors_may_be_read_too(host: Host) -> None:
    answer = await host.client("GET", "/state", headers={"origin": APP})
    assert (answer.status, headers_of(answer)["access-control-allow-origin"]) == (401, APP)


async def test_a_preflight_is_answered_before_any_authentication(host: Host) -> None:
    asked = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answer = await host.client("OPTIONS", "/message", headers=asked)
    headers = headers_of(answer)
    assert (answer.status, answer.body) == (204, b"")
    assert headers["access-control-allow-origin"] == APP
    assert "POST" in headers["access-control-allow-methods"]
    assert "authorization" in headers["access-control-allow-headers"]
    assert headers["access-control-max-age"] == "60"


async def test_a_preflight_of_another_origin_allows_nothing(host: Host) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = await host.client("OPTIONS", "/message", headers=asked)
    assert not [name for name in headers_of(answer) if name.startswith("access-control-allow")]


@pytest.mark.parametrize("droplet_id", [801, 802])
async def test_a_caller_that_asks_too_often_waits(host: Host, droplet_id: int) -> None:
    bearer = token("write", droplet_id=droplet_id)
    message = {**envelope(), "source": droplet_id}
    for _ in range(3):
        assert (await host.client("POST", "/message", bearer=bearer, json=message)).status == 200
    answer = await host.client("POST", "/message", bearer=bearer, json=message)
    assert (answer.status, answer.code) == (429, "RATE_LIMITED")
    assert 0 < int(headers_of(answer)["retry-after"]) <= 1000
    assert (await host.client("GET", "/health")).status == 200
