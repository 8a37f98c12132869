"""A listening socket that outlives the process that serves on it: another process keeps it, and gives it to the next.

So that no connection is refused while a droplet is started anew: what comes meanwhile waits in the socket's queue.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from dataclasses import dataclass
from typing import Final

import anyio

from udc._serve.sockets import Bound, bind

_MESSAGE_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class KeptSocket:
    """What was asked for, and the socket that came of it."""

    socket: socket.socket
    host: str
    port: int

    def close(self) -> None:
        """Give the port back."""
        self.socket.close()


class Lodger:
    """The side of the process that serves: takes the socket it is given, or binds one and hands it over.

    Args:
        keeper: the connection to the process that keeps the socket; when it ends, this process is to end too.
        kept: the socket that an earlier process has bound.
    """

    def __init__(self, keeper: socket.socket, kept: KeptSocket | None) -> None:
        self._keeper = keeper
        self._kept = kept

    def bind(self, host: str, port: int) -> Bound:
        """As `bind`, with the socket that is kept where it is the one that is asked for.

        Raises:
            ConfigError: the port cannot be had.
        """
        kept = self._kept
        if kept is not None and (kept.host, kept.port) == (host, port):
            return Bound(kept.socket, host, kept=True)
        bound = bind(host, port)
        socket.send_fds(self._keeper, [json.dumps([host, port]).encode()], [bound.socket.fileno()])
        return Bound(bound.socket, host, kept=True)

    def end_with_keeper(self) -> None:
        """From now on, a keeper that dies ends this process as SIGTERM does."""
        threading.Thread(target=self._watch, name="udc-keeper", daemon=True).start()

    def _watch(self) -> None:
        while self._keeper.recv(_MESSAGE_BYTES):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


async def receive_socket(lodger: socket.socket) -> KeptSocket | None:
    """What a lodger hands over; `None` when it has ended without."""
    await anyio.wait_readable(lodger)
    message, descriptors, _, _ = socket.recv_fds(lodger, _MESSAGE_BYTES, 1)
    if not descriptors:
        return None
    host, port = json.loads(message)
    return KeptSocket(socket.socket(fileno=descriptors[0]), host, port)
