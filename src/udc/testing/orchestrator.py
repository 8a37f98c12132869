"""`FakeOrchestrator`: gives tasks and takes what is said of them (contract sections 5 and 7), in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import anyio

from udc import _ids
from udc._ids import iso_utc
from udc._types import DropletId, JsonObject
from udc.context import Context
from udc.dispatch.declare import endpoint, event
from udc.droplet import Droplet
from udc.surface._base import HttpRequest
from udc.wire.json_text import parse_object

if TYPE_CHECKING:
    from udc._wiring.definition import Premises
    from udc.surface._base import Endpoint

__all__ = ["FakeOrchestrator", "TaskHandle"]

TERMINAL: Final = frozenset({"task_completed", "task_failed", "task_cancelled"})
"""The messages after which a task is over."""


class TaskHandle:
    """A task that has been given to a droplet.

    Attributes:
        task_id: its id.
        droplet: whom it was given to, as `assign` was told.
        messages: the payloads that came about it, oldest first.
    """

    def __init__(self, orchestrator: FakeOrchestrator, task_id: str, droplet: DropletId) -> None:
        self.task_id = task_id
        self.droplet = droplet
        self.messages: list[JsonObject] = []
        self._orchestrator = orchestrator
        self._news = anyio.Event()

    @property
    def kinds(self) -> list[str]:
        """What the messages are, oldest first: `["task_acknowledged", "task_completed"]`."""
        return [str(message["type"]) for message in self.messages]

    @property
    def ends(self) -> list[JsonObject]:
        """The terminal messages that came: one per attempt, whatever happens to the droplet."""
        return [message for message in self.messages if message["type"] in TERMINAL]

    async def finished(self, *, timeout_seconds: float = 30.0) -> JsonObject:
        """Wait for the terminal message and return it.

        Raises:
            TimeoutError: it did not come, by the event loop's clock; the text tells what did.
        """
        return await self.heard(*TERMINAL, timeout_seconds=timeout_seconds)

    async def heard(self, *kinds: str, timeout_seconds: float = 30.0) -> JsonObject:
        """Wait for the first message of one of these kinds, for example `task_progress`, and return it.

        Raises:
            TimeoutError: it did not come; the text tells what did.
        """
        with anyio.move_on_after(timeout_seconds):
            while True:
                for message in self.messages:
                    if message["type"] in kinds:
                        return message
                await self._news.wait()
        raise TimeoutError(
            f"no {' or '.join(sorted(kinds))} of task {self.task_id} within {timeout_seconds:g} s; "
            f"came: {', '.join(self.kinds) or 'nothing'}"
        )

    async def cancel(self) -> None:
        """Ask the droplet to cancel it.

        Raises:
            DeliveryError: the droplet could not be asked, or refused.
        """
        await self._orchestrator.mesh.send(self.droplet, "command", {"type": "cancel_task", "task_id": self.task_id})

    def take(self, payload: JsonObject) -> None:
        """Note a message about it."""
        self.messages.append(payload)
        news, self._news = self._news, anyio.Event()
        news.set()

    def __repr__(self) -> str:
        return f"TaskHandle({self.task_id!r}, {self.kinds})"


class FakeOrchestrator(Droplet):
    """An Orchestrator that does what the test says. In a `mesh` there is one already: `world.orchestrator`.

    Serve it over real sockets with `udc.asgi.app(FakeOrchestrator())`, configured like any droplet. It has no
    task store of its own (`/tasks`): tests call `assign`.

    Attributes:
        messages: every event payload that came, oldest first.
        reports: the bodies of `POST /heartbeat`, oldest first.
    """

    id: int | None = 10
    name: str = "Orchestrator"
    steward: str = "udc-testing"
    capabilities: Sequence[str] = ("orchestrator",)

    def __init__(self, *, config: Mapping[str, Any] | None = None) -> None:  # Any: values of many types
        super().__init__(config=config)
        self.messages: list[JsonObject] = []
        self.reports: list[JsonObject] = []
        self._handles: dict[str, TaskHandle] = {}
        self._ambient = _ids.system()

    async def assign(
        self,
        droplet: DropletId,
        task_type: str,
        payload: Mapping[str, Any] | None = None,  # Any: JSON values
        *,
        task_id: str | None = None,
        attempt: int = 1,
        deadline: datetime | None = None,
    ) -> TaskHandle:
        """Give a droplet a task and return when it has accepted.

        Args:
            droplet: its id or name.
            task_type: which of its `@task` handlers.
            payload: what the handler works on.
            task_id: of an earlier handle, to give that task again (its handle is returned), or one of `new_task_id`.
            attempt: from 1.
            deadline: aware; when it must be done, by the mesh's clock (`world.now()`).

        Raises:
            PeerError: the droplet refused it.
            DeliveryError: the droplet could not be reached.
            LifecycleError: this Orchestrator is not running.
        """
        task_id = task_id or self._ambient.new_id()
        # Known before it is given: the first message may come before the answer.
        handle = self._handles.setdefault(task_id, TaskHandle(self, task_id, droplet))
        task: dict[str, Any] = {  # Any: JSON values
            "task_id": task_id,
            "task_type": task_type,
            "payload": dict(payload or {}),
            "trace_id": self._ambient.new_id(),
            "attempt": attempt,
        }
        if deadline is not None:
            task["deadline"] = iso_utc(deadline)
        await self.mesh.request(droplet, "POST", "/task", task)
        return handle

    def new_task_id(self) -> str:
        """An id for a task that is to be given more than once, in the mesh's repeatable order."""
        return self._ambient.new_id()

    @event("*")
    async def take(self, ctx: Context) -> None:
        """Note whatever comes; messages about a task go to its handle too."""
        payload = ctx.message.payload
        self.messages.append(payload)
        handle = self._handles.get(str(payload.get("task_id")))
        if handle is not None:
            handle.take(payload)

    @endpoint("POST", "/heartbeat", "write")
    async def heartbeat(self, request: HttpRequest) -> JsonObject:
        """Take a droplet's report of how it does."""
        self.reports.append(parse_object(request.body))
        return {"received": True}

    def _udc_settle(self, premises: Premises) -> Sequence[Endpoint]:
        self._ambient = premises.ambient
        return super()._udc_settle(premises)
