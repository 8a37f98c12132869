"""Bodies that do not come are given up, and nobody's is not waited for, over every adapter and server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tests.contract.adapters.hosts import KINDS, Host, Kind, hosting
from tests.contract.served import Connection, Sample, http_scope, token

BEGUN = b'{"message_type":'


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
async def host(kind: Kind, anyio_backend: Any) -> AsyncIterator[Host]:
    async with hosting(kind, Sample(config={"limits.body_timeout_seconds": 0.2})) as made:
        yield made


async def _status(host: Host, headers: dict[str, str]) -> int:
    """The status of the answer to a message of which only the beginning comes."""
    with anyio.fail_after(8):
        if host.connect is None:
            incoming = [{"type": "http.request", "body": BEGUN, "more_body": True}]
            return (await Connection(host.app, http_scope("POST", "/message", headers), incoming).run()).status
        stream = await host.connect()
        lines = ["POST /message HTTP/1.1", "Host: x", "Content-Length: 1000"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await stream.send("\r\n".join([*lines, "", ""]).encode() + BEGUN)
        got = await stream.receive()
        await stream.aclose()
        return int(got.split()[1])


async def test_a_body_that_does_not_come_is_408(host: Host) -> None:
    assert await _status(host, {"Authorization": f"Bearer {token('write')}"}) == 408


async def test_nobodys_body_is_not_waited_for(host: Host) -> None:
    assert await _status(host, {}) == 401
