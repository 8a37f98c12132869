"""Connects tasks, chats and cancellations to the dispatcher and the messenger."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from udc._ids import Ambient
from udc._types import DropletId
from udc.context import Lineage, Order, Sender
from udc.dispatch.run import Dispatcher, Outcome
from udc.dispatch.table import HandlerTable
from udc.errors import DeliveryError, NoHandler, TokenError
from udc.identity.claims import Principal
from udc.messages import Message, MessageType, Peer
from udc.tasks.attempts import Assignment
from udc.tasks.reports import Report

_log = logging.getLogger("udc.tasks")
_CANCEL_SECONDS = 1.0


class TaskWorker:
    """Runs tasks through the dispatcher."""

    def __init__(self, table: HandlerTable, dispatcher: Dispatcher, *, me: DropletId, ambient: Ambient) -> None:
        self._table = table
        self._dispatcher = dispatcher
        self._me = me
        self._ambient = ambient

    def knows(self, name: str) -> None:
        """Check that a handler takes tasks of this name.

        Raises:
            NoHandler: none does.
        """
        if self._table.find("task", name) is None:
            known = self._table.known("task")
            names = ", ".join(map(repr, known)) or "none"
            raise NoHandler(f"no handler for task {name!r}; known: {names}", details={"action": name, "known": known})

    async def run(self, assignment: Assignment, progress: Callable[[float, str], Awaitable[None]]) -> bytes:
        """The handler's result as JSON; raises what the handler raised."""
        principal = assignment.principal
        message = Message(
            message_type=MessageType.COMMAND,
            payload={"task_id": assignment.task_id, "task": assignment.name, "data": assignment.data},
            action=assignment.name,
            data=assignment.data,
            trace_id=assignment.trace_id,
            timestamp=self._ambient.now(),
            source=principal.droplet_id if principal.droplet_id is not None else principal.subject,
            target=self._me,
            message_id=assignment.task_id,
            deadline=assignment.deadline,
            attempt=assignment.attempt,
        )
        outcome = await self._dispatcher.dispatch(message, principal, kind="task", progress=progress)
        return outcome.data


def tell_orchestrator(sender: Sender, orchestrator: DropletId) -> Callable[[Report], Awaitable[object]]:
    """Sends a task's messages to the Orchestrator as events, in the task's trace."""

    async def tell(report: Report) -> object:
        return await sender.send(
            Order(
                target=orchestrator,
                message_type=MessageType.EVENT,
                payload=report.payload,
                lineage=Lineage(trace_id=report.trace_id, hops=1),
                message_id=report.message_id,
            )
        )

    return tell


def run_chat(dispatcher: Dispatcher) -> Callable[[Message, Principal], Awaitable[Outcome]]:
    """Runs the chat handler."""

    async def run(message: Message, principal: Principal) -> Outcome:
        return await dispatcher.dispatch(message, principal, kind="chat")

    return run


def forward_cancel(sender: Sender) -> Callable[[Peer, Message], Coroutine[Any, Any, None]]:
    """Passes a `cancel_trace` on to a peer that works on the trace for us; a peer that is away is told no more."""

    async def forward(peer: Peer, message: Message) -> None:
        order = Order(
            target=peer.id if peer.id is not None else peer.name,
            message_type=MessageType.COMMAND,
            payload=message.payload,
            lineage=Lineage(trace_id=message.trace_id, hops=message.hops + 1),
            timeout_seconds=_CANCEL_SECONDS,
        )
        try:
            await sender.send(order)
        except (DeliveryError, TokenError) as error:
            _log.warning("cancel_trace not delivered", extra={"peer": peer.label, "error": str(error)})

    return forward
