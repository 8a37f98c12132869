"""Tells the Orchestrator how a task goes: in order, the last word until it has been heard."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import anyio

from udc._ids import Ambient
from udc.errors import DeliveryError, PeerError, TokenError

_log = logging.getLogger("udc.tasks")
_BASE_SECONDS: Final = 0.5
_CAP_SECONDS: Final = 30.0
_HEARD_AND_REFUSED: Final = frozenset({400, 404, 409, 410, 422})
"""The Orchestrator has the message and will never take it: saying it again changes nothing."""

Payload: TypeAlias = dict[str, Any]  # Any: JSON values
Tell: TypeAlias = Callable[[Payload], Awaitable[object]]
"""Sends one event payload to the Orchestrator; raises `DeliveryError` or `TokenError` when it could not."""


class Reporter:
    """Sends the messages of one run of a task: acknowledgement, newest progress, one terminal message.

    Nothing is sent after the terminal message, and once that is known what has not been sent is left out.
    """

    def __init__(self, tell: Tell, *, task_id: str, attempt: int, ambient: Ambient) -> None:
        self._tell = tell
        self._facts: Payload = {"task_id": task_id, "attempt": attempt}
        self._ambient = ambient
        self._next: Payload | None = None
        self._last: Payload | None = None
        self._news = anyio.Event()
        self.acknowledged()

    def acknowledged(self) -> None:
        """The droplet has begun to work."""
        self._next = {"type": "task_acknowledged", **self._facts}

    def join(self, attempt: int) -> None:
        """A later attempt joins this run: from now on its messages carry that number."""
        self._facts["attempt"] = attempt
        self.acknowledged()
        self._news.set()

    async def progress(self, percent: float, note: str) -> None:
        """How far it is. Replaces progress that has not been sent yet; never the acknowledgement."""
        if self._next is None or self._next["type"] == "task_progress":
            self._next = {"type": "task_progress", **self._facts, "percent": percent, "note": note}
            self._news.set()

    def end(self, kind: str, **facts: Any) -> None:  # Any: JSON values
        """The one terminal message; a second one is not sent."""
        if self._last is None:
            self._last = {"type": kind, **self._facts, **facts}
            self._news.set()

    async def run(self) -> None:
        """Send until the terminal message has arrived. On cancel what is left is not sent."""
        while True:
            if self._last is not None:
                await self._until_heard(self._last)
                return
            if self._next is not None:
                await self._once(self._next)
                continue
            self._news = anyio.Event()
            await self._news.wait()

    async def _once(self, payload: Payload) -> None:
        """Send a message that later ones make up for: its loss is no harm."""
        try:
            await self._tell(payload)
        except (DeliveryError, TokenError) as error:
            _log.warning("task report not delivered", extra={"report": payload["type"], "error": str(error)})
        if self._next is payload:
            self._next = None

    async def _until_heard(self, payload: Payload) -> None:
        failures = 0
        while True:
            try:
                await self._tell(payload)
            except (DeliveryError, TokenError) as error:
                if isinstance(error, PeerError) and error.status in _HEARD_AND_REFUSED:
                    _log.error("terminal task message refused", extra={"report": payload["type"], "error": str(error)})
                    return
                wait = self._ambient.chance() * min(_CAP_SECONDS, _BASE_SECONDS * float(2 ** min(failures, 10)))
                failures += 1
                _log.warning(
                    "terminal task message not delivered, trying again",
                    extra={"report": payload["type"], "error": str(error), "wait_seconds": wait},
                )
                await anyio.sleep(wait)
            else:
                return
