"""What a handler holds in its hand: the message it answers, and the way onward into the mesh.

The same `Context` serves handlers, hooks, `@every` jobs and `droplet.mesh`; the last three answer no message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, Unpack, overload

import anyio

from udc._types import UNSET, DropletId, JsonObject
from udc.context._broadcast import Broadcast, gathered
from udc.context._chat import Chat
from udc.context._home import Home
from udc.context._log import TraceLog, handler_log
from udc.context._order import Errand, Lineage, Order
from udc.context._tools import Metrics, Progress
from udc.context._verb import CallOptions, Verb, fitted
from udc.errors import HopLimit
from udc.identity.claims import Principal
from udc.messages import MAX_HOPS, Message, MessageType, Priority, Reply

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # pydantic brings it; only type checkers read it

T = TypeVar("T")

WrittenType = MessageType | Literal["query", "command", "event", "status"]
"""The message types that are sent, spelled either way."""


class Context:
    """The message being answered, and the mesh. Made by `udc.dispatch.contexts`, not by hand.

    The message may be made when it is first asked for: most handlers need their data only.

    Args:
        home: what it has in common with all others of its droplet.
        message: what it answers.
        deadline: when the work must be done, by `anyio.current_time()`.
    """

    __slots__ = ("_deadline", "_home", "_lineage", "_message", "_principal", "_progress")

    def __init__(
        self,
        home: Home,
        message: Message | Callable[[], Message] | None = None,
        principal: Principal | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        self._home = home
        self._message = message
        self._principal = principal
        self._deadline = deadline
        self._progress = progress
        self._lineage = lineage

    @property
    def metrics(self) -> Metrics:
        """Counters, gauges and money of this droplet."""
        return self._home.metrics

    @property
    def instance_id(self) -> str | None:
        """The instance whose context it is; `None` outside a droplet."""
        return self._home.instance_id

    @property
    def lineage(self) -> Lineage | None:
        """What goes with onward calls; `None` for `droplet.mesh`, whose calls take it from around them."""
        if self._lineage is None and (message := self._answered()) is not None:  # made for those who make calls
            self._lineage = Lineage(
                trace_id=message.trace_id,
                hops=message.hops + 1,
                deadline=self._deadline,
                on_behalf_of=message.on_behalf_of,
            )
        return self._lineage

    def _answered(self) -> Message | None:
        message = self._message
        if message is None or isinstance(message, Message):
            return message
        self._message = made = message()
        return made

    @property
    def message(self) -> Message:
        """The message being answered.

        Raises:
            LookupError: none is: this is a hook, a job or `droplet.mesh`.
        """
        return self._answered() or _lacks("message")

    @property
    def principal(self) -> Principal:
        """Who sent the message, as verified.

        Raises:
            LookupError: nobody did: this is a hook, a job or `droplet.mesh`.
        """
        return self._principal if self._principal is not None else _lacks("principal")

    @property
    def trace_id(self) -> str:
        """The trace this work belongs to: it goes with every onward call.

        Raises:
            LookupError: there is none: `droplet.mesh` outside a handler starts a new trace with each call.
        """
        if (message := self._answered()) is not None:
            return message.trace_id
        lineage = self._trace()
        return lineage.trace_id if lineage is not None else _lacks("trace_id")

    @property
    def remaining_seconds(self) -> float | None:
        """Time left until the deadline of this work, never below 0; `None` when it has none."""
        if self.lineage is None or self.lineage.deadline is None:
            return None
        return max(0.0, self.lineage.deadline - anyio.current_time())

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `udc.handler`; every line carries the trace id as `trace_id`."""
        lineage = self._trace()
        return TraceLog(handler_log, {"trace_id": lineage.trace_id if lineage is not None else None})

    @property
    def query(self) -> Verb:
        """Ask a peer something: `await ctx.query("billing", "balance", {...}, returns=Balance)`."""
        return Verb(self, MessageType.QUERY)

    @property
    def command(self) -> Verb:
        """Have a peer do something: `await ctx.command("printer", "print", {...})`."""
        return Verb(self, MessageType.COMMAND)

    @property
    def event(self) -> Verb:
        """Tell a peer what happened: `await ctx.event("audit", "printed", {...})`."""
        return Verb(self, MessageType.EVENT)

    @property
    def status(self) -> Verb:
        """Tell a peer how things stand: `await ctx.status("dashboard", "load", {...})`."""
        return Verb(self, MessageType.STATUS)

    @property
    def chat(self) -> Chat:
        """Talk to a peer: `reply = await ctx.chat("guide", "hello", session_id="s-1")`."""
        return Chat(self)

    async def call(
        self,
        target: DropletId,
        action: str,
        data: object = None,
        *,
        message_type: WrittenType = MessageType.QUERY,
        **options: Unpack[CallOptions],
    ) -> Reply:
        """Call a peer and return its whole receipt: `handled`, `duplicate`, `peer` and all.

        Raises and cancels as `query` does, `InvalidReply` for data excepted.
        """
        content = {"action": action, "data": data}
        return await self._home.sender.send(self._order(target, MessageType(message_type), content, **options))

    async def send(
        self,
        target: DropletId,
        message_type: WrittenType,
        payload: JsonObject,
        **options: Unpack[CallOptions],
    ) -> Reply:
        """Send a payload exactly as it is, for peers that want a form of their own; returns the receipt.

        Raises and cancels as `call` does.
        """
        order = self._order(target, MessageType(message_type), {"payload": payload}, **options)
        return await self._home.sender.send(order)

    @overload
    async def broadcast(
        self,
        action: str,
        data: object = None,
        *,
        message_type: WrittenType = MessageType.EVENT,
        capability: str | None = None,
        returns: TypeForm[T],
        **options: Unpack[CallOptions],
    ) -> Broadcast[T]: ...

    @overload
    async def broadcast(
        self,
        action: str,
        data: object = None,
        *,
        message_type: WrittenType = MessageType.EVENT,
        capability: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Broadcast[Any]: ...  # Any: without `returns=` only the caller knows what the peers send

    async def broadcast(
        self,
        action: str,
        data: object = None,
        *,
        message_type: WrittenType = MessageType.EVENT,
        capability: str | None = None,
        returns: object = UNSET,
        **options: Unpack[CallOptions],
    ) -> Broadcast[Any]:  # Any: see the overloads
        """Send one message to every droplet that is known, once per droplet id, ourselves left out.

        At most 64 at a time; nobody waits for a slow one but its own place. All share one deadline. A delivery
        that fails is part of the result, not an exception. On cancel those under way are given up.

        Args:
            action: what is told, or asked.
            data: the handler's data there: whatever can be made JSON.
            message_type: an event unless you say otherwise.
            capability: only to droplets that offer it.
            returns: the type to validate each answer against; one that does not fit is an error of that droplet.
            options: see `CallOptions`; `timeout_seconds` is the limit of the whole broadcast.

        Raises:
            HopLimit: the trace has been through 16 droplets; nothing was sent.
            TypeError: the data cannot be made JSON; nothing was sent.
        """
        everyone = "everyone" if capability is None else capability
        order = self._order(everyone, MessageType(message_type), {"action": action, "data": data}, **options)
        results = await self._home.sender.spread(order, capability=capability)
        return gathered(order, results, returns)

    @overload
    async def request(
        self,
        target: DropletId,
        method: str,
        path: str,
        body: object = UNSET,
        *,
        returns: TypeForm[T],
        instance_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> T: ...

    @overload
    async def request(
        self,
        target: DropletId,
        method: str,
        path: str,
        body: object = UNSET,
        *,
        instance_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Any: ...  # Any: without `returns=` only the caller knows what the peer sends

    async def request(
        self,
        target: DropletId,
        method: str,
        path: str,
        body: object = UNSET,
        *,
        returns: object = UNSET,
        instance_id: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:  # Any: see the overloads
        """Call an endpoint of a peer's own, and return the JSON that it answers with; `None` for an empty answer.

        `await ctx.request("shop", "GET", "/orders/7", returns=Order)`. The peer is found as for messages, gets our
        token for it, and a new one once after a 401. Where an instance refuses the connection the next one is
        asked; nothing else is tried twice: only you know whether a request may run again.
        On cancel it is given up; the peer may have worked on it.

        Args:
            target: the peer's id or name.
            method: upper case.
            path: from the peer's root, with the query: `/orders?limit=5`.
            body: whatever can be made JSON; without it there is none.
            returns: the type to validate the answer against, and the type returned.
            instance_id: this instance and no other.
            timeout_seconds: limit of the whole; by default as for messages. The handler's own counts as well.

        Raises:
            PeerError: the peer answered with an error.
            PeerUnreachable, ConnectionLost, CallTimeout, UnknownPeer: it did not answer.
            InvalidReply: the answer is no JSON, or not what `returns` asks for.
            TokenError: there is no token for the peer.
            ValueError: the path does not begin with a slash.
        """
        courier = self._home.courier
        if courier is None:
            raise LookupError("ctx.request: this context was made without a way to peers' endpoints")
        if not path.startswith("/"):
            raise ValueError(f"path is {path!r}: write it from the peer's root, with a slash first")
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}, not above 0")
        errand = Errand(
            target=target,
            method=method,
            path=path,
            lineage=self._onward(target),
            body=body,
            instance_id=instance_id,
            timeout_seconds=timeout_seconds,
        )
        data = await courier.run(errand)
        return data if returns is UNSET else fitted(data, returns, target, asked=f"{method} {path}", by=str(target))

    async def progress(self, percent: float, note: str = "") -> None:
        """Tell the Orchestrator how far a task is.

        Raises:
            LookupError: this is no task.
            ValueError: the percentage is not between 0 and 100.
        """
        if self._progress is None:
            raise LookupError("ctx.progress is for tasks, and this is none: declare the handler with @task")
        if not 0 <= percent <= 100:
            raise ValueError(f"percent is {percent}, not between 0 and 100")
        await self._progress(percent, note)

    def _trace(self) -> Lineage | None:
        """The lineage; for `droplet.mesh` the trace of the handler around, if there is one.

        That without its deadline: what a handler has started may outlive it.
        """
        if self.lineage is not None:
            return self.lineage
        around = current_context.get()
        if around is None or around.lineage is None:
            return None
        return Lineage(trace_id=around.lineage.trace_id, hops=around.lineage.hops)

    def _order(
        self,
        target: DropletId,
        message_type: MessageType,
        content: Mapping[str, Any],  # Any: `action` and `data`, or `payload`
        *,
        timeout_seconds: float | None = None,
        retries: int | None = None,
        priority: Priority | str = Priority.NORMAL,
        message_id: str | None = None,
    ) -> Order:
        if timeout_seconds is not None and not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}, not above 0")
        if retries is not None and retries < 0:
            raise ValueError(f"retries is {retries}, below 0")
        return Order(
            target=target,
            message_type=message_type,
            lineage=self._onward(target),
            timeout_seconds=timeout_seconds,
            retries=retries,
            priority=Priority(priority),
            message_id=message_id,
            **content,
        )

    def _onward(self, target: DropletId) -> Lineage:
        lineage = self._trace()
        if lineage is None:
            return Lineage(trace_id=self._home.ambient.new_id())
        if lineage.hops > MAX_HOPS:
            raise HopLimit(
                f"the call to {target!r} would be hop {lineage.hops} of trace {lineage.trace_id}; "
                f"{MAX_HOPS} are allowed",
                details={"target": target, "hops": lineage.hops},
            )
        return lineage


current_context: Final[ContextVar[Context | None]] = ContextVar("udc_current_context", default=None)
"""The context of the handler, hook or job that runs now: log lines take their trace id from it."""


def _lacks(name: str) -> NoReturn:
    raise LookupError(f"ctx.{name}: hooks, @every jobs and droplet.mesh answer no message; take it in a handler")
