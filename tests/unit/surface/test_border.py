"""The one border: every error has its answer, and what is no answer is logged with its traceback."""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from tests.unit.dispatch.kit import Peers
from udc import errors
from udc._ids import seeded
from udc.context import current_context
from udc.dispatch.contexts import Contexts
from udc.errors import ContractError, Draining, NotReady, UdcError
from udc.identity.verify import NoAuth
from udc.instrument import Event, Hook, Instrument, RequestAnswered
from udc.lifecycle import Lifecycle, Phase
from udc.rings import current_droplet, running_instance
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface.border import Busy, HttpSurface, check_accepts
from udc.surface.guard import FailureLimit, Guard

SECRET = "hunter2 in /etc/passwd"


class Limits:
    max_body_bytes = 100
    body_timeout_seconds = 7.0


class World:
    def __init__(self, handler: Any, *, phase: Phase = Phase.READY, hook: Hook | None = None, **row: Any) -> None:
        self.events: list[Event] = []
        self.busy = Busy()
        instrument = Instrument([self.events.append if hook is None else hook])
        endpoint = Endpoint(**{"method": "GET", "path": "/a/{b}", "access": "public", "handler": handler, **row})
        self.surface = HttpSurface(
            [endpoint],
            guard=Guard(
                verifier=NoAuth(),
                failures=FailureLimit(limit=1, window_seconds=1, clock=lambda: 0.0),
                instrument=instrument,
            ),
            lifecycle=Lifecycle(phase),
            limits=Limits,
            busy=self.busy,
            instrument=instrument,
            ambient=seeded(1, lambda: 0.0),
            clock=lambda: 0.0,
            instance_id="me",
        )

    async def ask(self, method: str = "GET", path: str = "/a/1", trace_id: str = "") -> HttpResponse:
        return await self.surface.handle(HttpRequest(method=method, path=path, trace_id=trace_id))


def raising(error: BaseException) -> Any:
    async def handler(_: HttpRequest) -> None:
        raise error

    return handler


def body(response: HttpResponse) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


FACTS = {"peer": "B", "status": 500, "code": "INTERNAL_ERROR"}
"""What errors need beside their text."""


def made(kind: type[UdcError]) -> UdcError:
    if kind is errors.BusinessError:
        return errors.BusinessError("QUOTA_SPENT", "none left", status=402)
    if kind is errors.ConfigError:
        return errors.ConfigError([SECRET])
    parameters = inspect.signature(kind).parameters.values()
    needed = {
        each.name: FACTS[each.name]
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    }
    return kind("what happened" if issubclass(kind, ContractError) else SECRET, **needed)


def all_kinds(kind: type[UdcError]) -> list[type[UdcError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in all_kinds(child))]


@pytest.mark.parametrize("kind", [each for each in all_kinds(UdcError) if each.__module__.startswith("udc")])
async def test_every_error_of_ours_has_its_answer(kind: type[UdcError], caplog: pytest.LogCaptureFixture) -> None:
    error = made(kind)
    world = World(raising(error))
    response = await world.ask(trace_id="tr-1")
    answer = body(response)
    if isinstance(error, ContractError):
        assert (response.status, answer["error"]["code"]) == (error.http_status, error.code)
        assert answer["error"]["message"] == error.message
        assert caplog.records == []
    else:
        expected = {
            errors.CallTimeout: (504, "TIMEOUT"),
            errors.TokenError: (503, "DEPENDENCY_UNAVAILABLE"),
        }.get(
            kind, (503, "DEPENDENCY_UNAVAILABLE") if issubclass(kind, errors.DeliveryError) else (500, "INTERNAL_ERROR")
        )
        assert (response.status, answer["error"]["code"]) == expected
        assert [record.exc_info is not None for record in caplog.records] == [response.status == 500]
    assert SECRET.encode() not in (response.body if isinstance(response.body, bytes) else b"")
    assert answer["trace_id"] == "tr-1"
    (event,) = world.events
    assert isinstance(event, RequestAnswered)
    assert (event.route, event.status, event.error_code) == ("/a/{b}", response.status, answer["error"]["code"])


@pytest.mark.parametrize("error", [ValueError(SECRET), RecursionError(SECRET), MemoryError(SECRET), OSError(SECRET)])
async def test_anything_else_is_internal_and_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Traps 40 and 45."""
    response = await World(raising(error)).ask()
    answer = body(response)
    assert (response.status, answer["error"]["code"], answer["error"]["details"]) == (500, "INTERNAL_ERROR", {})
    assert SECRET not in str(answer)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.ERROR, (type(error), error, error.__traceback__))
    assert len(answer["trace_id"]) == 36


@pytest.mark.parametrize(
    ("status", "code", "expected"), [(503, "NOT_READY", "DEPENDENCY_UNAVAILABLE"), (504, "TIMEOUT", "TIMEOUT")]
)
async def test_a_peer_that_failed_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture, status: int, code: str, expected: str
) -> None:
    error = errors.PeerError("not\nyet", peer="Stock", status=status, code=code)

    await World(raising(error)).ask(trace_id="tr-1")

    (record,) = caplog.records
    assert record.getMessage() == f"PeerError became {expected}: 'Stock answered {status} {code}: not\\nyet'"
    assert (record.levelno, record.exc_info, record.__dict__["trace_id"]) == (logging.WARNING, None, "tr-1")


async def test_a_peer_that_was_asked_wrongly_shows_where(caplog: pytest.LogCaptureFixture) -> None:
    error = errors.PeerError("no such thing", peer="Stock", status=404, code="NOT_FOUND")

    await World(raising(error)).ask()

    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error]


async def test_cancellation_passes() -> None:
    entered = anyio.Event()

    async def handler(_: HttpRequest) -> None:
        entered.set()
        await anyio.sleep_forever()

    world = World(handler)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.ask)
        await entered.wait()
        assert world.busy.count == 1
        tasks.cancel_scope.cancel()
    assert (world.busy.count, world.events) == (0, [])


class Model(BaseModel):
    n: int = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, b'{"a":1}'),
        (Model(), b'{"n":1}'),
        ([1.5, float("nan"), float("inf")], b"[1.5,null,null]"),
        (None, b"null"),
        ("text", b'"text"'),
    ],
)
async def test_what_handlers_return_becomes_json(value: object, expected: bytes) -> None:
    async def handler(_: HttpRequest) -> object:
        return value

    response = await World(handler).ask()
    assert (response.status, response.body, response.media_type) == (200, expected, "application/json")


@pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", {1: lambda: None}])
async def test_what_json_cannot_hold_is_internal(value: object, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: HttpRequest) -> object:
        return value

    response = await World(handler).ask()
    assert (response.status, body(response)["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert caplog.records[0].name == "udc.surface"


async def test_a_response_passes_as_it_is_and_the_droplet_is_known() -> None:
    response = HttpResponse(status=202)
    seen: list[str | None] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(current_droplet.get())
        assert request.params == {"b": "1"}
        return response

    answer = await World(handler).ask()
    assert (answer.status, answer.body, answer.media_type) == (202, b"", "application/json")
    assert seen == ["me"]


async def test_within_a_handler_of_another_droplet_it_is_this_one_that_runs() -> None:
    home = Contexts(sender=Peers(), ambient=seeded(1, lambda: 0.0), instance_id="other")
    seen: list[str | None] = []

    async def handler(_: HttpRequest) -> None:
        seen.append(running_instance())
        raise ValueError

    world = World(handler, hook=lambda _: seen.append(running_instance()))
    outer = current_context.set(home.tracing())
    try:
        assert (await world.ask()).status == 500
        assert running_instance() == "other"
        with pytest.raises(KeyboardInterrupt):
            await World(raising(KeyboardInterrupt())).ask()
        assert running_instance() == "other"
    finally:
        current_context.reset(outer)
    assert seen == ["me", "me"]
    assert running_instance() is None


async def test_a_body_over_the_limit_is_413_and_counted() -> None:
    world = World(raising(ValueError()))
    response = world.surface.refuse_body(HttpRequest(method="POST", path="/a/1"))
    assert (response.status, body(response)["error"]["details"]) == (413, {"limit_bytes": 100})
    (event,) = world.events
    assert isinstance(event, RequestAnswered)
    assert (event.method, event.route, event.status) == ("POST", "", 413)


async def test_an_unknown_method_is_counted_as_other() -> None:
    world = World(raising(ValueError()))
    await world.ask("BREW", "/a/1")
    (event,) = world.events
    assert isinstance(event, RequestAnswered)
    assert (event.method, event.status) == ("OTHER", 405)


@pytest.mark.parametrize("phase", list(Phase))
async def test_which_phases_take_work(phase: Phase) -> None:
    async def handler(_: HttpRequest) -> None: ...

    expected = {Phase.READY: 200, Phase.DEGRADED: 200}.get(phase, 503)
    response = await World(handler, phase=phase).ask()
    assert response.status == expected
    assert (await World(handler, phase=phase, always=True).ask()).status == 200
    if expected == 503:
        kind = Draining if phase in (Phase.STOPPING, Phase.STOPPED) else NotReady
        assert body(response)["error"]["code"] == kind.code
        with pytest.raises(kind):
            check_accepts(Lifecycle(phase))


async def test_who_may_not_is_told_that_before_the_phase() -> None:
    world = World(raising(ValueError()), phase=Phase.STARTING, access="read")
    assert (await world.ask()).status == 503  # anonymous may; the phase does not


async def test_waiting_until_nothing_is_worked_on() -> None:
    go_on = anyio.Event()

    async def handler(_: HttpRequest) -> None:
        await go_on.wait()

    world = World(handler)
    await world.busy.until_idle()
    done: list[str] = []

    async def wait() -> None:
        await world.busy.until_idle()
        done.append("idle")

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(world.ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert (world.busy.count, done) == (2, [])
        go_on.set()
    assert done == ["idle", "idle"]


def test_the_caller_of_a_public_endpoint_is_unknown() -> None:
    with pytest.raises(LookupError, match="GET /a is public"):
        _ = HttpRequest(method="GET", path="/a").caller
