"""What goes wrong on the network of a test: refusals, delays, lost answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from udc._http import HttpAnswer
from udc.surface._base import HttpRequest


@dataclass(slots=True)
class Trouble:
    """What happens to the requests to one endpoint.

    Attributes:
        refused: nothing reaches it.
        delay_seconds: how long each request is under way.
        paused: requests wait until it is set.
        lost: how many more answers are lost.
        lost_path: only answers to requests for this path are.
    """

    refused: bool = False
    delay_seconds: float = 0.0
    paused: anyio.Event | None = None
    lost: int = 0
    lost_path: str | None = None


class Troubles:
    """The troubles of a whole network, by endpoint (implements `udc.transports.memory.Faults`)."""

    def __init__(self) -> None:
        self._by_endpoint: dict[str, Trouble] = {}
        self._down: dict[str, Callable[[], bool]] = {}

    def at(self, endpoint: str) -> Trouble:
        """The trouble of an endpoint, to be made worse."""
        return self._by_endpoint.setdefault(endpoint, Trouble())

    def watch(self, endpoint: str, is_down: Callable[[], bool]) -> None:
        """Refuse requests to an endpoint whenever `is_down` says so."""
        self._down[endpoint] = is_down

    def heal(self, endpoint: str | None = None) -> None:
        """End the troubles of one endpoint, or of all."""
        for each in [endpoint] if endpoint is not None else list(self._by_endpoint):
            trouble = self._by_endpoint.pop(each, None)
            if trouble is not None and trouble.paused is not None:
                trouble.paused.set()

    async def going(self, endpoint: str, request: HttpRequest) -> None:
        """Before the receiver sees it.

        Raises:
            ConnectionRefusedError: it never does.
        """
        trouble = self._by_endpoint.get(endpoint, Trouble())
        if trouble.delay_seconds:
            await anyio.sleep(trouble.delay_seconds)
        if trouble.paused is not None:
            await trouble.paused.wait()
        down = endpoint in self._down and self._down[endpoint]()
        if down or self._by_endpoint.get(endpoint, trouble).refused:
            raise ConnectionRefusedError(f"{endpoint} refuses connections")

    async def coming(self, endpoint: str, request: HttpRequest, answer: HttpAnswer) -> None:
        """After the receiver answered.

        Raises:
            ConnectionResetError: the caller never learns of it.
        """
        trouble = self._by_endpoint.get(endpoint)
        if trouble is not None and trouble.lost > 0 and trouble.lost_path in (None, request.path):
            trouble.lost -= 1
            raise ConnectionResetError(f"the answer of {endpoint} was lost")
