"""HTTP requests to endpoints of peers, each with the token that is good for its peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from udc._http import HttpAnswer, HttpClient
from udc.errors import ConfigError, PeerUnreachable
from udc.identity._base import Token, Tokens
from udc.identity.origin import require_secure
from udc.messages import Peer
from udc.transports._exchange import AudienceOf, Headers, authorized
from udc.wire import json_text

if TYPE_CHECKING:
    from udc._http.stream import HttpStream

R = TypeVar("R")

_MAX_BYTES: Final = 64 * 1024 * 1024


class PeerHttp:
    """Speaks to what peers serve beside `/message`. The caller's cancel scope is the time limit of each call.

    Args:
        client: an open client; may be shared.
        tokens: whose tokens are shown to peers.
        audience_of: for whom the token of a peer is made; see `udc.transports.http.audiences`.
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

    async def request(
        self,
        peer: Peer,
        method: str,
        path: str,
        *,
        body: Any = None,  # Any: whatever can be made JSON
        headers: Headers = (),
    ) -> HttpAnswer:
        """The answer, whatever its status; a 401 is answered once with a new token.

        Args:
            path: below the peer's endpoint, with the query.
            body: sent as JSON; `None` = none.

        Raises:
            PeerUnreachable: also where the token would travel unencrypted.
            ConnectionLost, InvalidReply, TokenError: as the names say.
        """
        content, typed = _content(body)

        async def send(token: Token) -> HttpAnswer:
            return await self._client.request(
                method,
                f"{peer.endpoint}{path}",
                headers=(*_bearer(token), *typed, *headers),
                content=content,
                max_bytes=_MAX_BYTES,
                peer=peer.label,
            )

        _check_secure(peer, self._insecure_hosts)
        return await authorized(peer, send, read=_as_it_is, tokens=self._tokens, audience_of=self._audience_of)

    async def stream(self, peer: Peer, method: str, path: str, *, headers: Headers = ()) -> HttpStream:
        """As `request`, but returns when the answer begins; the caller closes the stream."""
        begun: list[HttpStream] = []

        async def send(token: Token) -> HttpStream:
            while begun:
                await begun.pop().aclose()
            begun.append(
                await self._client.stream(
                    method, f"{peer.endpoint}{path}", headers=(*_bearer(token), *headers), peer=peer.label
                )
            )
            return begun[0]

        _check_secure(peer, self._insecure_hosts)
        try:
            return await authorized(peer, send, read=_as_it_is, tokens=self._tokens, audience_of=self._audience_of)
        except BaseException:
            # Refused, and then nobody waited for the new token: it would hold its connection for ever.
            for stream in begun:
                await stream.aclose()
            raise


def _as_it_is(answer: R) -> R:
    return answer


def _check_secure(peer: Peer, insecure_hosts: frozenset[str]) -> None:
    # Before the token is even fetched: a peer that may not see it gives no reason to ask for one.
    try:
        require_secure(peer.endpoint, insecure_hosts)
    except ConfigError as error:
        problem = "; ".join(error.problems)
        raise PeerUnreachable(f"no token is sent to {peer.label}: {problem}", peer=peer.label) from error


def _bearer(token: Token) -> Headers:
    return (("authorization", f"Bearer {token.value}"),)


def _content(body: Any) -> tuple[bytes | None, Headers]:  # Any: whatever can be made JSON
    return (None, ()) if body is None else (json_text.write(body), (("content-type", "application/json"),))
