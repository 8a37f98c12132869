"""Where a token may go over HTTP."""

from __future__ import annotations

import httpx2
import pytest

from tests.unit.outgoing.droplets import AMBIENT, Purse
from udc._http import HttpClient
from udc.errors import ConfigError, PeerUnreachable
from udc.messages import MessageType, Peer
from udc.retry import may_retry
from udc.transports.http import HttpTransport, audiences
from udc.wire.envelope import compose

SENT = compose(MessageType.QUERY, "x", {}, trace_id=AMBIENT.new_id(), timestamp=AMBIENT.now())


async def deliver(endpoint: str, purse: Purse, *, insecure_hosts: frozenset[str] = frozenset()) -> list[str]:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(204)

    async with HttpClient(transport_factory=lambda: httpx2.MockTransport(answer)) as client:
        transport = HttpTransport(client, purse, audience_of=audiences("mesh"), insecure_hosts=insecure_hosts)
        await transport.deliver(Peer(id=14, name="billing", endpoint=endpoint), SENT)
    return seen


@pytest.mark.parametrize(
    "endpoint",
    ["https://billing.test", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", "http://inner/api"],
)
async def test_tokens_go_over_https_to_loopback_and_to_named_hosts(endpoint: str) -> None:
    assert await deliver(endpoint, Purse(), insecure_hosts=frozenset({"inner"})) == [f"{endpoint}/message"]


@pytest.mark.parametrize(
    "endpoint", ["http://billing.test", "http://10.0.0.1:8000", "http://inner.evil", "http://u:p@localhost"]
)
async def test_elsewhere_not_even_a_token_is_asked_for(endpoint: str) -> None:
    purse = Purse()
    with pytest.raises(PeerUnreachable, match="no token is sent to billing: ") as caught:
        await deliver(endpoint, purse, insecure_hosts=frozenset({"inner"}))
    assert not purse.asked
    assert isinstance(caught.value.__cause__, ConfigError)
    # It stays forbidden, so it is not tried again although nothing ran.
    assert not may_retry(caught.value, MessageType.QUERY, deduplicated=True)
