"""Requests that are refused before their body: too large, too slow, nobody's; over every adapter and server.

They count for the limit of their address as all others do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import pytest

from tests.contract.adapters.droplets import BODY_LIMIT, Everything
from tests.contract.adapters.hosts import KINDS, Host, Kind, hosting
from tests.contract.served import Connection, http_scope, token

BEGUN = b'{"message_type":'


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
async def host(kind: Kind, anyio_backend: Any) -> AsyncIterator[Host]:
    settings = {
        "limits.body_timeout_seconds": 0.2,
        "rate.address_per_second": 0.001,
        "rate.address_burst": 1,
    }
    async with hosting(kind, Everything(config=settings)) as made:
        yield made


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    """Callers' addresses, each of which may ask once."""
    return (f"127.0.{1 + n // 250}.{1 + n % 250}" for n in count())


@dataclass(frozen=True)
class Asked:
    """One request; of its body less may come than its headers say."""

    method: str = "POST"
    path: str = "/message"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None


@dataclass(frozen=True)
class Got:
    status: int
    headers: Mapping[str, str]


async def ask(host: Host, asked: Asked, address: str) -> Got:
    """The answer, or what its head says."""
    length = len(asked.body) if asked.length is None else asked.length
    with anyio.fail_after(8):
        if host.connect is None:
            scope = http_scope(asked.method, asked.path, asked.headers, client=(address, 1234))
            incoming = [{"type": "http.request", "body": asked.body, "more_body": len(asked.body) < length}]
            answer = await Connection(host.app, scope, incoming).run()
            return Got(answer.status, answer.headers)
        stream = await host.connect(address)
        lines = [f"{asked.method} {asked.path} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        head = b""
        with suppress(anyio.BrokenResourceError):  # it has answered before all of the body was sent
            await stream.send("\r\n".join([*lines, "", ""]).encode() + asked.body)
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        await stream.aclose()
        first, *rest = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return Got(int(first.split()[1]), {name.lower(): value for name, _, value in (x.partition(": ") for x in rest)})


BEARER = {"Authorization": f"Bearer {token('admin')}", "Content-Type": "application/json"}
LARGE = b"x" * (BODY_LIMIT + 1)

ONCE = Asked(method="GET", path="/version", headers=BEARER)
REFUSED = {
    "too large": (413, Asked(headers=BEARER, body=LARGE)),
    "too large and begun": (413, Asked(headers=BEARER, body=LARGE, length=BODY_LIMIT * 2)),
    "too large and nobody's": (401, Asked(body=LARGE)),
    "too large for its method": (405, Asked(method="PUT", headers=BEARER, body=LARGE)),
    "packed": (415, Asked(headers={**BEARER, "Content-Encoding": "gzip"}, body=b"this is not packed at all")),
    "packed and nobody's": (401, Asked(headers={"Content-Encoding": "gzip"}, body=b"this is not packed at all")),
    "too slow": (408, Asked(headers=BEARER, body=BEGUN, length=1000)),
    "slow and nobody's": (401, Asked(body=BEGUN, length=1000)),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_before_the_body_counts(host: Host, addresses: Iterator[str], name: str) -> None:
    status, asked = REFUSED[name]
    one, other = next(addresses), next(addresses)
    answers: dict[str, Got] = {}

    async def refused(address: str) -> None:
        answers[address] = await ask(host, asked, address)

    assert (await ask(host, ONCE, other)).status == 200
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused, one)
        tasks.start_soon(refused, other)
    assert (answers[one].status, answers[other].status) == (status, 429)
    assert 0 < int(answers[other].headers["retry-after"]) <= 1000
    assert (await ask(host, ONCE, one)).status == 429
