"""`udc call` and `udc send`: messages of the operator's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from udc._ids import system
from udc.cli.connection import Operator
from udc.cli.output import printable, put, put_data
from udc.context import Lineage, Order
from udc.errors import PeerError
from udc.instrument import Instrument
from udc.messages import MessageType, Priority, Reply
from udc.messenger import Messenger
from udc.transports.http import HttpTransport


async def deliver(operator: Operator, order: Order) -> Reply:
    """Send, and wait for the receipt."""
    http = HttpTransport(
        operator.client, operator.tokens, audience_of=operator.audience_of, insecure_hosts=operator.insecure_hosts
    )
    messenger = Messenger(
        await operator.finder(),
        {"http": http, "https": http},
        me=operator.id,
        ambient=system(),
        instrument=Instrument([]),
        timeout_seconds=operator.seconds,
    )
    try:
        return await messenger.send(order)
    except PeerError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error.add_note(f"trace {order.lineage.trace_id}")  # the peer's log has the cause under it
        raise


def order(
    target: str,
    message_type: MessageType,
    *,
    action: str | None,
    data: Any,  # Any: JSON values
    seconds: float,
    retries: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> Order:
    """A message of the operator's, the first of its trace."""
    return Order(
        target=target,
        message_type=message_type,
        action=action,
        data=data,
        lineage=Lineage(trace_id=system().new_id()),
        timeout_seconds=seconds,
        retries=retries,
        priority=priority,
    )


def facts_of(reply: Reply) -> dict[str, Any]:  # Any: JSON values
    """A receipt, for machines."""
    return {
        "peer": reply.peer.label,
        "trace_id": reply.trace_id,
        "result": reply.result,
        "handled": reply.handled,
        "duplicate": reply.duplicate,
        "data": reply.data,
    }


def show_data(reply: Reply) -> None:
    """What the handler returned."""
    put_data(reply.data)


def show_sent(reply: Reply) -> None:
    """That it arrived, and what became of it."""
    fate = "handled" if reply.handled else "nobody there handles it"
    put(f"{printable(reply.peer.label)} took it ({reply.result}, {fate}); trace {reply.trace_id}")
