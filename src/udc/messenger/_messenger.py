"""The outgoing send: one call, one deadline, as many tries as are safe, and a reply or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import anyio

from udc._ids import Ambient
from udc._types import DropletId
from udc.context import Order
from udc.directory import Directory
from udc.errors import ConfigError, ConnectionLost, DeliveryError, HopLimit, PeerError, PeerUnreachable, TokenError
from udc.instrument import Instrument
from udc.messages import MAX_HOPS, Message, MessageType, Peer, Reply
from udc.messenger._call import Call, attempted, failure_of, finished, late, out_of_reach
from udc.messenger._spread import to_each
from udc.retry import RetryPolicy, may_have_run, may_retry, retrying, takes_no_work
from udc.transports._base import Transport
from udc.wire.envelope import compose
from udc.wire.json_text import Prewritten

_REPEATABLE: Final = (MessageType.QUERY, MessageType.STATUS)
_DEFAULT_SECONDS: Final = 10.0
_INSTANCES: Final = 5
"""How many instances are tried in one go: a droplet whose hundred instances all refuse must not be asked by all."""


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
        unreachable: told of each droplet that could not be reached after the last try.
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
        unreachable: Callable[[DropletId | None], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._transports = dict(transports)
        self._me = me
        self._ambient = ambient
        self._instrument = instrument
        self._retry = retry or RetryPolicy()
        self._timeout_seconds = timeout_seconds
        self._unreachable = unreachable
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
            raise late(call)
        except BaseException as error:
            failure = failure_of(error)
            if call.peer is not None and call.peer.id != self._me and out_of_reach(call, error):
                self._unreachable(call.peer.id)
            raise
        finally:
            self._forget(call)
            self._instrument.emit(finished(call, failure))

    async def spread(
        self, order: Order, *, capability: str | None
    ) -> Mapping[DropletId, Reply | DeliveryError | TokenError]:
        """Deliver once to each droplet that is known (with `capability`: that offers it), ourselves left out.

        The payload is made JSON once. All share one deadline. On cancel those under way are given up.

        Raises:
            HopLimit: the trace has been through 16 droplets; nothing was sent.
            TypeError: the data cannot be made JSON; nothing was sent.
        """
        message = self._message(order)
        shared = replace(
            order,
            action=None,
            data=None,
            payload=Prewritten(message.payload),
            lineage=replace(order.lineage, deadline=self._deadline(order, anyio.current_time())),
        )
        others = [each for each in self._directory.droplets(capability=capability) if each != self._me]
        return await to_each(others, lambda target: self.send(replace(shared, target=target)))

    def _begin(self, order: Order) -> Call:
        now = anyio.current_time()
        return Call(order, self._message(order), began=now, deadline=self._deadline(order, now))

    def _deadline(self, order: Order, now: float) -> float:
        allowed = self._timeout_seconds if order.timeout_seconds is None else order.timeout_seconds
        inherited = order.lineage.deadline
        return now + allowed if inherited is None else min(now + allowed, inherited)

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

    async def _tried(self, call: Call) -> Reply:
        order, policy = call.order, self._retry
        if order.retries is not None:
            policy = replace(policy, attempts=order.retries + 1)

        def again(error: DeliveryError) -> bool:
            call.last = error
            known = call.peer is not None and call.peer.ours and call.message.message_id is not None
            return may_retry(error, order.message_type, deduplicated=known)

        return await retrying(
            lambda _: self._attempt(call),
            policy=policy,
            again=again,
            chance=self._ambient.chance,
            deadline=call.deadline,
        )

    async def _attempt(self, call: Call) -> Reply:
        """One try, at one instance after the other until one takes the message.

        Finds them anew each time, since one that refused may have moved.
        """
        first, *others = self._eligible(call, await self._directory.candidates(call.order.target))
        for peer in (first, *others[: _INSTANCES - 1]):
            try:
                return await self._deliver(call, peer)
            except (PeerUnreachable, ConnectionLost, PeerError) as error:
                call.last = error
                if isinstance(error, ConnectionLost) or takes_no_work(error):
                    self._directory.avoid(peer)
                if not takes_no_work(error):
                    raise
        raise call.last or PeerUnreachable(f"{call.label} has no instance", peer=call.label)

    def _eligible(self, call: Call, peers: Sequence[Peer]) -> Sequence[Peer]:
        """Those that may be asked: work that one may have begun is repeated there only, for others do not know it."""
        if call.bound is None:
            return peers
        same = [peer for peer in peers if peer.endpoint == call.bound.endpoint]
        if not same and call.last is not None:
            raise call.last
        return same

    async def _deliver(self, call: Call, peer: Peer) -> Reply:
        call.peer = peer
        transport = self._transport(peer)
        self._note(call, peer)
        call.attempts += 1
        began = anyio.current_time()
        message = replace(
            call.message,
            target=peer.id,
            attempt=call.attempts,
            timeout_ms=max(1, round((call.deadline - began) * 1000)),
        )
        failure: str | None = None
        try:
            return await transport.deliver(peer, message)
        except BaseException as error:
            failure = failure_of(error)
            if call.order.message_type not in _REPEATABLE and may_have_run(error):
                call.bound = peer
            raise
        finally:
            self._instrument.emit(attempted(message, peer, anyio.current_time() - began, failure))

    def _transport(self, peer: Peer) -> Transport:
        scheme = peer.endpoint.partition("://")[0].lower()
        transport = self._transports.get(scheme)
        if transport is None:
            known = ", ".join(sorted(self._transports)) or "none"
            problem = f"no transport for {scheme!r} addresses such as {peer.endpoint!r}; there are: {known}"
            raise PeerUnreachable(f"{peer.label}: {problem}", peer=peer.label) from ConfigError([problem])
        return transport

    def _note(self, call: Call, peer: Peer) -> None:
        """Count the peer among those at work, until the whole call ends: one that was lost may still be."""
        if peer not in call.asked:
            call.asked.append(peer)
            self._under_way.setdefault(call.message.trace_id, []).append(peer)

    def _forget(self, call: Call) -> None:
        peers = self._under_way.get(call.message.trace_id, [])
        for peer in call.asked:
            peers.remove(peer)
        if not peers:
            self._under_way.pop(call.message.trace_id, None)
