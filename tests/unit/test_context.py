from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, assert_type

import anyio
import pytest
from pydantic import BaseModel

from tests.unit.dispatch.kit import AMBIENT, Peers, message, principal
from udc._types import DropletId
from udc.context import Broadcast, Lineage, Order, current_context
from udc.dispatch.contexts import Contexts, NoMetrics
from udc.errors import ConnectionLost, HopLimit, InvalidReply
from udc.messages import MessageType, Priority, Reply


class Balance(BaseModel):
    images: int


def contexts(answer: Any = None) -> tuple[Contexts, Peers]:
    peers = Peers(lambda _order: answer)
    return Contexts(sender=peers, ambient=AMBIENT), peers


async def test_a_call_returns_the_data_typed_and_validated() -> None:
    factory, _ = contexts({"images": 3})
    mesh = factory.mesh()
    balance = await mesh.query("billing", "balance", {"steward": "ada"}, returns=Balance)
    assert_type(balance, Balance)
    assert balance == Balance(images=3)
    untyped = await mesh.query("billing", "balance")
    assert_type(untyped, Any)
    assert untyped == {"images": 3}
    maybe = await mesh.query("billing", "balance", returns=Balance | None)
    assert_type(maybe, Balance | None)
    table = await mesh.command("billing", "balance", returns=dict[str, int])
    assert_type(table, dict[str, int])
    noted = await mesh.event("billing", "paid", returns=Annotated[Balance, ["cannot be hashed"]])
    assert_type(noted, Balance)
    whole = await mesh.call("billing", "balance")
    assert_type(whole, Reply)
    assert whole.data == {"images": 3}


async def test_the_verbs_write_their_type_and_their_options() -> None:
    factory, peers = contexts()
    mesh = factory.mesh()
    await mesh.query("a", "x", 1)
    await mesh.command("a", "x", timeout_seconds=2, retries=0, priority="high", message_id="m-1")
    await mesh.event(7, "x")
    await mesh.status("a", "x")
    await mesh.call("a", "x", message_type="command")
    assert [order.message_type for order in peers.orders] == ["query", "command", "event", "status", "command"]
    first, second = peers.orders[:2]
    assert (first.target, first.action, first.data, first.payload) == ("a", "x", 1, None)
    assert (first.timeout_seconds, first.retries, first.priority, first.message_id) == (None, None, "normal", None)
    assert (second.timeout_seconds, second.retries, second.message_id) == (2, 0, "m-1")
    assert second.priority is Priority.HIGH


async def test_send_passes_the_payload_as_it_is() -> None:
    factory, peers = contexts("done")
    payload = {"type": "metrics_update", "data": {}}
    reply = await factory.mesh().send(2, "event", payload, retries=1)
    assert reply.data == "done"
    (order,) = peers.orders
    assert order.payload is payload
    assert (order.action, order.data, order.message_type) == (None, None, MessageType.EVENT)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds is 0, not above 0"),
        ({"retries": -1}, "retries is -1, below 0"),
        ({"priority": "urgent"}, "'urgent' is not a valid Priority"),
    ],
)
async def test_options_out_of_range_are_refused(options: Any, text: str) -> None:
    factory, peers = contexts()
    with pytest.raises(ValueError, match=text):
        await factory.mesh().query("a", "x", **options)
    assert peers.orders == []


async def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="timeout"):
        await contexts()[0].mesh().query("a", "x", timeout=3)  # type: ignore[call-overload]


async def test_an_answer_that_does_not_fit_is_the_peers_fault() -> None:
    factory, _ = contexts({"images": "hunter2"})
    with pytest.raises(InvalidReply) as caught:
        await factory.mesh().query("billing", "balance", returns=Balance)
    assert str(caught.value) == (
        "billing answered 'balance' with something other than Balance: "
        "images: Input should be a valid integer, unable to parse string as an integer"
    )
    assert caught.value.peer == "billing"
    with pytest.raises(InvalidReply, match=r"other than .*list\[int\] \| None: data: |int \| None"):
        await factory.mesh().query("billing", "balance", returns=int | None)


async def test_lineage_goes_onward() -> None:
    factory, peers = contexts()
    ends = anyio.current_time() + 5
    ctx = factory.answering(message(hops=2, on_behalf_of=9), principal(), deadline=ends)
    await ctx.query("a", "x")
    assert peers.orders[0].lineage == Lineage(trace_id="trace-1", hops=3, deadline=ends, on_behalf_of=9)
    assert ctx.trace_id == "trace-1"
    assert ctx.message.hops == 2
    assert ctx.principal.droplet_id == 3


async def test_the_seventeenth_hop_is_not_sent() -> None:
    factory, peers = contexts()
    await factory.answering(message(hops=15), principal(), deadline=None).query("a", "x")
    assert peers.orders[0].lineage.hops == 16
    with pytest.raises(HopLimit, match="the call to 'a' would be hop 17 of trace trace-1; 16 are allowed") as caught:
        await factory.answering(message(hops=16), principal(), deadline=None).query("a", "x")
    assert caught.value.details == {"target": "a", "hops": 17}
    assert len(peers.orders) == 1


async def test_without_a_message_each_call_starts_a_trace() -> None:
    factory, peers = contexts()
    mesh = factory.mesh()
    await mesh.query("a", "x")
    await mesh.query("a", "x")
    first, second = (order.lineage for order in peers.orders)
    assert first.trace_id != second.trace_id
    assert (first.hops, first.deadline) == (0, None)
    for read in (lambda: mesh.message, lambda: mesh.principal, lambda: mesh.trace_id):
        with pytest.raises(LookupError, match=r"ctx\.\w+: hooks, @every jobs and droplet.mesh answer no message"):
            read()


async def test_a_job_has_one_trace_for_all_its_calls() -> None:
    factory, peers = contexts()
    ctx = factory.tracing()
    await ctx.query("a", "x")
    await ctx.query("a", "x")
    assert {order.lineage.trace_id for order in peers.orders} == {ctx.trace_id}
    given = Lineage(trace_id="t", on_behalf_of=4)
    await factory.tracing(given).query("a", "x")
    assert peers.orders[-1].lineage is given


async def test_the_mesh_joins_the_trace_of_the_handler_around_it_but_not_its_deadline() -> None:
    factory, peers = contexts()
    mesh = factory.mesh()
    token = current_context.set(factory.answering(message(hops=1), principal(), deadline=1.0))
    await mesh.query("a", "x")
    assert mesh.trace_id == "trace-1"
    assert mesh.remaining_seconds is None
    current_context.reset(token)
    token = current_context.set(mesh)
    await mesh.query("a", "x")
    current_context.reset(token)
    assert peers.orders[0].lineage == Lineage(trace_id="trace-1", hops=2)
    assert peers.orders[1].lineage.trace_id != "trace-1"


async def test_remaining_seconds_never_fall_below_zero() -> None:
    factory, _ = contexts()
    now = anyio.current_time()
    ctx = factory.answering(message(), principal(), deadline=now + 60)
    assert ctx.remaining_seconds is not None
    assert 50 < ctx.remaining_seconds <= 60
    assert factory.answering(message(), principal(), deadline=now - 1).remaining_seconds == 0.0
    assert factory.answering(message(), principal(), deadline=None).remaining_seconds is None


async def test_progress_is_for_tasks() -> None:
    told: list[tuple[float, str]] = []

    async def tell(percent: float, note: str) -> None:
        told.append((percent, note))

    factory, _ = contexts()
    ctx = factory.answering(message(), principal(), deadline=None, progress=tell)
    await ctx.progress(0)
    await ctx.progress(100, "done")
    assert told == [(0, ""), (100, "done")]
    for wrong in (-1, 101, float("nan")):
        with pytest.raises(ValueError, match=f"percent is {wrong}, not between 0 and 100"):
            await ctx.progress(wrong)
    with pytest.raises(LookupError, match=r"ctx.progress is for tasks, and this is none: declare .* with @task"):
        await factory.mesh().progress(50)


async def test_log_lines_carry_the_trace_and_keep_their_own_extra(caplog: pytest.LogCaptureFixture) -> None:
    factory, _ = contexts()
    with caplog.at_level(logging.INFO, logger="udc.handler"):
        factory.answering(message(), principal(), deadline=None).log.info("hello", extra={"more": 1})
        factory.mesh().log.info("nobody")
    first, second = caplog.records
    assert (first.name, vars(first)["trace_id"], vars(first)["more"]) == ("udc.handler", "trace-1", 1)
    assert vars(second)["trace_id"] is None


def test_no_metrics_takes_everything() -> None:
    metrics = NoMetrics()
    metrics.count("a")
    metrics.gauge("b", 1.0)
    metrics.book(cost_usd=1)
    assert Contexts(sender=Peers(), ambient=AMBIENT, metrics=metrics).mesh().metrics is metrics


async def test_a_broadcast_has_a_result_for_each() -> None:
    factory, peers = contexts()
    lost = ConnectionLost("cut", peer=2)

    def answer(order: Order) -> Any:
        if order.target == 2:
            raise lost
        return {"images": order.target}

    peers.answer = answer
    result = await factory.mesh().broadcast("counted", {"a": 1}, returns=Balance, timeout_seconds=3)
    assert_type(result, Broadcast[Balance])
    assert_type(result.data, Mapping[DropletId, Balance])
    assert result.data == {1: Balance(images=1), 3: Balance(images=3)}
    assert result.errors == {2: lost}
    assert list(result.replies) == [1, 3]
    assert {order.lineage.trace_id for order in peers.orders} == {result.trace_id}
    first = peers.orders[0]
    assert (first.message_type, first.action, first.data, first.timeout_seconds) == ("event", "counted", {"a": 1}, 3)


async def test_a_broadcast_to_those_who_can() -> None:
    factory, _ = contexts("seen")
    result = await factory.mesh().broadcast("look", message_type="query", capability="resize")
    assert_type(result, Broadcast[Any])
    assert result.data == {4: "seen"}
    assert result.replies[4].data == "seen"
    assert result.errors == {}


async def test_an_answer_to_a_broadcast_that_does_not_fit_is_an_error_of_that_one() -> None:
    factory, peers = contexts()
    peers.answer = lambda order: {"images": order.target if order.target != 3 else "hunter2"}
    result = await factory.mesh().broadcast("count", message_type="query", returns=Balance)
    assert list(result.data) == list(result.replies) == [1, 2]
    assert isinstance(result.errors[3], InvalidReply)
    assert "hunter2" not in str(result.errors[3])


async def test_a_broadcast_in_a_handler_joins_its_trace_and_stops_where_its_calls_do() -> None:
    factory, peers = contexts()
    ctx = factory.answering(message(hops=4, trace_id="t"), principal(), deadline=None)
    assert (await ctx.broadcast("x")).trace_id == "t"
    assert peers.orders[0].lineage.hops == 5
    with pytest.raises(HopLimit, match="the call to 'resize' would be hop 17"):
        await factory.tracing(Lineage(trace_id="t", hops=17)).broadcast("x", capability="resize")
    with pytest.raises(ValueError, match="timeout_seconds is 0"):
        await ctx.broadcast("x", timeout_seconds=0)
