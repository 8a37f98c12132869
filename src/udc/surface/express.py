"""The usual query, gone through in one step: checked in full, run, counted and answered by one function.

Nearly every message of a mesh that does well is a query in the contract's own form, with a token that was seen before,
to a coroutine handler of a droplet that serves. What `HttpSurface`, `Guard`, `Messages` and `Dispatcher` would ask of
such a one is asked here too, all of it, but without a call for each question. Whatever is unusual in any way is left to
them, before anything has happened and without a word: who may not come in, and how anything is refused, is decided
there alone. A test sends the same requests both ways and compares all that can be seen of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from udc.context import Context, current_context
from udc.dispatch.plan import Queued
from udc.instrument import log_raised
from udc.messages import MAX_HOPS, MessageType
from udc.surface._base import HttpResponse, Standing
from udc.wire.plain import envelope_reader, message_of
from udc.wire.receipts import encode_receipt

if TYPE_CHECKING:
    from udc._ids import Stamps
    from udc._types import DropletId
    from udc.dispatch.contexts import Contexts
    from udc.dispatch.inflight import InFlight
    from udc.dispatch.quick import Quick
    from udc.dispatch.run import Dispatcher
    from udc.identity.claims import Principal
    from udc.instrument import Instrument, Tally
    from udc.lifecycle import Lifecycle
    from udc.surface.border import HttpSurface

_QUERY: Final = MessageType.QUERY
_MAY_WRITE: Final = frozenset({"write", "admin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What the usual way leads through.

    Attributes:
        recall: see `Recalls`.
    """

    recall: Callable[[bytes], Principal | None]
    lifecycle: Lifecycle
    dispatcher: Dispatcher
    contexts: Contexts
    instrument: Instrument
    clock: Callable[[], float]
    stamps: Stamps


class Express:
    """Answers the usual queries of one droplet.

    Args:
        surface: answers all others, and failures.
        me: this droplet's id.
    """

    def __init__(self, surface: HttpSurface, ways: Ways, *, me: DropletId) -> None:
        self._surface = surface
        self._me = me
        self._recall, self._lifecycle, self._dispatcher = ways.recall, ways.lifecycle, ways.dispatcher
        self._in_flight: InFlight = ways.dispatcher.in_flight
        self._quick: Mapping[str, tuple[Quick, tuple[Tally, ...]]] = {
            action: (quick, ways.instrument.tallies(quick.action))
            for action, quick in ways.dispatcher.quick("query").items()
        }
        self._home = ways.contexts
        self._clock, self._stamp = ways.clock, ways.stamps.now
        self._read = envelope_reader()

    def standing(self, scheme: str) -> Standing:
        """The headers of an answer 200."""
        return self._surface.edge.standing(scheme, guarded=True)

    async def answer(self, token: bytes, body: bytes, scheme: str) -> bytes | HttpResponse | None:
        """See `Shortcut`: the receipt of a usual query, or the refusal that its handler has earned it."""
        begun = self._clock()
        try:
            principal = self._recall(token)
        except Exception:  # noqa: BLE001 - somebody's own verifier: it is asked again where there is an answer to it
            return None
        if principal is None or principal.anonymous or not self._surface.edge.is_plain or not self._lifecycle.serving:
            return None
        if b'"query"' not in body or (read := self._read(body)) is None:
            return None
        envelope, action, data = read
        known = None if action is None else self._quick.get(action)
        source = principal.droplet_id
        if (
            known is None
            or envelope.message_type is not _QUERY
            or source is None
            or (envelope.source is not None and envelope.source != source)
            or (envelope.target is not None and envelope.target != self._me)
            or envelope.hops > MAX_HOPS
            or envelope.deadline is not None
            or principal.permissions.isdisjoint(_MAY_WRITE)
        ):
            return None
        quick, tallies = known
        trace_id, deadline = envelope.trace_id, begun + quick.limit_seconds
        if (timeout_ms := envelope.timeout_ms) is not None and timeout_ms < quick.limit_ms:
            if not timeout_ms:
                return None
            deadline = begun + timeout_ms / 1000
        work = self._in_flight.enter_bare(trace_id, source, deadline)
        if work is None:
            return None
        ctx = Context(self._home, partial(message_of, read, len(body), source, self._me), principal, deadline)
        outer = current_context.set(ctx)
        result = "success"
        try:
            try:
                value = await quick.call(**quick.plan.arguments(data, ctx))
                if isinstance(value, Queued):
                    result, value = "queued", value.data
                answer = quick.plan.encode(value)
            except BaseException as error:
                fault = self._dispatcher.ended(error, work, quick.handler, ctx, begun)
                if fault is None:
                    raise  # somebody else's cancellation
                return self._surface.answer_failed(fault, trace_id, scheme, begun)
            self._in_flight.leave(work)
            receipt = encode_receipt(trace_id, self._stamp(), result, True, answer, envelope.message_id, False)
            seconds = self._clock() - begun
            for tell in tallies:
                try:
                    tell(source, seconds, trace_id)
                except Exception:  # noqa: BLE001 - a border: an observer must not break what it observes
                    log_raised(tell)
            return receipt
        finally:
            current_context.reset(outer)
