"""The same request has the same answer: status, body and headers, whatever adapter and server carry it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.adapters.cases import CASES
from tests.contract.adapters.comparing import check_as_said, told
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import KINDS, Host, Kind, hosting


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@dataclass(frozen=True)
class Hosts:
    """The host under test, and the one that all are compared with."""

    tested: Host
    plain: Host


@pytest.fixture(scope="module")
async def hosts(kind: Kind, anyio_backend: Any) -> AsyncIterator[Hosts]:
    async with hosting(kind, Everything()) as tested, hosting(Kind("asgi", "memory"), Everything()) as plain:
        yield Hosts(tested, plain)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120


@pytest.mark.parametrize("name", CASES)
async def test_an_answer(kind: Kind, hosts: Hosts, name: str) -> None:
    case = CASES[name]
    answer = await hosts.tested.client(case.method, case.path, **case.request())
    if answer.status in case.server_may and kind.parses:
        return
    assert answer.status == case.apart.get(kind.adapter, case.status), answer.body[:500]
    if kind.adapter in case.apart:
        return
    check_as_said(case, answer)
    again = await hosts.plain.client(case.method, case.path, **case.request())
    assert told(answer, shape=case.shape) == told(again, shape=case.shape)
