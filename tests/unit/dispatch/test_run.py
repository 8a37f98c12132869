from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from tests.unit.dispatch.kit import WALL, Droplet, World, message, principal
from udc.context import Context, current_context
from udc.dispatch.declare import chat, command, event, every, on_start, query, status, task
from udc.dispatch.plan import Queued
from udc.dispatch.run import CallNext, DispatchLimits, Outcome
from udc.errors import (
    BusinessError,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    InvalidRequest,
    NoHandler,
    Overloaded,
    PeerError,
    TokenError,
)
from udc.instrument import HandlerFailed, MessageHandled
from udc.messages import MessageType


class Strict(BaseModel):
    n: int


class Shop(Droplet):
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.go = anyio.Event()
        self.entered = anyio.Event()

    @query("quota")
    async def quota(self, steward: str, ctx: Context, bonus: int = 0) -> int:
        assert current_context.get() is ctx
        return len(steward) + bonus

    @command("queue")
    async def queue(self) -> Queued[str]:
        return Queued("later")

    @event("sold")
    async def sold(self, item: str) -> None:
        self.seen.append(item)

    @command("crop", scope="shop:crop")
    async def crop(self) -> str:
        return "cropped"

    @query("broke")
    async def broke(self) -> None:
        raise RuntimeError("password is hunter2")

    @query("invalid")
    async def invalid(self) -> None:
        Strict(n="hunter2")  # type: ignore[arg-type]

    @query("refuse")
    async def refuse(self, grouped: bool = False, two: bool = False) -> None:
        error = BusinessError("QUOTA_SPENT", "nothing left")
        if grouped:
            raise ExceptionGroup("x", [error, *([ValueError()] if two else [])])
        raise error

    @query("onward")
    async def onward(self) -> None:
        raise PeerError("no", peer="billing", status=500, code="BOOM")

    @query("tokenless")
    async def tokenless(self) -> None:
        raise TokenError("no token for audience 'mesh/21'")

    @query("lies")
    async def lies(self) -> int:
        return "hunter2"  # type: ignore[return-value]  # on purpose

    @query("slow", timeout_seconds=5)
    @command("slow")
    @event("slow")
    @task("slow")
    async def slow(self, ctx: Context) -> str:
        self.seen.append(ctx.remaining_seconds)
        self.entered.set()
        await self.go.wait()
        self.seen.append("done")
        return "done"

    @task("work")
    async def work(self, ctx: Context, pages: int) -> int:
        await ctx.progress(50, "half")
        return pages

    @chat
    async def talk(self, message: str, session_id: str | None = None) -> str:
        return message.upper()

    @status("*")
    def noted(self, data: dict[str, Any], ctx: Context) -> None:
        self.seen.append((data, ctx.message.action))

    @on_start
    async def opened(self, ctx: Context) -> None:
        self.seen.append(("start", ctx.trace_id, current_context.get() is ctx))

    @every(seconds=1, timeout_seconds=0.01)
    async def sweep(self) -> None:
        await anyio.sleep_forever()

    @every(seconds=1)
    def sync_sweep(self) -> None:
        self.seen.append("swept")


async def test_a_message_runs_its_handler() -> None:
    world = World(Shop())
    assert await world("query", "quota", {"steward": "ada", "bonus": 2}) == Outcome(data=b"5")
    assert current_context.get() is None
    (handled,) = world.events
    assert isinstance(handled, MessageHandled)
    assert (handled.message_type, handled.action, handled.source) == ("query", "quota", 3)
    assert (handled.trace_id, handled.error_code) == ("trace-1", None)
    assert handled.seconds >= 0


async def test_a_handler_may_say_that_the_work_goes_on() -> None:
    assert await World(Shop())("command", "queue") == Outcome(result="queued", data=b'"later"')


async def test_tasks_and_chat_run_likewise() -> None:
    told: list[Any] = []

    async def tell(percent: float, note: str) -> None:
        told.append((percent, note))

    world = World(Shop())
    assert (await world("task", "work", {"pages": 3}, progress=tell)).data == b"3"
    assert told == [(50, "half")]
    assert (await world("chat", None, {"message": "hi"})).data == b'"HI"'
    assert [vars_of(event)["action"] for event in world.events] == ["work", "*"]


def vars_of(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


async def test_without_a_handler_a_question_is_refused_and_news_are_dropped() -> None:
    world = World(Shop())
    with pytest.raises(NoHandler) as caught:
        await world("command", "resize")
    assert caught.value.message == "no handler for command 'resize'; known: 'crop', 'queue', 'slow'"
    assert caught.value.details == {"action": "resize", "known": ["crop", "queue", "slow"]}
    assert caught.value.hint == "GET /capabilities lists the actions that this droplet takes"
    with pytest.raises(NoHandler) as caught:
        await world("query", "crop")
    assert caught.value.hint == "'crop' is a command here; send it as one"
    with pytest.raises(NoHandler, match="the query names no action; known: 'broke', "):
        await world("query", None)
    bare = World(object())
    with pytest.raises(NoHandler, match="no handler for query 'x'; known: none"):
        await bare("query", "x")
    with pytest.raises(NoHandler, match="this droplet has no chat handler"):
        await bare("chat", None, {})
    for kind in ("event", "status"):
        assert await bare(kind, "x") == Outcome(handled=False)
    for kind in ("response", "error"):
        assert await world(kind, "quota") == Outcome(handled=False)
    assert world.events == []


async def test_the_scope_is_asked_for_by_name() -> None:
    world = World(Shop())
    with pytest.raises(Forbidden, match="command 'crop' needs the scope 'shop:crop', which the token lacks") as caught:
        await world("command", "crop")
    assert caught.value.details == {"scope": "shop:crop"}
    assert (await world("command", "crop", who=principal(scopes=["shop:crop"]))).handled
    assert (await world("command", "crop", who=principal(permissions=["admin"]))).handled


async def test_data_that_does_not_fit_is_refused() -> None:
    world = World(Shop())
    with pytest.raises(InvalidRequest, match="steward: field required"):
        await world("query", "quota", {})
    assert vars_of(world.events[-1])["error_code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("action", ["broke", "invalid", "lies"])
async def test_what_fails_inside_is_logged_and_not_told(action: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World(Shop())
    with pytest.raises(InternalError) as caught:
        await world("query", action)
    assert caught.value.message == f"the handler of query '{action}' failed"
    assert "hunter2" not in str(caught.value)
    (record,) = caplog.records
    assert record.name == "udc.dispatch"
    assert record.levelno == logging.ERROR
    assert vars(record)["trace_id"] == "trace-1"
    assert vars(record)["handler"] == f"Shop.{action}"
    assert "test_run.py:" in vars(record)["place"]
    assert record.exc_info is not None
    failed, handled = world.events
    assert isinstance(failed, HandlerFailed)
    assert failed.error == {"broke": "RuntimeError", "invalid": "ValidationError", "lies": "TypeError"}[action]
    assert isinstance(handled, MessageHandled)
    assert handled.error_code == "INTERNAL_ERROR"


async def test_a_business_error_passes_even_out_of_a_task_group() -> None:
    world = World(Shop())
    for data in ({}, {"grouped": True}):
        with pytest.raises(BusinessError, match="nothing left") as caught:
            await world("query", "refuse", data)
        assert caught.value.code == "QUOTA_SPENT"
    with pytest.raises(InternalError):
        await world("query", "refuse", {"grouped": True, "two": True})
    assert [vars_of(e).get("error_code") for e in world.events if isinstance(e, MessageHandled)] == [
        "QUOTA_SPENT",
        "QUOTA_SPENT",
        "INTERNAL_ERROR",
    ]


async def test_a_peers_error_passes_untouched() -> None:
    world = World(Shop())
    with pytest.raises(PeerError, match="billing answered 500 BOOM"):
        await world("query", "onward")
    assert vars_of(world.events[-1])["error_code"] == "DEPENDENCY_UNAVAILABLE"


async def test_a_missing_token_for_a_peer_is_no_bug_of_the_handlers() -> None:
    world = World(Shop())
    with pytest.raises(TokenError, match="no token for audience"):
        await world("query", "tokenless")
    assert vars_of(world.events[-1])["error_code"] == "DEPENDENCY_UNAVAILABLE"
    assert not any(isinstance(event, HandlerFailed) for event in world.events)


async def test_middleware_lies_around_the_handler_the_first_outermost() -> None:
    seen: list[str] = []

    def layer(name: str) -> Any:
        async def run(ctx: Context, call_next: CallNext) -> Any:
            seen.append(f"{name} in")
            value = await call_next(ctx)
            seen.append(f"{name} out")
            return value + 1

        return run

    world = World(Shop(), middleware=[layer("a"), layer("b")])
    assert (await world("query", "quota", {"steward": "ada"})).data == b"5"
    assert seen == ["a in", "b in", "b out", "a out"]


async def test_middleware_may_refuse() -> None:
    async def veto(ctx: Context, call_next: CallNext) -> Any:
        raise BusinessError("CLOSED", "come back tomorrow", status=403)

    with pytest.raises(BusinessError, match="come back tomorrow"):
        await World(Shop(), middleware=[veto])("query", "quota", {"steward": "ada"})


async def test_hooks_and_jobs_run_with_a_context_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    world = World(shop)
    await world.dispatcher.run_hook(world.table.hooks("start")[0])
    ((name, trace_id, current),) = shop.seen
    assert (name, len(trace_id), current) == ("start", 36, True)
    with pytest.raises(TimeoutError):
        await world.dispatcher.run_job(world.table.jobs[0])
    await world.dispatcher.run_job(world.table.jobs[1])
    await World(shop, threads=False).dispatcher.run_job(world.table.jobs[1])
    assert shop.seen[1:] == ["swept", "swept"]


async def test_a_deadline_that_is_past_runs_nothing() -> None:
    shop = Shop()
    world = World(shop)
    past = datetime.fromtimestamp(WALL - 2, UTC)
    for fields in ({"deadline": past}, {"timeout_ms": 0}, {"timeout_ms": 100, "arrived": anyio.current_time() - 1}):
        with pytest.raises(DeadlineExceeded, match=r"the deadline of event 'sold' passed \d\.\d+ s ago; nothing ran"):
            await world("event", "sold", {"item": "x"}, **fields)
    assert shop.seen == []
    assert world.events == []


@pytest.mark.parametrize(
    ("kind", "fields", "seconds"),
    [
        ("query", {}, 5),
        ("command", {}, 30),
        ("task", {}, None),
        ("query", {"timeout_ms": 2000}, 2),
        ("query", {"timeout_ms": 60_000}, 5),
        ("command", {"timeout_ms": 60_000}, 30),
        ("task", {"deadline": datetime.fromtimestamp(WALL, UTC) + timedelta(seconds=90)}, 90),
        ("query", {"timeout_ms": 3000, "deadline": datetime.fromtimestamp(WALL, UTC) + timedelta(seconds=2)}, 2),
    ],
)
async def test_the_earliest_limit_counts(kind: str, fields: Any, seconds: float | None) -> None:
    shop = Shop()
    shop.go.set()
    await World(shop)(kind, "slow", **fields)
    left = shop.seen[0]
    assert left == (None if seconds is None else pytest.approx(seconds, abs=0.5))


async def test_a_handler_that_swallows_its_cancellation_has_its_say() -> None:
    class Stubborn(Droplet):
        @query("x")
        async def x(self) -> int:
            try:
                await anyio.sleep_forever()
            finally:
                return 3  # noqa: B012 - what this is about

    assert (await World(Stubborn())("query", "x", timeout_ms=10)).data == b"3"


async def test_too_much_in_flight_is_refused() -> None:
    shop = Shop()
    world = World(shop, limits=DispatchLimits(in_flight=1, retry_after_seconds=2))
    async with anyio.create_task_group() as group:
        group.start_soon(world, "query", "slow")
        await shop.entered.wait()
        with pytest.raises(Overloaded, match="1 messages are in flight and 1 are allowed; nothing ran") as caught:
            await world("query", "quota", {"steward": "ada"})
        assert caught.value.retry_after_seconds == 2
        shop.go.set()
    assert (await world("query", "quota", {"steward": "ada"})).handled


@pytest.mark.parametrize(("kind", "survives"), [("command", True), ("event", True), ("task", False), ("query", False)])
async def test_accepted_work_outlives_its_caller(kind: str, survives: bool) -> None:
    shop = Shop()
    world = World(shop)
    async with anyio.create_task_group() as caller:
        caller.start_soon(world, kind, "slow")
        await shop.entered.wait()
        caller.cancel_scope.cancel()
        shop.go.set()
    assert ("done" in shop.seen) is survives
    assert vars_of(world.events[-1])["error_code"] == (None if survives else "CANCELLED")
    assert world.dispatcher.in_flight.count == 0


@pytest.mark.parametrize("kind", ["command", "query", "task"])
async def test_a_cancelled_trace_stops_and_says_so(kind: str) -> None:
    shop = Shop()
    world = World(shop)
    caught: list[BusinessError] = []

    async def call() -> None:
        with pytest.raises(BusinessError, match="trace trace-1 was cancelled") as error:
            await world(kind, "slow")
        caught.append(error.value)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await shop.entered.wait()
        assert world.dispatcher.in_flight.cancel_trace("trace-1", by=99) == 0
        assert world.dispatcher.in_flight.cancel_trace("trace-1", by=3) == 1
    assert (caught[0].code, caught[0].http_status, caught[0].retryable) == ("CANCELLED", 409, False)
    assert "done" not in shop.seen
    assert vars_of(world.events[-1])["error_code"] == "CANCELLED"


async def test_the_end_of_the_grace_stops_everything() -> None:
    shop = Shop()
    world = World(shop)

    async def call() -> None:
        with pytest.raises(BusinessError, match="the droplet stopped before the work was done") as error:
            await world("command", "slow")
        assert (error.value.http_status, error.value.retryable) == (503, True)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await shop.entered.wait()
        assert world.dispatcher.in_flight.cancel_all() == 1
        await world.dispatcher.in_flight.drained()


async def test_the_source_of_work_is_the_token_when_the_message_names_none() -> None:
    shop = Shop()
    world = World(shop)
    async with anyio.create_task_group() as group:

        async def call() -> None:
            with pytest.raises(BusinessError):
                await world.dispatcher.dispatch(message("query", "slow", source=None), principal(8))

        group.start_soon(call)
        await shop.entered.wait()
        assert world.dispatcher.in_flight.cancel_trace("trace-1", by=8) == 1


def test_message_types_and_kinds_are_the_same_words() -> None:
    assert {t.value for t in MessageType} >= {"query", "command", "event", "status"}
