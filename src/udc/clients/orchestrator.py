"""Calls to an Orchestrator (contract section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import anyio

from udc._frozen import dataclass
from udc._http import HttpAnswer
from udc._ids import Ambient, iso_utc
from udc._types import UNSET, DropletId, JsonObject
from udc.clients._calls import is_success
from udc.clients.orchestrator_events import TaskEvents
from udc.clients.orchestrator_records import NewTask, TaskPage, TaskRecord, TaskState, task_page, task_record
from udc.clients.peer_http import PeerHttp
from udc.errors import CallTimeout, InvalidReply, InvalidRequest, PeerError
from udc.messages import MessageType, Peer
from udc.retry import RetryPolicy, may_retry, retrying
from udc.wire import json_text
from udc.wire.faults import STATUS_BY_CODE, decode_error

TIMEOUT_SECONDS: Final = 10.0
_RETRIES: Final = RetryPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a droplet tells of itself every minute, for people and routing."""

    droplet_id: DropletId
    status: str
    timestamp: datetime
    cpu_percent: float
    memory_mb: int
    requests_last_minute: int
    errors_last_minute: int

    def body(self) -> dict[str, Any]:  # Any: JSON values
        """As `POST /heartbeat` takes it."""
        names = ("cpu_percent", "memory_mb", "requests_last_minute", "errors_last_minute")
        return {
            "droplet_id": self.droplet_id,
            "status": self.status,
            "timestamp": iso_utc(self.timestamp),
            "metrics": {name: getattr(self, name) for name in names},
        }


def orchestrator_at(url: str, droplet_id: DropletId) -> Peer:
    """The Orchestrator at an address."""
    return Peer(endpoint=url.rstrip("/"), id=droplet_id, name="the Orchestrator", ours=True)


class OrchestratorClient:
    """Typed calls to one Orchestrator.

    Each call is tried again where that cannot do anything twice, within its time. On cancellation the Orchestrator
    may have done what was asked.

    Args:
        http: sends the requests.
        peer: the Orchestrator; see `orchestrator_at`.
        ambient: ids for new tasks, chances for the waits between tries.
        timeout_seconds: of each call as a whole.

    Raises, at every call:
        PeerError: it says no; `status` and `code` tell why.
        CallTimeout: no answer in time.
        PeerUnreachable, ConnectionLost, InvalidReply, TokenError: as the names say.
    """

    def __init__(
        self, http: PeerHttp, peer: Peer, *, ambient: Ambient, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._http = http
        self._peer = peer
        self._ambient = ambient
        self._seconds = timeout_seconds

    @property
    def peer(self) -> Peer:
        """The Orchestrator."""
        return self._peer

    async def create(self, task: NewTask) -> TaskRecord:
        """Create a task. Under one `task_id` once, however often it is tried; without one it gets a fresh id.

        Raises:
            PeerError: 409 when another task has that `task_id`.
        """
        body = task.body()
        body.setdefault("task_id", self._ambient.new_id())
        body.setdefault("title", task.task_type)
        return self._task({**body, "status": "pending", **await self._ask("POST", "/tasks", body=body)})

    async def get(self, task_id: str) -> TaskRecord:
        """One task, with its history.

        Raises:
            PeerError: 404 when there is none.
        """
        return self._task(await self._ask("GET", _path(task_id), repeatable=True))

    async def list(
        self,
        *,
        status: str | None = None,
        task_type: str | None = None,
        assigned_droplet_id: DropletId | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> TaskPage:
        """The tasks that match, without their histories."""
        asked = {
            "status": status,
            "task_type": task_type,
            "assigned_droplet_id": assigned_droplet_id,
            "limit": limit,
            "offset": offset,
        }
        return task_page(await self._ask("GET", f"/tasks{_query(asked)}", repeatable=True), peer=self._peer.label)

    async def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task. One that has been cancelled already is returned as it is.

        Raises:
            PeerError: 404 when there is none, 409 when it has completed or failed, 403 when it is not ours.
        """
        try:
            return self._task(await self._ask("DELETE", _path(task_id), repeatable=True))
        except PeerError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            task = await self.get(task_id)  # our own first try may have been the one that cancelled it
            if task.status != TaskState.CANCELLED:
                raise
            return task

    async def update(
        self,
        task_id: str,
        status: str,
        *,
        result: Any = UNSET,  # Any: whatever can be made JSON
        error_message: str | None = None,
    ) -> TaskRecord:
        """Say how a task goes that is assigned to us, for workers that poll.

        Raises:
            PeerError: 409 when the task is not in a state from which that follows, 403 when it is not ours.
        """
        body: dict[str, Any] = {"status": status}  # Any: JSON values
        if result is not UNSET:
            body["result"] = result
        if error_message is not None:
            body["error_message"] = error_message
        told = await self._ask("PATCH", _path(task_id), body=body, repeatable=True)
        return self._task({"task_id": task_id, "status": status, **told})

    def events(
        self,
        *,
        task_id: str | None = None,
        status: str | None = None,
        task_type: str | None = None,
        after: int | None = None,
    ) -> TaskEvents:
        """Changes of tasks as they happen; of one task from its present state to its terminal one.

        Use it in `async with`, then iterate. It reconnects by itself and goes on where it was.

        Args:
            after: the `seq` of the last event that is known, to go on from there.
        """
        path = f"/tasks/events{_query({'task_id': task_id, 'status': status, 'task_type': task_type})}"
        return TaskEvents(
            self._http, self._peer, path, until_terminal=task_id is not None, after=after, chance=self._ambient.chance
        )

    async def report(self, report: Report) -> None:
        """Send one report (`POST /heartbeat`). Tried once: the next one says it better."""
        await self._ask("POST", "/heartbeat", body=report.body(), tries=1)

    async def reports(self) -> tuple[JsonObject, ...]:
        """The last report of every droplet, with `received_at`."""
        told = await self._ask("GET", "/reports", repeatable=True)
        return tuple(map(json_text.as_mapping, _listed(told.get("reports"))))

    async def queue(self) -> JsonObject:
        """How many tasks are in which state, and the workers with their load."""
        return await self._ask("GET", "/queue", repeatable=True)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        repeatable: bool = False,
        tries: int = _RETRIES.attempts,
    ) -> JsonObject:
        """The answer's object, after as many tries as the call's time allows."""
        harmless = repeatable or self._peer.ours

        async def send(_: int) -> JsonObject:
            return await self._once(method, path, body)

        with anyio.move_on_after(self._seconds) as scope:
            return await retrying(
                send,
                policy=replace(_RETRIES, attempts=tries),
                again=lambda error: may_retry(error, MessageType.COMMAND, deduplicated=harmless),
                chance=self._ambient.chance,
                deadline=scope.deadline,
            )
        raise CallTimeout(f"{self._peer.label} did not answer within {self._seconds:g} s", peer=self._peer.label)

    async def _once(self, method: str, path: str, body: JsonObject | None) -> JsonObject:
        answer = await self._http.request(self._peer, method, path, body=body)
        if not is_success(answer):
            raise refusal(answer, self._peer)
        return self._read(answer)

    def _read(self, answer: HttpAnswer) -> JsonObject:
        try:
            return unwrapped(json_text.parse(answer.body)) if answer.body.strip() else {}
        except InvalidRequest as error:
            peer = self._peer.label
            raise InvalidReply(f"{peer} answered with something that is no JSON object", peer=peer) from error

    def _task(self, told: JsonObject) -> TaskRecord:
        return task_record(told, peer=self._peer.label)


def unwrapped(told: Any) -> JsonObject:  # Any: a JSON value
    """The object of an answer: bare, or in an envelope around it, or the list of tasks alone (habits of the field).

    Raises:
        InvalidRequest: it is nothing of that.
    """
    found = json_text.unfold(told)
    if isinstance(found, dict) and found.get("message_type") in ("response", "event") and "payload" in found:
        found = json_text.unfold(found["payload"])
    if isinstance(found, list):
        return {"tasks": found}
    if not isinstance(found, dict):
        raise InvalidRequest.field("body", "must be a JSON object")
    inner = json_text.as_mapping(found.get("task"))
    return inner if "task_id" not in found and "task_id" in inner else found


def refusal(answer: HttpAnswer, peer: Peer) -> PeerError:
    """The error of an answer; one inside a success has the status that its code has in the contract."""
    error = decode_error(answer.body, status=answer.status, headers=answer.headers, peer=peer.label)
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        error.status = STATUS_BY_CODE.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return error


def _path(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"


def _query(asked: Mapping[str, object]) -> str:
    given = {name: value for name, value in asked.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _listed(value: object) -> list[Any]:  # Any: JSON values
    found = json_text.unfold(value)
    return found if isinstance(found, list) else []
