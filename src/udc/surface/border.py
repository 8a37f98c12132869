"""The one place where a request becomes an answer, and where every error does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Protocol

import anyio

from udc._ids import Ambient
from udc._types import Access
from udc.context import current_context
from udc.errors import (
    ContractError,
    DeadlineExceeded,
    Draining,
    InternalError,
    NotFound,
    NotReady,
    PayloadTooLarge,
    RateLimited,
    UdcError,
)
from udc.identity.claims import Principal
from udc.instrument import Instrument, request_answered
from udc.lifecycle import Lifecycle, Phase
from udc.rings import current_droplet
from udc.surface._base import Endpoint, HttpRequest, HttpResponse, Shortcut, requested
from udc.surface.edge import Edge
from udc.surface.guard import Guard
from udc.surface.routes import Routes
from udc.wire import json_text
from udc.wire.faults import answer_for, encode_error

_log = logging.getLogger("udc.surface")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Limits(Protocol):
    """What the surface must know of the configuration."""

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""
        ...

    @property
    def body_timeout_seconds(self) -> float:
        """How long one may take to arrive."""
        ...


def check_accepts(lifecycle: Lifecycle) -> None:
    """Refuse new work in phases that take none.

    Raises:
        NotReady: before the droplet is ready, or after it failed.
        Draining: it is stopping, or has stopped.
    """
    if lifecycle.serving:
        return
    phase = lifecycle.phase
    if phase in (Phase.STOPPING, Phase.STOPPED):
        raise Draining("this droplet is stopping and takes no new work", retry_after_seconds=1)
    raise NotReady(f"this droplet is not ready yet (phase {phase})", retry_after_seconds=1)


class Busy:
    """How many requests are being worked on, so that a stop can wait for the last one."""

    def __init__(self) -> None:
        self.count: int = 0
        self._idle: anyio.Event | None = None

    @contextmanager
    def one(self) -> Any:  # Any: contextmanager's own typing
        """Count one request while it runs."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            if self.count == 0 and self._idle is not None:
                self._idle.set()
                self._idle = None

    async def until_idle(self) -> None:
        """Wait until none is being worked on."""
        while self.count:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()


class HttpSurface:
    """Answers HTTP requests by endpoint tables (implements the `Surface` seam).

    Attributes:
        max_body_bytes, body_timeout_seconds: see `Surface`.
        edge: dresses every answer.
        express: answers the messages that need no decision, if there is such a way.

    Args:
        table: all endpoints, the contract's and the droplet's own.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        table: Iterable[Endpoint],
        *,
        guard: Guard,
        lifecycle: Lifecycle,
        limits: Limits,
        busy: Busy,
        instrument: Instrument,
        ambient: Ambient,
        clock: Callable[[], float],
        instance_id: str,
        edge: Edge | None = None,
    ) -> None:
        self.edge: Edge = edge or Edge()
        self.routes: Routes = Routes(table)
        self._guard = guard
        self._lifecycle = lifecycle
        self.max_body_bytes: int = limits.max_body_bytes
        self.body_timeout_seconds: float = limits.body_timeout_seconds
        self.express: Shortcut | None = None
        self._busy = busy
        self._instrument = instrument
        self._ambient = ambient
        self._clock = clock
        self._instance_id = instance_id

    def limit(self, limits: Limits) -> None:
        """Hold to these from now on."""
        self.max_body_bytes, self.body_timeout_seconds = limits.max_body_bytes, limits.body_timeout_seconds

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer the request. Never raises but for cancellation."""
        if current_context.get() is not None:
            return await self._within(request)
        begun = self._clock()
        current_droplet.set(self._instance_id)
        endpoint: Endpoint | None = None
        code: str | None = None
        edge = self.edge
        try:
            if edge.rates is not None:
                edge.rates.admit_address(request)
            if request.method == "OPTIONS" and (answer := self._options(request)) is not None:
                self._note(request, None, answer, None, begun)
                return answer
            endpoint, request.params = self.routes.find(request.method, request.path)
            guarded = _is_guarded(endpoint)
            request.standing = standing = edge.standing(request.scheme, guarded=guarded)
            if guarded:
                request.principal = self._guard.recall(endpoint, request) or await self._guard.admit(endpoint, request)
                if edge.rates is not None:
                    edge.rates.admit_caller(request.principal)
            if endpoint.always:
                answer = await endpoint.handler(request)
            else:
                check_accepts(self._lifecycle)
                with self._busy.one():
                    answer = await endpoint.handler(request)
            response = answer if type(answer) is HttpResponse else _response(answer, endpoint)
            if response.headers is not standing or not edge.adds_nothing:
                response = edge.dressed(response, request, guarded=guarded)
        except Exception as error:  # noqa: BLE001 - the border: every failure becomes a contract error here
            fault = self._fault(error, request)
            code, response = fault.code, self._refusal(fault, request)
        self._note(request, endpoint, response, code, begun)
        return response

    async def _within(self, request: HttpRequest) -> HttpResponse:
        """Answer one that a handler has made in its own task: what runs here is this droplet's, not that handler's."""
        droplet, context = current_droplet.set(self._instance_id), current_context.set(None)
        try:
            return await self.handle(request)
        finally:
            current_context.reset(context)
            current_droplet.reset(droplet)

    def answer_failed(self, error: Exception, trace_id: str, scheme: str, begun: float) -> HttpResponse:
        """The answer to a message whose handler failed, for `Express`; counted."""
        request = requested("POST", "/message", {}, "", None, scheme)
        request.trace_id = trace_id
        fault = self._fault(error, request)
        response = self._refusal(fault, request)
        self._note(request, self.routes.find("POST", "/message")[0], response, fault.code, begun)
        return response

    def refuse_body(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body is over the limit (413)."""
        limit = self.max_body_bytes
        fault = PayloadTooLarge(
            f"the body is over {limit} bytes", details={"limit_bytes": limit}, hint="send less, or in parts"
        )
        return self.refuse_unread(fault, request)

    def refuse_late(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body did not arrive in time (408)."""
        seconds = self.body_timeout_seconds
        fault = DeadlineExceeded(f"the body did not arrive within {seconds:g} s", hint="send it faster, or less of it")
        return self.refuse_unread(fault, request)

    def refuse_unread(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        """The answer to a request whose body could not be read, as the fault says; it counts as all others do."""
        return self._refused(self._counted(fault, request), request)

    def turned_away(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a request whose body need not be waited for: no such path, or no token where one is needed."""
        if request.method == "OPTIONS":
            return None
        try:
            endpoint, _ = self.routes.find(request.method, request.path)
            self._guard.expect(endpoint, request)
        except ContractError as error:
            return self.refuse_unread(error, request)
        return None

    def _counted(self, fault: ContractError, request: HttpRequest) -> ContractError:
        """The fault of a request that is answered here, or that there were too many of them from its address."""
        try:
            if self.edge.rates is not None:
                self.edge.rates.admit_address(request)
        except RateLimited as limited:
            return limited
        return fault

    def _refused(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        response = self._refusal(fault, request)
        self._note(request, None, response, fault.code, self._clock())
        return response

    async def admit(self, request: HttpRequest, access: Access, *, scope: str | None) -> Principal:
        """Who calls an endpoint that is not in the table: a route of the application around the droplet.

        Raises:
            ContractError: they may not; see `Guard.admit`.
        """
        row = Endpoint(method=request.method, path=request.path, access=access, scope=scope, handler=_elsewhere)
        rates = self.edge.rates
        if rates is not None:
            rates.admit_address(request)
        principal = await self._guard.admit(row, request)
        if rates is not None:
            rates.admit_caller(principal)
        return principal

    def refuse(self, error: Exception, request: HttpRequest) -> HttpResponse:
        """The answer to what such a route raised."""
        return self._refusal(self._fault(error, request), request)

    def _options(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to `OPTIONS`, before any authentication; `None` where an endpoint of its own gives it."""
        allowed = self.routes.allowed(request.path)
        if "OPTIONS" in self.routes.methods(request.path) and not self.edge.is_preflight(request):
            return None
        return self.edge.options(request, allowed)

    def _fault(self, error: Exception, request: HttpRequest) -> ContractError:
        fault = answer_for(error)
        if not isinstance(error, UdcError):
            _log.error(
                "request failed",
                exc_info=error,
                extra={"method": request.method, "path": request.path, "trace_id": request.trace_id},
            )
        elif fault is not error:
            # Where the code asked a peer that is away tells nothing; where what became a 500 was raised does.
            where = error if fault.http_status == HTTPStatus.INTERNAL_SERVER_ERROR else None
            _log.warning(
                "%s became %s: %r",  # quoted: a peer may have worded it
                type(error).__name__,
                fault.code,
                str(error),
                exc_info=where,
                extra={"trace_id": request.trace_id},
            )
        return fault

    def _refusal(self, fault: ContractError, request: HttpRequest) -> HttpResponse:
        request.trace_id = request.trace_id or self._ambient.new_id()
        status, headers, body = encode_error(fault, trace_id=request.trace_id, now=self._ambient.now())
        return self.edge.dressed(HttpResponse(status=status, headers=headers, body=body), request, guarded=True)

    def _note(
        self, request: HttpRequest, endpoint: Endpoint | None, response: HttpResponse, code: str | None, begun: float
    ) -> None:
        self._instrument.emit(
            request_answered(
                request.method if request.method in _METHODS else "OTHER",
                endpoint.path if endpoint else "",
                response.status,
                self._clock() - begun,
                request.trace_id,
                code,
            )
        )


def _is_guarded(endpoint: Endpoint) -> bool:
    return endpoint.access != "public" or endpoint.authenticate is not None


async def _elsewhere(_: HttpRequest) -> HttpResponse:
    """Stands for a handler that is not ours to call.

    Raises:
        NotFound: always.
    """
    raise NotFound("this is answered by the application around the droplet")


def _response(answer: Any, endpoint: Endpoint) -> HttpResponse:  # Any: whatever a handler returns
    """The handler's answer as a response."""
    if isinstance(answer, HttpResponse):
        return answer
    try:
        return HttpResponse(body=json_text.write(answer))
    except TypeError as exc:
        _log.exception("an endpoint returned what JSON cannot hold", extra={"path": endpoint.path})
        raise InternalError(f"the handler of {endpoint.method} {endpoint.path} returned what JSON cannot hold") from exc
