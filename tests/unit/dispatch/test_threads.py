"""Sync handlers, in real threads and real time; events, never sleeps."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import pytest

from tests.unit.dispatch.kit import Droplet, World
from udc.context import Context, current_context
from udc.dispatch.declare import query
from udc.dispatch.run import DispatchLimits
from udc.dispatch.threads import ThreadSlots
from udc.errors import InternalError, Overloaded, Timeout

colour: ContextVar[str] = ContextVar("colour", default="none")


class Sync(Droplet):
    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.runs = 0

    @query("who")
    def who(self, ctx: Context) -> list[Any]:
        return [current_context.get() is ctx, colour.get(), threading.current_thread() is threading.main_thread()]

    @query("block")
    def block(self) -> str:
        self.runs += 1
        self.entered.set()
        assert self.go.wait(9)
        return "free"

    @query("later")
    def later(self) -> Any:
        async def answer() -> int:
            return 3

        return answer()

    @query("broke")
    def broke(self) -> None:
        raise StopIteration

    @query("onward")
    def onward(self, ctx: Context) -> Any:
        return anyio.from_thread.run(partial(ctx.query, "billing", "balance"))


async def test_a_sync_handler_runs_in_a_thread_with_the_context_variables() -> None:
    token = colour.set("blue")
    assert (await World(Sync())("query", "who")).data == b'[true,"blue",false]'
    assert (await World(Sync(), threads=False)("query", "who")).data == b'[true,"blue",true]'
    colour.reset(token)


async def test_a_sync_function_may_hand_back_a_coroutine() -> None:
    assert (await World(Sync())("query", "later")).data == b"3"


async def test_what_a_thread_raises_is_the_handlers() -> None:
    with pytest.raises(InternalError):
        await World(Sync())("query", "broke")


async def test_a_sync_handler_may_call_onward() -> None:
    world = World(Sync())
    world.peers.answer = lambda _order: 5
    assert (await world("query", "onward")).data == b"5"


async def test_a_timed_out_thread_keeps_its_slot_until_it_ends() -> None:
    sync = Sync()
    world = World(sync, limits=DispatchLimits(threads=1, retry_after_seconds=3))
    with pytest.raises(Timeout):
        await world("query", "block", timeout_ms=50)
    await anyio.to_thread.run_sync(sync.entered.wait)
    with pytest.raises(Overloaded, match="all threads are busy, and none came free in time; nothing ran") as caught:
        await world("query", "who", timeout_ms=50)
    assert caught.value.retry_after_seconds == 3
    assert sync.runs == 1
    async with anyio.create_task_group() as group:

        async def waits() -> None:
            assert (await world("query", "who", timeout_ms=9000)).handled

        group.start_soon(waits)
        sync.go.set()
    assert world.dispatcher.in_flight.count == 0


async def test_a_slot_comes_back_after_every_run() -> None:
    slots = ThreadSlots(1)
    for n in range(3):
        assert await slots.run(lambda n=n: n) == n  # type: ignore[misc]  # mypy cannot type a lambda's default
    with pytest.raises(ZeroDivisionError):
        await slots.run(lambda: 1 // 0)
    assert slots.taken == 0


async def test_at_most_so_many_run_at_once() -> None:
    slots = ThreadSlots(2)
    lock, now, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=9)

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait()
        with lock:
            now -= 1

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(slots.run, work)
    assert most == 2
    assert slots.taken == 0


async def test_a_call_cancelled_before_its_thread_began_never_runs() -> None:
    slots = ThreadSlots(1)
    ran: list[int] = []
    with anyio.CancelScope() as scope:
        await slots.run(lambda: ran.append(1), started=scope.cancel)
    assert scope.cancelled_caught
    assert slots.taken == 0
    assert await slots.run(lambda: 7) == 7
    assert ran == []


async def test_a_thread_that_begins_after_its_caller_gave_up_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = ThreadSlots(1)
    ran: list[int] = []
    queued: list[Any] = []

    async def never_begins(work: Any, **_options: Any) -> None:
        queued.append(work)
        await anyio.sleep_forever()

    monkeypatch.setattr(anyio.to_thread, "run_sync", never_begins)
    with anyio.move_on_after(0.01):
        await slots.run(lambda: ran.append(1))
    assert slots.taken == 0
    queued[0]()
    assert ran == []
    assert slots.taken == 0


async def test_an_abandoned_thread_is_counted_until_it_ends() -> None:
    slots = ThreadSlots(1)
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert go.wait(9)
        ended.set()

    with anyio.move_on_after(0.05) as scope:
        await slots.run(work)
    assert scope.cancelled_caught
    assert slots.taken == 1
    go.set()
    assert await slots.run(lambda: 1) == 1
    assert ended.is_set()
