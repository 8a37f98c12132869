"""Running handlers: from a message to an outcome, under a deadline, a limit and one border for what fails."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio

from udc._drafts import draft_of
from udc._ids import Ambient
from udc.context import Context, Progress, current_context
from udc.dispatch.contexts import Contexts
from udc.dispatch.deadlines import bare_tasks
from udc.dispatch.declare import Kind
from udc.dispatch.failures import ANSWERS, MAX_TOLD, Failures, code_of, told
from udc.dispatch.inflight import InFlight, Work
from udc.dispatch.plan import Queued
from udc.dispatch.quick import Quick, quick_handlers
from udc.dispatch.table import Bound, Handler, HandlerTable, Job
from udc.dispatch.threads import ThreadSlots
from udc.errors import DeadlineExceeded, Forbidden, InternalError, NoHandler
from udc.identity.claims import Principal
from udc.instrument import Instrument, message_handled
from udc.messages import Message

__all__ = ["CallNext", "DispatchLimits", "Dispatcher", "Middleware", "Outcome"]

_log = logging.getLogger("udc.dispatch")

_SURVIVES_ITS_CALLER: Final = frozenset({"command", "event"})
"""A task has no caller to lose: it runs in the background, and who runs it may cancel it."""
_NEEDS_NO_HANDLER: Final = frozenset({"event", "status", "response", "error"})

CallNext: TypeAlias = Callable[[Context], Awaitable[Any]]  # Any: whatever the handler returns
"""The next layer inwards, at last the handler."""


class Middleware(Protocol):
    """Something around every handler: may wait, veto (by raising a `ContractError`), or change the result."""

    async def __call__(self, ctx: Context, call_next: CallNext) -> Any:  # Any: whatever the handler returns
        """Call `await call_next(ctx)` for the result; the handler's data is bound inside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a message.

    Attributes:
        result: `success`, or `queued` when the work goes on.
        handled: whether a handler took it.
        data: what it returned, as JSON.
    """

    result: str = "success"
    handled: bool = True
    data: bytes = b"null"


_OutcomeDraft: Final = draft_of(Outcome)


def _done(data: bytes) -> Outcome:
    draft = _OutcomeDraft()
    draft.result = "success"
    draft.handled = True
    draft.data = data
    draft.__class__ = Outcome
    made: Outcome = draft
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchLimits:
    """How much, and for how long.

    Attributes:
        in_flight: messages at once.
        threads: sync handlers at once.
        timeout_seconds: for handlers that name no time of their own; tasks have none.
        retry_after_seconds: told to callers who find no room.
    """

    in_flight: int = 1000
    threads: int = 40
    timeout_seconds: float = 30.0
    retry_after_seconds: float = 1.0


class Dispatcher:
    """Runs the handlers, hooks and jobs of a table. One event loop.

    Attributes:
        in_flight: what runs now; cancel and drain through it.

    Args:
        table: gets frozen here, so that no type is left to resolve.
        middleware: the first is the outermost.
        threads: false runs sync handlers in line, for virtual time.
        clock: the loop's monotonic seconds.
    """

    def __init__(
        self,
        table: HandlerTable,
        *,
        contexts: Contexts,
        middleware: Sequence[Middleware] = (),
        instrument: Instrument,
        ambient: Ambient,
        limits: DispatchLimits = DispatchLimits(),
        threads: bool = True,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        table.freeze()
        self._clock = clock
        self.in_flight: InFlight = InFlight(
            limits.in_flight, retry_after_seconds=limits.retry_after_seconds, bare_task=bare_tasks()
        )
        self._table = table
        self._contexts = contexts
        self._middleware = tuple(middleware)
        self._instrument = instrument
        self._failures = Failures(instrument)
        self._ambient = ambient
        self._limits = limits
        self._threads = ThreadSlots(limits.threads) if threads else None

    async def dispatch(
        self,
        message: Message,
        principal: Principal,
        *,
        kind: Kind | None = None,
        progress: Progress | None = None,
        arrived: float | None = None,
    ) -> Outcome:
        """Run the message's handler.

        When its caller is cancelled, a query or status is too; a command, event or task runs to its end
        first. All of them end with their deadline, `cancel_trace` and `cancel_all`.

        Args:
            kind: "task" or "chat" for those; else the message's type counts.
            progress: takes what a task reports.
            arrived: when the message came, by `anyio.current_time()`; default: now.

        Raises:
            NoHandler: no handler takes the query, command, task or chat.
            Forbidden: the caller lacks the handler's scope.
            DeadlineExceeded: it is past its deadline; nothing ran.
            Overloaded: too much is in flight, or no thread came free; nothing ran.
            InvalidRequest: the data does not fit the handler's signature.
            Timeout: the handler was not done by the deadline.
            BusinessError: the handler's own, or `CANCELLED` (see `Work.ending`).
            InternalError: the handler failed; the log knows how.
            DeliveryError, TokenError: a call of the handler's failed, and it let that pass.
        """
        what: str = kind or message.message_type
        handler = self._table.find(what, message.action)
        if handler is None:
            if what in _NEEDS_NO_HANDLER:
                return Outcome(handled=False)
            raise _no_handler(str(what), message.action, self._table)
        if handler.scope is not None:
            _check_scope(handler, principal)
        return await self._run(handler, message, principal, progress, arrived)

    async def _run(
        self,
        handler: Handler,
        message: Message,
        principal: Principal,
        progress: Progress | None,
        arrived: float | None,
    ) -> Outcome:
        started = self._clock()
        deadline = self._deadline(message, handler, started if arrived is None else arrived, started)
        source = message.source
        work = self.in_flight.enter(
            message.trace_id,
            principal.droplet_id if source is None else source,
            deadline,
            handler.kind in _SURVIVES_ITS_CALLER,
        )
        ctx = self._contexts.answering(message, principal, None if deadline == math.inf else deadline, progress)
        code: str | None = "CANCELLED"
        try:
            # The seam of the time limit: everything that runs for a message runs in here.
            with work:
                outcome = await self._guarded(work, handler, ctx)
                code = None
                return outcome
            raise work.ending() or InternalError("the work ended without a result")
        except ANSWERS as error:
            code = code_of(error)
            raise
        finally:
            self._instrument.emit(
                message_handled(
                    handler.kind,
                    told(handler, message.action),
                    source,
                    self._clock() - started,
                    message.trace_id,
                    code,
                )
            )

    def quick(self, kind: Kind) -> Mapping[str, Quick]:
        """The handlers of that kind that may be called without asking this dispatcher anything, by action."""
        return {} if self._middleware else quick_handlers(self._table.of_kind(kind), self._limits.timeout_seconds)

    def ended(
        self, error: BaseException, work: Work, handler: Handler, ctx: Context, started: float
    ) -> Exception | None:
        """What becomes of an error that a `Quick` handler has raised: the same as of one that `dispatch` runs.

        `None`: it is no failure but somebody else's cancellation; raise it again.
        """
        fault: Exception | None = None
        try:
            if isinstance(error, Exception):
                fault = self._failures.of(handler, ctx, error)
        finally:  # whatever a hook may raise that hears of it: what is over must not stay in flight
            if work.__exit__(type(error), error, error.__traceback__):
                fault = work.ending() or InternalError("the work ended without a result")
            code = "CANCELLED" if fault is None else code_of(fault)
            seconds, action = self._clock() - started, told(handler, ctx.message.action)
            source = ctx.message.source
            self._instrument.emit(message_handled(handler.kind, action, source, seconds, ctx.trace_id, code))
        return fault

    async def run_hook(self, hook: Bound) -> None:
        """Run a start, ready or stop hook; what it raises passes."""
        await self._plainly(hook)

    async def run_job(self, job: Job) -> None:
        """Run a job once, under its own time limit; what it raises passes.

        Raises:
            TimeoutError: it was not done in time.
        """
        with anyio.fail_after(job.spec.timeout_seconds):
            await self._plainly(job)

    def _deadline(self, message: Message, handler: Handler, arrived: float, now: float) -> float:
        own = handler.timeout_seconds
        if own is None:
            own = math.inf if handler.kind == "task" else self._limits.timeout_seconds
        theirs = math.inf
        if message.timeout_ms is not None:
            theirs = arrived + message.timeout_ms / 1000
        if message.deadline is not None:
            theirs = min(theirs, now + message.deadline.timestamp() - self._ambient.wall())
        if theirs <= now:
            what = f"{handler.kind} {told(handler, message.action)!r}"
            raise DeadlineExceeded(f"the deadline of {what} passed {now - theirs:.3f} s ago; nothing ran")
        return min(theirs, now + own)

    async def _guarded(self, work: Work, handler: Handler, ctx: Context) -> Outcome:
        """The border: what is no answer is logged, and answered without a word of it."""
        token = current_context.set(ctx)
        try:
            if self._middleware:
                value = await self._layers(work, handler)(ctx)
            elif handler.awaits:
                value = await handler.call(**handler.plan.arguments(ctx.message.data, ctx))
            else:
                value = await self._invoke(work, handler, ctx)
            if isinstance(value, Queued):
                queued = cast("Queued[object]", value)
                return Outcome(result="queued", data=handler.plan.encode(queued.data))
            return _done(handler.plan.encode(value))
        except ANSWERS:
            raise
        except Exception as error:  # the border of the droplet's own code
            raise self._failures.of(handler, ctx, error) from error
        finally:
            current_context.reset(token)

    def _layers(self, work: Work, handler: Handler) -> CallNext:
        call_next: CallNext = partial(self._invoke, work, handler)
        for layer in reversed(self._middleware):
            call_next = partial(_step, layer, call_next)
        return call_next

    async def _invoke(self, work: Work | None, bound: Bound, ctx: Context) -> Any:  # Any: whatever it returns
        args, kwargs = bound.plan.bind(ctx.message.data if isinstance(bound, Handler) else None, ctx)
        if bound.awaits:
            return await bound.call(*args, **kwargs)
        if self._threads is None:
            value = bound.call(*args, **kwargs)
        else:
            value = await self._in_thread(work, partial(bound.call, *args, **kwargs))
        # A sync function that hands back a coroutine: decorators that do not know about async make such.
        return await value if inspect.isawaitable(value) else value

    async def _in_thread(self, work: Work | None, call: Callable[[], Any]) -> Any:  # Any: whatever it returns
        if self._threads is None or work is None:  # hooks and jobs do not compete with messages
            (value,) = await anyio.to_thread.run_sync(lambda: (call(),))  # Trio refuses a bare coroutine
            return value
        work.waits_for_thread = True
        return await self._threads.run(call, started=work.got_thread)

    async def _plainly(self, bound: Bound) -> None:
        ctx = self._contexts.tracing()
        token = current_context.set(ctx)
        try:
            await self._invoke(None, bound, ctx)
        finally:
            current_context.reset(token)


async def _step(layer: Middleware, call_next: CallNext, ctx: Context) -> Any:  # Any: whatever the handler returns
    return await layer(ctx, call_next)


def _check_scope(handler: Handler, principal: Principal) -> None:
    scope = handler.scope
    if scope is not None and scope not in principal.scopes and "admin" not in principal.permissions:
        raise Forbidden(
            f"{handler.kind} {handler.action!r} needs the scope {scope!r}, which the token lacks",
            details={"scope": scope},
            hint=f"ask for a token with the scope {scope!r}",
        )


def _no_handler(what: str, action: str | None, table: HandlerTable) -> NoHandler:
    known = table.known(what)
    if what == "chat":
        return NoHandler("this droplet has no chat handler")
    if action is None:
        return NoHandler(
            f"the {what} names no action; known: {_listed(known)}",
            details={"action": None, "known": known},
            hint='name it in the payload, for example {"type": "quota", "data": {}}',
        )
    other = next((kind for kind in ("query", "command") if kind != what and action in table.known(kind)), None)
    action = action[:MAX_TOLD]
    return NoHandler(
        f"no handler for {what} {action!r}; known: {_listed(known)}",
        details={"action": action, "known": known},
        hint=None if other is None else f"{action!r} is a {other} here; send it as one",
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
