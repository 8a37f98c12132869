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
from tests.contract.adapters.hosts import KINDS, Host, How, Kind, Place, Tls, hosting, serving
from tests.contract.adapters.own import APPLICATIONS, ATTACH, Own


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


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.adapter != "asgi"], ids=str, indirect=True, scope="module"
)
async def test_refusals_of_the_applications_own_routes(kind: Kind, tls: Tls) -> None:
    app = APPLICATIONS[kind.adapter](Own())
    ATTACH[kind.adapter](app, Place(Everything()))
    async with serving(kind, app, How(tls)) as host:
        for path, status in (("/guarded", 401), ("/refuses", 409), ("/mine", 200)):
            answer = await host.client("GET", path)
            told_so = {name.lower(): value for name, value in answer.headers.items()}.get("strict-transport-security")
            # What the application answers itself is its own affair.
            assert (answer.status, told_so) == (status, None if status == 200 else "max-age=31536000")
