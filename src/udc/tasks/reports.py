"""Tells the Orchestrator how a task goes: in order, the last word until it has been heard."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import anyio

from udc._frozen import dataclass
from udc._ids import Ambient
from udc.errors import DeliveryError, PeerError, TokenError

_log = logging.getLogger("udc.tasks")
_BASE_SECONDS: Final = 0.5
_CAP_SECONDS: Final = 30.0
_HEARD_AND_REFUSED: Final = frozenset({400, 404, 409, 410, 422})
"""The Orchestrator has the message and will never take it: saying it again changes nothing."""

Payload: TypeAlias = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One message about a task.

    Attributes:
        message_id: its identity for de-duplication; `None` = whatever the sender makes up.
    """

    trace_id: str
    payload: Payload
    message_id: str | None = None


Tell: TypeAlias = Callable[[Report], Awaitable[object]]
"""Sends a report to the Orchestrator; raises `DeliveryError` or `TokenError` when it could not."""


class Reporter:
    """Sends the messages of one run of a task: acknowledgement, newest progress, one terminal message.

    What has not arrived is sent again until something newer takes its place. Nothing is sent after the terminal
    message, and once that is known, only that.
    """

    def __init__(self, tell: Tell, *, task_id: str, attempt: int, trace_id: str, ambient: Ambient) -> None:
        self._tell = tell
        self._task_id = task_id
        self._attempt = attempt
        self._trace_id = trace_id
        self._ambient = ambient
        self._begun: Report | None = None
        self._progress: Report | None = None
        self._last: Report | None = None
        self._news = anyio.Event()

    def acknowledged(self) -> None:
        """The droplet has begun to work."""
        self._begun = self._report("task_acknowledged")
        self._news.set()

    def join(self, attempt: int, trace_id: str) -> None:
        """A later attempt joins this run: from now on its messages carry that number."""
        self._attempt, self._trace_id, self._progress = attempt, trace_id, None
        self.acknowledged()

    async def progress(self, percent: float, note: str) -> None:
        """How far it is. Replaces progress that has not been sent yet."""
        self._progress = self._report("task_progress", percent=percent, note=note)
        self._news.set()

    def end(self, payload: Payload, *, message_id: str | None) -> None:
        """The one terminal message; a second one is not sent."""
        if self._last is None:
            self._last = Report(trace_id=self._trace_id, payload=payload, message_id=message_id)
            self._news.set()

    async def run(self) -> None:
        """Send until the terminal message has arrived, or has been refused for good. On cancel no more is sent."""
        failures = 0
        while True:
            report = self._last or self._begun or self._progress
            if report is None:
                await self._until_news()
                continue
            try:
                await self._tell(report)
            except (DeliveryError, TokenError) as error:
                if not self._is_final(report, error):
                    failures += 1
                    await self._pause(report, error, failures)
                    continue
            failures = 0
            if report is self._last:
                return
            self._begun = None if report is self._begun else self._begun
            self._progress = None if report is self._progress else self._progress

    def _report(self, kind: str, **facts: Any) -> Report:  # Any: JSON values
        payload = {"type": kind, "task_id": self._task_id, "attempt": self._attempt, **facts}
        return Report(trace_id=self._trace_id, payload=payload)

    def _is_final(self, report: Report, error: DeliveryError | TokenError) -> bool:
        """Whether there is no use in saying it again."""
        if not isinstance(error, PeerError):
            return False
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and report is self._last:
            self._last = _too_large(report)
            return self._last is report
        # Who says 404 because it is somebody else has taken the Orchestrator's address, and may leave it again.
        if error.status not in _HEARD_AND_REFUSED or "target" in error.details:
            return False
        log = _log.error if report is self._last else _log.warning
        log("task report refused", extra={"report": report.payload["type"], "error": str(error)})
        return True

    async def _pause(self, report: Report, error: Exception, failures: int) -> None:
        wait = self._ambient.chance() * min(_CAP_SECONDS, _BASE_SECONDS * float(2 ** min(failures - 1, 10)))
        _log.warning(
            "task report not delivered, trying again",
            extra={"report": report.payload["type"], "error": str(error), "wait_seconds": round(wait, 3)},
        )
        ended = self._last is not None
        with anyio.move_on_after(wait):
            while ended or self._last is None:
                await self._until_news()

    async def _until_news(self) -> None:
        self._news = anyio.Event()
        await self._news.wait()


def _too_large(report: Report) -> Report:
    """What is said in place of a result that the Orchestrator has no room for; under an id of its own."""
    if report.payload["type"] != "task_completed":
        return report
    facts = {name: report.payload[name] for name in ("task_id", "attempt")}
    error = "PAYLOAD_TOO_LARGE: the task was done, but its result is larger than the Orchestrator takes"
    return Report(
        trace_id=report.trace_id,
        payload={"type": "task_failed", **facts, "error": error},
        message_id=None if report.message_id is None else f"{report.message_id}.413",
    )
