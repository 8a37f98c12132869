"""One delivery over HTTP, whatever carries the bytes: token, headers, the one renewal after a 401, the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias, TypeVar

from udc._http import HttpAnswer
from udc.errors import TokenError
from udc.identity._base import Token, Tokens
from udc.identity.audiences import RESERVED_NAME, own_audience
from udc.messages import Message, Peer, Reply
from udc.wire.envelope import encode_message
from udc.wire.receipts import decode_reply

Headers: TypeAlias = tuple[tuple[str, str], ...]

Post: TypeAlias = Callable[[Peer, str, Headers, bytes], Awaitable[HttpAnswer]]
"""Posts to a URL of a peer; takes peer, URL, headers and body, and raises delivery errors."""

AudienceOf: TypeAlias = Callable[[Peer], str | None]
"""The audience whose token a peer is shown; `None` for a token without one."""

_UNAUTHORIZED: Final = 401


def audiences(mesh: str) -> AudienceOf:
    """Whom tokens are for (contract section 6): `<mesh>/<id>` for our own kind, the mesh's for anyone else.

    So that a token seen by one of our peers is of no use at another, and none of use at the Registry. A peer that
    refuses `aud` gets a token without it.
    """

    def audience_of(peer: Peer) -> str | None:
        if peer.without_audience:
            return None
        if peer.ours and peer.id is not None and peer.id != RESERVED_NAME:
            return own_audience(mesh, peer.id)
        return mesh

    return audience_of


async def exchange(peer: Peer, message: Message, *, post: Post, tokens: Tokens, audience_of: AudienceOf) -> Reply:
    """Deliver once: encode, post with the peer's token, once more with a new one after a 401, decode.

    While no token of the peer's own audience is to be had, the mesh's goes to it (contract section 6: it takes both).

    The headers are made here and nowhere else: nothing of a request that we are answering (its `Authorization`
    least of all) is passed on.

    Raises:
        PeerError, PeerUnreachable, ConnectionLost, InvalidReply, TokenError: see `Transport.deliver`.
    """

    async def send(token: Token) -> HttpAnswer:
        return await _post(peer, message, post, token)

    def read(answer: HttpAnswer) -> Reply:
        return _decoded(peer, message, answer)

    return await authorized(peer, send, read=read, tokens=tokens, audience_of=audience_of)


class Answered(Protocol):
    """An answer, or its beginning."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...


A = TypeVar("A", bound=Answered)
R = TypeVar("R")


async def authorized(
    peer: Peer,
    send: Callable[[Token], Awaitable[A]],
    *,
    read: Callable[[A], R],
    tokens: Tokens,
    audience_of: AudienceOf,
) -> R:
    """Send with the token that the peer is shown, and once more with a new one after a 401; what `read` makes of it.

    While no token of the peer's own audience is to be had, the mesh's goes to it (contract section 6: it takes both).

    Raises:
        TokenError: there is no token for it; and whatever `send` and `read` raise.
    """
    audience, token = await _token(peer, audience_of(peer), tokens)
    answer = await send(token)
    if answer.status != _UNAUTHORIZED:
        return read(answer)
    try:
        token = await tokens.renew(audience, token)
    except TokenError:
        # The peer's refusal is what happened; that there is no better token is its context.
        return read(answer)
    return read(await send(token))


async def _token(peer: Peer, audience: str | None, tokens: Tokens) -> tuple[str | None, Token]:
    """The token to show, and whose audience it is of.

    Raises:
        TokenError: neither the peer's own nor the mesh's is to be had.
    """
    try:
        return audience, await tokens.get(audience)
    except TokenError as error:
        mesh = _mesh_of(audience, peer)
        if mesh is None:
            raise
        try:
            return mesh, await tokens.get(mesh)
        except TokenError:
            raise error from None  # why the peer's own is missing says more


def _mesh_of(audience: str | None, peer: Peer) -> str | None:
    """The mesh's audience, when this one is the peer's own."""
    own = f"/{peer.id}"
    return audience.removesuffix(own) if peer.ours and audience is not None and audience.endswith(own) else None


async def _post(peer: Peer, message: Message, post: Post, token: Token) -> HttpAnswer:
    body, extra = encode_message(message, peer=peer, signature=token.value if peer.wants_signature else None)
    headers = (("authorization", f"Bearer {token.value}"), ("content-type", "application/json"), *extra)
    return await post(peer, f"{peer.endpoint}/message", headers, body)


def _decoded(peer: Peer, message: Message, answer: HttpAnswer) -> Reply:
    return decode_reply(answer.body, status=answer.status, headers=answer.headers, peer=peer, message=message)
