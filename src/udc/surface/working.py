"""`POST /task` and `POST /handle-chat`, and the reserved commands `cancel_task` and `cancel_trace`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import anyio
from pydantic import ValidationError
from pydantic_core import from_json

from udc import models
from udc._ids import Ambient
from udc._types import DropletId
from udc.dispatch.run import Outcome
from udc.errors import DeadlineExceeded, Forbidden, HopLimit, InternalError, NotFound
from udc.identity.claims import Principal
from udc.messages import MAX_HOPS, Message, MessageType, Peer
from udc.surface._base import Endpoint, HttpRequest
from udc.surface.facts import ProofBook
from udc.surface.messages import Reserved, read_string, require_json
from udc.tasks.attempts import Assignment
from udc.tasks.desk import TaskDesk
from udc.wire.trace import HOPS_HEADER, MAX_FOREIGN, TIMEOUT_HEADER, trace_id_from

ChatRun = Callable[[Message, Principal], Awaitable[Outcome]]


class Working:
    """The handlers of these endpoints.

    Args:
        orchestrator: the id of the droplet that may give tasks.
        chat: runs the chat handler; `None` when there is none.
    """

    def __init__(
        self,
        desk: TaskDesk,
        *,
        chat: ChatRun | None,
        orchestrator: DropletId,
        me: DropletId,
        proofs: ProofBook,
        ambient: Ambient,
    ) -> None:
        self._desk = desk
        self._chat = chat
        self._orchestrator = orchestrator
        self._me = me
        self._proofs = proofs
        self._ambient = ambient

    async def task(self, request: HttpRequest) -> models.TaskAccepted:
        """Take a task: answered at once, worked on in the background."""
        require_json(request)
        caller = request.caller
        if not caller.anonymous and caller.droplet_id != self._orchestrator and not caller.may("admin"):
            raise Forbidden(
                f"tasks come from the Orchestrator (droplet {self._orchestrator}) or an admin",
                details={"orchestrator_id": self._orchestrator},
            )
        asked = models.read(models.TaskRequest, request.body)
        request.trace_id = asked.trace_id or self._ambient.new_id()
        left = (asked.deadline - self._ambient.now()).total_seconds() if asked.deadline else None
        if left is not None and left <= 0:
            raise DeadlineExceeded("the task's deadline had passed when it arrived; nothing ran")
        assignment = Assignment(
            task_id=asked.task_id,
            name=asked.task_type,
            data=asked.payload,
            trace_id=request.trace_id,
            attempt=asked.attempt,
            deadline=asked.deadline,
            principal=caller,
        )
        if await self._desk.accept(assignment):
            self._proofs.note(f"task:{asked.task_type}", trace_id=request.trace_id)
        return models.TaskAccepted(task_id=asked.task_id)

    async def chat(self, request: HttpRequest) -> models.ChatReply:
        """Answer one message of a conversation."""
        if self._chat is None:
            raise NotFound("this droplet has no chat handler")
        require_json(request)
        asked = models.read(models.ChatRequest, request.body)
        request.trace_id = trace_of(request) or self._ambient.new_id()
        caller = request.caller
        hops = _number(request, HOPS_HEADER)
        if hops > MAX_HOPS:
            raise HopLimit(f"hops is {hops}, at most {MAX_HOPS} are allowed", details={"hops": hops})
        message = Message(
            message_type=MessageType.COMMAND,
            payload=asked.model_dump(),
            data=asked.model_dump(),
            action="*",
            trace_id=request.trace_id,
            timestamp=self._ambient.now(),
            source=caller.droplet_id if caller.droplet_id is not None else caller.subject,
            target=self._me,
            timeout_ms=_number(request, TIMEOUT_HEADER) or None,
            hops=hops,
            size=len(request.body),
        )
        outcome = await self._chat(message, caller)
        return _reply(from_json(outcome.data), asked)

    async def cancel_task(self, message: Message, principal: Principal) -> Any:  # Any: JSON values
        """The reserved command that cancels a task (contract section 5)."""
        task_id = read_string(message.payload, "task_id")
        self._desk.cancel(task_id, by=principal, orchestrator=self._orchestrator)
        return {"task_id": task_id}

    def table(self) -> list[Endpoint]:
        """The rows of these endpoints."""
        return [
            Endpoint(
                method="POST",
                path="/task",
                access="write",
                handler=self.task,
                summary="Take a task of the Orchestrator's",
                request_model=models.TaskRequest,
                response_model=models.TaskAccepted,
            ),
            Endpoint(
                method="POST",
                path="/handle-chat",
                access="write",
                handler=self.chat,
                summary="Answer one message of a conversation",
                request_model=models.ChatRequest,
                response_model=models.ChatReply,
            ),
        ]


def trace_of(request: HttpRequest) -> str | None:
    """The trace that the caller's headers name, if they name one."""
    told = request.headers.get("x-trace-id", "")
    if 0 < len(told) <= MAX_FOREIGN and told.isprintable():
        return told
    return trace_id_from(request.headers.get("traceparent", ""))


def _number(request: HttpRequest, header: str) -> int:
    """A header of our own kind; 0 when it is missing or makes no sense."""
    told = request.headers.get(header, "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0


def _reply(value: Any, asked: models.ChatRequest) -> models.ChatReply:  # Any: JSON values
    """What the handler returned, a text or the whole reply, as the contract's answer."""
    if isinstance(value, str):
        return models.ChatReply(response=value, context=asked.context or {})
    try:
        return models.ChatReply.model_validate(value)
    except ValidationError as exc:
        raise InternalError("the chat handler returned neither a text nor a ChatReply") from exc


class TraceCancel:
    """The reserved command that stops a trace here and at every peer that works on it for us.

    Args:
        cancel: cancels the work of a trace that a sender caused (`None` = whoever), and says how much that was.
        pending: the peers that work on a trace for us now.
        forward: passes the command on to one peer; raises nothing but cancellation.
    """

    def __init__(
        self,
        *,
        cancel: Callable[[str, DropletId | None], int],
        pending: Callable[[str], Iterable[Peer]],
        forward: Callable[[Peer, Message], Coroutine[Any, Any, None]],
    ) -> None:
        self._cancel = cancel
        self._pending = pending
        self._forward = forward

    async def __call__(self, message: Message, principal: Principal) -> Any:  # Any: JSON values
        """Cancel; only the sender's own work, unless an admin asks."""
        trace_id = read_string(message.payload, "trace_id")
        peers = tuple(self._pending(trace_id))
        cancelled = self._cancel(trace_id, None if principal.may("admin") else message.source)
        if cancelled:
            async with anyio.create_task_group() as tasks:
                for peer in peers:
                    tasks.start_soon(self._forward, peer, message)
        return {"cancelled": cancelled}


def reserved(working: Working, traces: TraceCancel) -> dict[str, Reserved]:
    """The contract's own command actions (contract section 3)."""
    return {"cancel_task": working.cancel_task, "cancel_trace": traces}
