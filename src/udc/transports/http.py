"""Messages over HTTP: `POST {endpoint}/message` (contract section 3)."""

from __future__ import annotations

from functools import lru_cache

from udc._http import HttpAnswer, HttpClient
from udc.errors import ConfigError, PeerUnreachable
from udc.identity._base import Tokens
from udc.identity.origin import require_secure
from udc.messages import Message, Peer, Reply
from udc.transports._exchange import AudienceOf, Headers, audiences, exchange

__all__ = ["HttpTransport", "audiences"]

# Remembers what passed (a refusal raises, and is not kept): reading a URL costs 15 µs on every call.
_require_secure = lru_cache(maxsize=4096)(require_secure)


class HttpTransport:
    """Delivers messages through one `HttpClient`, which somebody else opens and closes.

    Args:
        client: an open client; may be shared.
        tokens: whose tokens are shown to peers.
        audience_of: for whom the token of a peer is made; see `audiences`.
        insecure_hosts: hosts, besides loopback, that may see tokens over plain http.
    """

    def __init__(
        self,
        client: HttpClient,
        tokens: Tokens,
        *,
        audience_of: AudienceOf,
        insecure_hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._audience_of = audience_of
        self._insecure_hosts = insecure_hosts

    async def deliver(self, peer: Peer, message: Message) -> Reply:
        """Deliver once; see `Transport.deliver`.

        Raises:
            PeerUnreachable: also where the token would travel unencrypted; caused by a `ConfigError`.
        """
        # Before the token is even fetched: a peer that may not see it gives no reason to ask for one.
        try:
            _require_secure(peer.endpoint, self._insecure_hosts)
        except ConfigError as error:
            problem = "; ".join(error.problems)
            raise PeerUnreachable(f"no token is sent to {peer.label}: {problem}", peer=peer.label) from error
        return await exchange(peer, message, post=self._post, tokens=self._tokens, audience_of=self._audience_of)

    async def _post(self, peer: Peer, url: str, headers: Headers, body: bytes) -> HttpAnswer:
        return await self._client.request("POST", url, headers=headers, content=body, peer=peer.label)
