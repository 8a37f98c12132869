"""What the tests of dispatch share: messages, principals, and a sender that answers by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from udc._ids import seeded
from udc._types import DropletId
from udc.context import Order
from udc.dispatch.contexts import Contexts
from udc.dispatch.run import Dispatcher, DispatchLimits, Middleware
from udc.dispatch.table import HandlerTable, check_class
from udc.errors import DeliveryError, TokenError
from udc.identity.claims import Principal
from udc.instrument import Event, Instrument
from udc.messages import Message, MessageType, Peer, Reply

WALL = 1_800_000_000.0
AMBIENT = seeded(7, lambda: WALL)


class Droplet:
    """Stands for the façade, which checks its subclasses in the same way."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)


class Peers:
    """A sender: notes the orders, answers with what `answer` makes of them."""

    def __init__(self, answer: Callable[[Order], Any] = lambda _order: None) -> None:
        self.orders: list[Order] = []
        self.answer = answer

    async def send(self, order: Order) -> Reply:
        self.orders.append(order)
        data = self.answer(order)
        return Reply(peer=Peer(endpoint="http://x", name=str(order.target)), trace_id=order.lineage.trace_id, data=data)

    async def spread(
        self, order: Order, *, capability: str | None
    ) -> dict[DropletId, Reply | DeliveryError | TokenError]:
        """To 1, 2 and 3, or with a capability to 4 alone; an answer that is an error is one."""
        results: dict[DropletId, Reply | DeliveryError | TokenError] = {}
        for target in (1, 2, 3) if capability is None else (4,):
            try:
                results[target] = await self.send(replace(order, target=target))
            except DeliveryError as error:
                results[target] = error
        return results


def message(kind: str = "query", action: str | None = "quota", data: Any = None, **fields: Any) -> Message:
    defaults = {"payload": {}, "trace_id": "trace-1", "timestamp": datetime.fromtimestamp(WALL, UTC), "source": 3}
    return Message(message_type=MessageType(kind), action=action, data=data, **{**defaults, **fields})


def principal(droplet_id: int = 3, *, permissions: Sequence[str] = ("write",), scopes: Sequence[str] = ()) -> Principal:
    return Principal(
        subject=f"droplet-{droplet_id}",
        droplet_id=droplet_id,
        issuer="test",
        permissions=frozenset(permissions),
        scopes=frozenset(scopes),
    )


class World:
    """A dispatcher over the handlers of one object, and all that was observed."""

    def __init__(
        self,
        owner: object = None,
        *,
        table: HandlerTable | None = None,
        middleware: Sequence[Middleware] = (),
        limits: DispatchLimits | None = None,
        threads: bool = True,
    ) -> None:
        self.events: list[Event] = []
        self.peers = Peers()
        self.table = table or HandlerTable.collect(owner)
        self.contexts = Contexts(sender=self.peers, ambient=AMBIENT)
        self.dispatcher = Dispatcher(
            self.table,
            contexts=self.contexts,
            middleware=middleware,
            instrument=Instrument([self.events.append]),
            ambient=AMBIENT,
            limits=limits or DispatchLimits(),
            threads=threads,
        )

    async def __call__(self, *args: Any, who: Principal | None = None, **fields: Any) -> Any:
        from_run = {k: fields.pop(k) for k in ("progress", "arrived") if k in fields}
        kind = args[0] if args and args[0] in ("task", "chat") else None
        if kind:
            args = ("command", *args[1:])
        return await self.dispatcher.dispatch(message(*args, **fields), who or principal(), kind=kind, **from_run)
