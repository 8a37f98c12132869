"""An Orchestrator of the v2 style ("droplet 10, 2.0"): droplets register with it, beat, and fetch their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from http import HTTPStatus
from typing import Any, Final

from udc._frozen import dataclass
from udc._ids import Ambient
from udc._types import DropletId, JsonObject
from udc.clients._calls import is_success
from udc.clients.orchestrator import OrchestratorClient, Report, refusal
from udc.clients.orchestrator_records import TaskRecord
from udc.clients.peer_http import PeerHttp
from udc.errors import UnknownInstance
from udc.messages import Peer

_ASSIGNED: Final = "assigned"
_PAGE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """What a droplet registers itself as."""

    droplet_id: DropletId
    name: str
    steward: str
    endpoint: str
    capabilities: tuple[str, ...] = field(default=())

    def body(self) -> JsonObject:
        """As `POST /droplets/register` takes it, flat."""
        return {name: getattr(self, name) for name in self.__slots__}


class PolledOrchestrator:
    """The calls of this style. Each is tried once, but for the registration; the caller's scope is the time limit.

    Args:
        http: sends the requests.
        peer: the Orchestrator.
        ambient: for the waits between tries.
    """

    def __init__(self, http: PeerHttp, peer: Peer, *, ambient: Ambient) -> None:
        self._http = http
        self._peer = peer
        self._tasks = OrchestratorClient(http, peer, ambient=ambient)

    async def register(self, record: WorkerRecord) -> None:
        """Register, or register again. A failure of the server is tried once more at once: its habit.

        Raises:
            PeerError: it says no.
            PeerUnreachable, ConnectionLost, TokenError: as the names say.
        """
        answer = await self._http.request(self._peer, "POST", "/droplets/register", body=record.body())
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer = await self._http.request(self._peer, "POST", "/droplets/register", body=record.body())
        if not is_success(answer):
            raise refusal(answer, self._peer)

    async def beat(self, report: Report) -> None:
        """Say that we live, and how we do.

        Raises:
            UnknownInstance: it does not know us: register again.
            PeerError: it says no: 403 for somebody else's id.
            PeerUnreachable, ConnectionLost, TokenError: as the names say.
        """
        body = {name: report.body()[name] for name in ("status", "metrics")}
        answer = await self._http.request(self._peer, "POST", f"/droplets/{report.droplet_id}/heartbeat", body=body)
        if answer.status == HTTPStatus.NOT_FOUND:  # whatever the body says
            raise UnknownInstance(f"{self._peer.label} does not know droplet {report.droplet_id}")
        if not is_success(answer):
            raise refusal(answer, self._peer)

    async def assigned(self, droplet_id: DropletId) -> tuple[TaskRecord, ...]:
        """The tasks that wait for us. Raises as `OrchestratorClient.list` does."""
        page = await self._tasks.list(status=_ASSIGNED, assigned_droplet_id=droplet_id, limit=_PAGE)
        return tuple(task for task in page.tasks if _is_ours(task, droplet_id))

    async def update(self, task_id: str, status: str, **told: Any) -> None:  # Any: JSON values
        """Say how a task goes. Raises as `OrchestratorClient.update` does."""
        await self._tasks.update(task_id, status, **told)


def _is_ours(task: TaskRecord, droplet_id: DropletId) -> bool:
    """Servers that do not know a filter answer with everything."""
    return task.status == _ASSIGNED and task.assigned_droplet_id in (None, droplet_id)


def outcome(payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:  # Any: JSON values
    """What a task's message is in this style, as a status and what goes with it; `None` = it knows no such thing."""
    match payload["type"]:
        case "task_acknowledged":
            return "in_progress", {}
        case "task_completed":
            return "completed", {"result": payload["result"]}
        case "task_failed":
            return "failed", {"error_message": payload["error"]}
        case "task_cancelled":
            return "failed", {"error_message": "CANCELLED: the task was cancelled at its droplet"}
        case _:
            return None
