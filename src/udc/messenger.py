"""The outgoing send: one call, one deadline, as many tries as are safe, and a reply or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import anyio

from udc._ids import Ambient
from udc._types import DropletId
from udc.context import Order
from udc.directory import Directory
from udc.errors import CallTimeout, ConfigError, DeliveryError, HopLimit, PeerUnreachable
from udc.instrument import Instrument, SendAttempted, SendFinished
from udc.messages import MAX_HOPS, Message, MessageType, Peer, Reply
from udc.retry import RetryPolicy, may_retry, retrying
from udc.transports._base import Transport
from udc.wire.envelope import compose

_REPEATABLE: Final = (MessageType.QUERY, MessageType.STATUS)
_DEFAULT_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Call:
    """What one call knows of itself while it goes on."""

    order: Order
    message: Message
    began: float
    deadline: float
    peer: Peer | None = None
    attempts: int = 0
    last: DeliveryError | None = None
    asked: list[Peer] = field(default_factory=list)

    @property
    def label(self) -> str:
        return self.peer.label if self.peer is not None else str(self.order.target)


class Messenger:
    """Sends orders to peers (the `Sender` behind every context). Any number of calls may be under way.

    Args:
        directory: finds the peer.
        transports: by the scheme of a peer's endpoint (`http`, `https`, `memory` …).
        me: who sends.
        ambient: fresh ids, wall time and chance.
        instrument: is told of every try and of every call's end.
        retry: how often and how patiently a call is tried.
        timeout_seconds: a call's overall deadline when neither the order nor its lineage sets an earlier one.
    """

    def __init__(
        self,
        directory: Directory,
        transports: Mapping[str, Transport],
        *,
        me: DropletId,
        ambient: Ambient,
        instrument: Instrument,
        retry: RetryPolicy | None = None,
        timeout_seconds: float = _DEFAULT_SECONDS,
    ) -> None:
        self._directory = directory
        self._transports = dict(transports)
        self._me = me
        self._ambient = ambient
        self._instrument = instrument
        self._retry = retry or RetryPolicy()
        self._timeout_seconds = timeout_seconds
        self._under_way: dict[str, list[Peer]] = {}

    def pending(self, trace_id: str) -> list[Peer]:
        """The peers that work on a trace for us now, each once: whom a `cancel_trace` must be passed on to."""
        return list(dict.fromkeys(self._under_way.get(trace_id, ())))

    async def send(self, order: Order) -> Reply:
        """Send and wait for the reply, for as long as the order or what it was made in allows.

        All tries carry one `message_id`; `attempt` counts up. On cancel the call is given up, and the peer may
        still work on it.

        Raises:
            PeerError: the peer answered with an error.
            PeerUnreachable, ConnectionLost: no answer, after the tries that were safe.
            CallTimeout: the call's deadline passed first.
            UnknownPeer: nobody has that id or name.
            InvalidReply: the answer is no receipt.
            HopLimit: the trace has been through 16 droplets; nothing was sent.
            TokenError: there is no token for the peer.
        """
        call = self._begin(order)
        failure: str | None = None
        try:
            with anyio.CancelScope(deadline=call.deadline):
                if call.began < call.deadline:  # else not even the first step
                    return await self._tried(call)
            raise _late(call)
        except BaseException as error:
            failure = _failure(error)
            raise
        finally:
            self._forget(call)
            self._instrument.emit(_finished(call, failure))

    def _begin(self, order: Order) -> _Call:
        now = anyio.current_time()
        allowed = self._timeout_seconds if order.timeout_seconds is None else order.timeout_seconds
        inherited = order.lineage.deadline
        deadline = now + allowed if inherited is None else min(now + allowed, inherited)
        return _Call(order, self._message(order), began=now, deadline=deadline)

    def _message(self, order: Order) -> Message:
        lineage = order.lineage
        if lineage.hops > MAX_HOPS:
            raise HopLimit(f"this trace has been through {MAX_HOPS} droplets; it is not sent on to {order.target}")
        message_id = order.message_id
        if message_id is None and order.message_type not in _REPEATABLE:
            message_id = self._ambient.new_id()
        return compose(
            order.message_type,
            order.action,
            order.data,
            payload=order.payload,
            source=self._me,
            trace_id=lineage.trace_id,
            timestamp=self._ambient.now(),
            message_id=message_id,
            hops=lineage.hops,
            on_behalf_of=lineage.on_behalf_of,
            priority=order.priority,
        )

    async def _tried(self, call: _Call) -> Reply:
        order, policy = call.order, self._retry
        if order.retries is not None:
            policy = replace(policy, attempts=order.retries + 1)

        def again(error: DeliveryError) -> bool:
            call.last = error
            known = call.peer is not None and call.peer.ours and call.message.message_id is not None
            return may_retry(error, order.message_type, deduplicated=known)

        return await retrying(
            lambda number: self._attempt(call, number),
            policy=policy,
            again=again,
            chance=self._ambient.chance,
            deadline=call.deadline,
        )

    async def _attempt(self, call: _Call, number: int) -> Reply:
        """One delivery; finds the peer anew, since one that was refused may have moved."""
        call.peer = peer = await self._directory.resolve(call.order.target)
        transport = self._transport(peer)
        self._note(call, peer)
        call.attempts = number
        began = anyio.current_time()
        message = replace(
            call.message,
            target=peer.id,
            attempt=number,
            timeout_ms=max(1, round((call.deadline - began) * 1000)),
        )
        failure: str | None = None
        try:
            return await transport.deliver(peer, message)
        except BaseException as error:
            failure = _failure(error)
            raise
        finally:
            self._instrument.emit(_attempted(message, peer, anyio.current_time() - began, failure))

    def _transport(self, peer: Peer) -> Transport:
        scheme = peer.endpoint.partition("://")[0].lower()
        transport = self._transports.get(scheme)
        if transport is None:
            known = ", ".join(sorted(self._transports)) or "none"
            problem = f"no transport for {scheme!r} addresses such as {peer.endpoint!r}; there are: {known}"
            raise PeerUnreachable(f"{peer.label}: {problem}", peer=peer.label) from ConfigError([problem])
        return transport

    def _note(self, call: _Call, peer: Peer) -> None:
        """Count the peer among those at work, until the whole call ends: one that was lost may still be."""
        if peer not in call.asked:
            call.asked.append(peer)
            self._under_way.setdefault(call.message.trace_id, []).append(peer)

    def _forget(self, call: _Call) -> None:
        peers = self._under_way.get(call.message.trace_id, [])
        for peer in call.asked:
            peers.remove(peer)
        if not peers:
            self._under_way.pop(call.message.trace_id, None)


def _late(call: _Call) -> CallTimeout:
    kind, action = call.order.message_type.value, call.message.action
    what = f"{kind} {action!r}" if action else kind
    if not call.attempts:
        text = f"no time was left to send {what} to {call.label}: its deadline had passed"
        return CallTimeout(text, peer=call.label)
    tries = f"{call.attempts} attempt{'s' if call.attempts != 1 else ''}"
    last = f"; the last one that ended: {call.last}" if call.last is not None else ""
    seconds = f"{call.deadline - call.began:.3g} s"
    return CallTimeout(f"{call.label} did not answer {what} within {seconds} ({tries}{last})", peer=call.label)


def _failure(error: BaseException) -> str:
    """The class's name; for a cancellation one word, whatever the backend's class is called."""
    return type(error).__name__ if isinstance(error, Exception) else "Cancelled"


def _attempted(message: Message, peer: Peer, seconds: float, failure: str | None) -> SendAttempted:
    return SendAttempted(
        peer=peer.label,
        message_type=message.message_type.value,
        action=message.action,
        attempt=message.attempt,
        seconds=seconds,
        trace_id=message.trace_id,
        error=failure,
    )


def _finished(call: _Call, failure: str | None) -> SendFinished:
    return SendFinished(
        peer=call.label,
        message_type=call.order.message_type.value,
        action=call.message.action,
        attempts=call.attempts,
        seconds=anyio.current_time() - call.began,
        trace_id=call.message.trace_id,
        error=failure,
    )
