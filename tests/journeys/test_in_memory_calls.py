"""Calls between droplets: traces, deadlines, retries, de-duplication, cancellation. In virtual time."""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from udc import BusinessError, Context, Droplet, PeerError, command, query
from udc.errors import Draining, InvalidReply, Overloaded
from udc.instrument import DuplicateSuppressed, MessageHandled, RequestAnswered, SendAttempted, SendFinished
from udc.testing import World, mesh

pytestmark = virtual_time


class Chain(Droplet):
    """Asks the next one in the chain; the last one tells what it sees."""

    steward = "tests"

    def __init__(self, number: int, *, last: bool = False, seconds: float = 0.0) -> None:
        super().__init__(config={"droplet.id": 20 + number, "droplet.name": f"Chain{number}"})
        self.number = number
        self.last = last
        self.seconds = seconds
        self.ended: list[str] = []
        self.began = anyio.Event()

    @query("where")
    async def where(self, ctx: Context) -> dict[str, object]:
        await anyio.sleep(self.seconds)
        if not self.last:
            below = await ctx.query(f"Chain{self.number + 1}", "where")
            assert isinstance(below, dict)
            return below
        return {"trace": ctx.trace_id, "hops": ctx.message.hops, "left": ctx.remaining_seconds}

    @command("work")
    async def work(self, ctx: Context) -> None:
        try:
            if not self.last:
                await ctx.command(f"Chain{self.number + 1}", "work", timeout_seconds=600)
            self.began.set()
            await anyio.sleep(500)
        except anyio.get_cancelled_exc_class():
            self.ended.append("cancelled")
            raise


class Printer(Droplet):
    id, name, steward = 31, "Printer", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.printed: list[str] = []
        self.refusals: list[Exception] = []
        self.busy = anyio.Event()

    @command("print")
    async def print_page(self, page: str) -> int:
        if self.refusals:
            raise self.refusals.pop(0)
        self.printed.append(page)
        return len(self.printed)

    @query("pages")
    async def pages(self) -> list[str]:
        return self.printed

    @query("late")
    async def late(self) -> str:
        self.busy.set()
        await anyio.sleep(0.5)
        return "late"


class Author(Droplet):
    id, name, steward = 32, "Author", "tests"
    needs = ("Printer",)
    wants = ("Chain1", "Nobody")

    @command("publish")
    async def publish(self, ctx: Context) -> dict[str, object]:
        reply = await ctx.call("Printer", "print", {"page": "one"}, message_type="command")
        return {"data": reply.data, "duplicate": reply.duplicate, "receipt": reply.message_id}


def _handled(world: World, action: str) -> list[MessageHandled]:
    return world.events.of(MessageHandled, where=lambda event: event.action == action)


async def test_returns_validates_what_came() -> None:
    async with mesh(Printer()) as world:
        await world.client.command("Printer", "print", {"page": "a"})

        assert await world.client.query("Printer", "pages", returns=list[str]) == ["a"]
        with pytest.raises(InvalidReply, match="'pages' with something other than int"):
            await world.client.query("Printer", "pages", returns=int)


async def test_a_command_whose_answer_is_lost_runs_once() -> None:
    printer = Printer()
    async with mesh(printer, Author()) as world:
        world.faults.lose_answers("Printer", 1)

        answer = await world.client.command("Author", "publish")

        assert printer.printed == ["one"]
        assert answer["data"] == 1
        assert answer["duplicate"] is True
        assert len(world.events.of(DuplicateSuppressed, droplet="Printer")) == 1
        assert [event.error for event in world.events.of(SendAttempted, droplet="Author")] == ["ConnectionLost", None]


async def test_the_same_message_id_gets_the_same_receipt() -> None:
    printer = Printer()
    async with mesh(printer) as world:
        first = await world.client.call("Printer", "print", {"page": "x"}, message_type="command", message_id="m-1")
        again = await world.client.call("Printer", "print", {"page": "x"}, message_type="command", message_id="m-1")

        assert printer.printed == ["x"]
        assert (first.duplicate, again.duplicate) == (False, True)
        assert (first.data, first.message_id) == (again.data, again.message_id) == (1, "m-1")
        with pytest.raises(PeerError, match="409 CONFLICT"):
            await world.client.command("Printer", "print", {"page": "y"}, message_id="m-1")


async def test_trace_hops_and_deadline_go_over_three_droplets() -> None:
    async with mesh(Chain(1, seconds=1), Chain(2, seconds=2), Chain(3, last=True)) as world:
        seen = await world.client.query("Chain1", "where", timeout_seconds=9)

        traces = {event.trace_id for event in _handled(world, "where")}
        assert traces == {seen["trace"]}
        assert len(_handled(world, "where")) == 3
        assert seen["hops"] == 2
        assert 5.9 < seen["left"] <= 6.0


async def test_a_deadline_of_300_ms_is_inherited() -> None:
    async with mesh(Chain(1), Chain(2), Chain(3, last=True, seconds=60)) as world:
        began = anyio.current_time()
        with pytest.raises((PeerError, TimeoutError), match="TIMEOUT") as caught:
            await _in_time(world)

        assert anyio.current_time() - began <= 0.31
        assert isinstance(caught.value, PeerError)
        deepest = await world.events.wait_for(MessageHandled, droplet="Chain3")
        assert deepest.error_code == "TIMEOUT"
        assert deepest.seconds <= 0.3


async def _in_time(world: World) -> object:
    """The peers give up at 300 ms; the client waits a little longer, so that it hears them say so."""
    answer = await world.request(
        "POST",
        "Chain1",
        "/message",
        json={"message_type": "query", "payload": {"type": "where"}, "timeout_ms": 300},
    )
    error = answer.json()["error"]
    raise PeerError(error["message"], peer="Chain1", status=answer.status, code=error["code"])


async def test_a_crashed_dependency_is_named() -> None:
    async with mesh(Chain(1), Chain(2, last=True)) as world:
        world.faults.crash("Chain2")
        with pytest.raises(PeerError, match="503 DEPENDENCY_UNAVAILABLE") as caught:
            await world.client.query("Chain1", "where")

        assert caught.value.retryable is False
        assert len(world.events.of(SendAttempted, droplet="client")) == 1
        await world.faults.restart("Chain2")
        assert (await world.client.query("Chain1", "where"))["hops"] == 1


@pytest.mark.parametrize("refusal", [Draining(retry_after_seconds=2), Overloaded(retry_after_seconds=2)])
async def test_what_says_that_nothing_ran_is_tried_again(refusal: Exception) -> None:
    printer = Printer()
    printer.refusals = [refusal]
    async with mesh(printer) as world:
        began = anyio.current_time()

        assert await world.client.command("Printer", "print", {"page": "a"}) == 1

        assert 2.0 <= anyio.current_time() - began < 2.2
        assert world.events.of(SendFinished, droplet="client")[-1].attempts == 2


async def test_a_business_error_is_final() -> None:
    printer = Printer()
    printer.refusals = [BusinessError("NO_PAPER", "the tray is empty", status=422)]
    async with mesh(printer) as world:
        with pytest.raises(PeerError, match="422 NO_PAPER: the tray is empty"):
            await world.client.command("Printer", "print", {"page": "a"})

        assert world.events.of(SendFinished, droplet="client")[-1].attempts == 1


async def test_a_real_limit_overloads_and_passes() -> None:
    printer = Printer()
    async with mesh(printer, config={"limits.in_flight": 1}) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(world.client.query, "Printer", "late")
        await printer.busy.wait()

        assert await world.client.query("Printer", "pages") == []

        refused = world.events.of(RequestAnswered, droplet="Printer", where=lambda event: event.status == 503)
        assert [event.error_code for event in refused] == ["OVERLOADED"]


async def test_cancel_trace_stops_the_tree_within_a_second() -> None:
    chain = [Chain(1), Chain(2), Chain(3, last=True)]
    async with mesh(*chain) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(_cancelled, world)
        await chain[2].began.wait()
        trace_id = "6f1c0f30-0000-4000-8000-000000000001"
        began = anyio.current_time()

        await world.client.send("Chain1", "command", {"type": "cancel_trace", "trace_id": trace_id})
        await world.events.wait_for(MessageHandled, count=3, where=lambda event: event.action == "work")

        assert anyio.current_time() - began <= 1
        assert [each.ended for each in chain] == [["cancelled"]] * 3
        assert {event.error_code for event in _handled(world, "work")} == {"CANCELLED"}


async def _cancelled(world: World) -> None:
    answer = await world.request(
        "POST",
        "Chain1",
        "/message",
        json={
            "message_type": "command",
            "payload": {"type": "work"},
            "trace_id": "6f1c0f30-0000-4000-8000-000000000001",
            "timeout_ms": 600_000,
        },
    )
    assert (answer.status, answer.json()["error"]["code"]) == (409, "CANCELLED")


async def test_dependencies_are_measured() -> None:
    async with mesh(Author(), Printer(), Chain(1, last=True)) as world:
        await anyio.sleep(16)
        good = (await world.request("GET", "Author", "/dependencies")).json()
        world.faults.crash("Printer")
        world.faults.refuse("Chain1")
        await anyio.sleep(16)
        bad = (await world.request("GET", "Author", "/dependencies")).json()

        def states(body: dict[str, list[dict[str, object]]], key: str) -> list[tuple[object, object]]:
            return [(row["name"], row["status"]) for row in body[key]]

        assert states(good, "required") == [("Printer", "connected")]
        assert states(good, "optional") == [("Chain1", "available"), ("Nobody", "unavailable")]
        assert [row["name"] for row in good["missing"]] == ["Nobody"]
        assert states(bad, "required") == [("Printer", "disconnected")]
        assert states(bad, "optional")[0] == ("Chain1", "unavailable")


async def test_a_foreign_peer_takes_the_superset_envelope() -> None:
    """What goes to another library's droplet carries the words of every dialect, and our own kind reads it."""
    seen: list[dict[str, object]] = []

    class Foreign(Droplet):
        id, name, steward = 40, "Foreign", "tests"

        @query("hello")
        async def hello(self, ctx: Context) -> str:
            seen.append({"source": ctx.message.source, "audience": ctx.principal.audience})
            return "hi"

    class Caller(Droplet):
        id, name, steward = 41, "Caller", "tests"

        @query("go")
        async def go(self, ctx: Context) -> object:
            return await ctx.query("Foreign", "hello")

    async with mesh(Foreign(), Caller(), foreign=["Foreign"]) as world:
        assert await world.client.query("Caller", "go") == "hi"

    async with mesh(Foreign(), Caller()) as world:
        assert await world.client.query("Caller", "go") == "hi"
    assert seen == [
        {"source": 41, "audience": "fullpotential.droplets"},
        {"source": 41, "audience": "fullpotential.droplets/40"},
    ]
