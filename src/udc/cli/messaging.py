"""`udc call` and `udc send`: messages of the operator's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import anyio

from udc._ids import system
from udc.cli.actions import check_keys, how_to, look
from udc.cli.connection import Operator
from udc.cli.output import printable, put, put_data
from udc.context import Lineage, Order
from udc.discovery import Discovery
from udc.errors import NoHandler, PeerError
from udc.instrument import Instrument
from udc.messages import MessageType, Priority, Reply
from udc.messenger import Messenger
from udc.transports.http import HttpTransport


async def deliver(operator: Operator, order: Order, *, keys: Collection[str] = ()) -> tuple[Reply, str | None]:
    """Send, and wait for the receipt; with how else to send it, where nobody handled it but would so.

    Args:
        keys: of the data, all of which the action must know.

    Raises:
        Usage: it ignores one of them; nothing was sent.
    """
    by = anyio.current_time() + operator.seconds
    finder = await operator.finder()
    kind, action, target = str(order.message_type), order.action or "", str(order.target)
    if keys:
        check_keys(await look(operator, finder, target), kind, action, keys)
    order = replace(order, timeout_seconds=by - anyio.current_time())
    try:
        reply = await _sent(operator, finder, order)
    except PeerError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error.add_note(f"trace {order.lineage.trace_id}")  # the peer's log has the cause under it
        if error.code == NoHandler.code:
            error.hint = how_to(await look(operator, finder, target), kind, action) or error.hint
        raise
    return reply, None if reply.handled else how_to(await look(operator, finder, target), kind, action)


async def _sent(operator: Operator, finder: Discovery, order: Order) -> Reply:
    http = HttpTransport(
        operator.client, operator.tokens, audience_of=operator.audience_of, insecure_hosts=operator.insecure_hosts
    )
    messenger = Messenger(
        finder,
        {"http": http, "https": http},
        me=operator.id,
        ambient=system(),
        instrument=Instrument([]),
        timeout_seconds=operator.seconds,
    )
    return await messenger.send(order)


def order(
    target: str,
    message_type: MessageType,
    *,
    action: str | None,
    data: Any,  # Any: JSON values
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
