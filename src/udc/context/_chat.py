"""Talking to a peer: `ctx.chat`, which calls its `/handle-chat` (contract section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from udc._types import DropletId
from udc.messages import ChatReply

if TYPE_CHECKING:
    from udc.context._context import Context

PATH: Final = "/handle-chat"


class Chat:
    """Says something to a peer: `reply = await ctx.chat("guide", "hello", session_id="s-1")`."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(
        self,
        target: DropletId,
        message: str,
        *,
        session_id: str | None = None,
        context: Mapping[str, Any] | None = None,  # Any: JSON values
        metadata: Mapping[str, Any] | None = None,  # Any: likewise
        timeout_seconds: float | None = None,
    ) -> ChatReply:
        """Say one thing and return the answer. It is said once: only you know whether it may be said again.

        The peer's handler sees the trace and the time that is left; a conversation that goes in circles ends at 16
        hops. On cancel it is given up; the peer may have answered.

        Args:
            target: the peer's id or name.
            message: what is said.
            session_id: the conversation it belongs to.
            context: what is known so far, for example that of the answer before.
            metadata: about the message.
            timeout_seconds: limit of the whole; by default as for messages. The handler's own counts as well.

        Raises:
            PeerError: the peer answered with an error; 404 when it has no chat handler.
            PeerUnreachable, ConnectionLost, CallTimeout, UnknownPeer: it did not answer.
            InvalidReply: its answer is no chat's.
            TokenError: there is no token for the peer.
            HopLimit: the trace has been through 16 droplets; nothing was said.
        """
        given = {"session_id": session_id, "context": context, "metadata": metadata}
        body = {"message": message, **{name: value for name, value in given.items() if value is not None}}
        return await self._context.request(
            target, "POST", PATH, body, returns=ChatReply, timeout_seconds=timeout_seconds
        )
