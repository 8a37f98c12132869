"""The seam through which a message leaves the process."""

from __future__ import annotations

from typing import Protocol

from udc.messages import Message, Peer, Reply


class Transport(Protocol):
    """One way to bring a message to a peer and its reply back."""

    async def deliver(self, peer: Peer, message: Message) -> Reply:
        """Deliver once; no retries beyond one new token after a 401.

        The caller's cancel scope is the time limit. On cancel the delivery is given up; the peer may
        have worked on it.

        Raises:
            PeerError: the peer answered with an error, or with a receipt that says so.
            PeerUnreachable: nothing reached the peer.
            ConnectionLost: it may have reached the peer.
            InvalidReply: the answer is no receipt.
            TokenError: there is no token for this peer.
        """
        ...
