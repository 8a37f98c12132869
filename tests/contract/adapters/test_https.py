"""Over https browsers are told to stay there, through every adapter and server; over http nobody is.

On real ports it is TLS; in memory the server only says that it was. That nothing is said over http, every other row of
the suite looks at.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from tests.contract.adapters.cases import SECURE
from tests.contract.adapters.comparing import check_as_said, told
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import KINDS, Host, How, Kind, Tls, hosting


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def anyio_backend(kind: Kind) -> Any:
    return kind.backend


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    made = Tls(directory / "chain.pem", directory / "key.pem", ssl.create_default_context())
    certificate.private_key_pem.write_to_path(made.key)
    certificate.cert_chain_pems[0].write_to_path(made.chain)
    authority.configure_trust(made.trust)
    return made


@pytest.fixture(scope="module")
async def hosts(kind: Kind, anyio_backend: Any, tls: Tls) -> AsyncIterator[tuple[Host, Host]]:
    """The host under test, and the one that all are compared with."""
    plain = hosting(Kind("asgi", "memory"), Everything(), how=How(tls))
    async with hosting(kind, Everything(), how=How(tls)) as tested, plain as compared:
        yield tested, compared


@pytest.mark.parametrize("name", SECURE)
async def test_an_answer_over_https(kind: Kind, hosts: tuple[Host, Host], name: str) -> None:
    case, (tested, plain) = SECURE[name], hosts
    answer = await tested.client(case.method, case.path, **case.request())
    assert answer.status == case.apart.get(kind.adapter, case.status), answer.body[:500]
    if kind.adapter in case.apart:
        return
    check_as_said(case, answer)
    again = await plain.client(case.method, case.path, **case.request())
    assert told(answer) == told(again)
