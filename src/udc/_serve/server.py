"""uvicorn, run as a part: it gets its socket, leaves signals alone, and says when it listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator, Sequence
from typing import Final

import anyio
import uvicorn

from udc._bodies import Event, Receive
from udc.asgi import App, Scope, Send

# Longer than clients of our own keep idle connections (30 s): who closes first never loses a request.
_KEEP_ALIVE_SECONDS: Final = 65
_CLOSE: Final = (b"connection", b"close")


class Server(uvicorn.Server):
    """Serves one application on one socket.

    Attributes:
        leaving: true once callers are to look elsewhere; set from outside.
        listening: set when the socket listens.

    Args:
        trusted_proxies: whose word is taken about where a request comes from, and whether by https.
    """

    def __init__(self, app: App, *, trusted_proxies: Sequence[str] = ()) -> None:
        self._app = app
        self.leaving = False
        self.listening = anyio.Event()
        super().__init__(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )

    def leave(self, *, within_seconds: int) -> None:
        """Close: what is open then may go on for this long (without a limit uvicorn waits for ever)."""
        self.config.timeout_graceful_shutdown = within_seconds
        self.should_exit = True

    def stop_accepting(self) -> None:
        """Leave new connections to whoever else has the socket; those that are open go on."""
        for server in self.servers:
            server.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, self._closing(send) if self.leaving else send)
        except anyio.get_cancelled_exc_class():
            # What is still open at the very end uvicorn cancels, and would log as a failure with its traceback.
            if not self.should_exit:
                raise

    def _closing(self, send: Send) -> Send:
        """Tell callers to use their connection no more, before it is closed under their next request."""

        async def closing(event: Event) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], _CLOSE]}
            await send(event)

        return closing

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so.

        Raises:
            OSError: a port that was bound cannot be listened on: somebody who had bound it too was quicker.
        """
        for each in sockets or ():
            each.listen(self.config.backlog)  # uvloop would keep a failure of it to itself
        await super().startup(sockets)
        self.listening.set()
