"""Work that is cut short ends the same way in a bare asyncio task as in an anyio cancel scope."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import uvloop

from udc.dispatch import deadlines
from udc.dispatch.deadlines import bare_tasks
from udc.dispatch.inflight import InFlight, Work
from udc.dispatch.threads import ThreadSlots
from udc.errors import BusinessError, ContractError, Timeout

Case: TypeAlias = Callable[[InFlight], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> str:
    """These tests start loops of their own."""
    return "asyncio"


async def _bare(case: Case) -> Any:
    flight = InFlight(bare_task=bare_tasks())
    with flight.enter("probe") as work:
        assert work.scope is None
    return await case(flight)


async def _scoped(case: Case) -> Any:
    flight = InFlight(bare_task=bare_tasks())
    with anyio.CancelScope():
        with flight.enter("probe") as work:
            assert work.scope is not None
        return await case(flight)


def _runs(run: Callable[[Coroutine[Any, Any, Any]], Any], way: Callable[[Case], Coroutine[Any, Any, Any]]) -> Any:
    return lambda case: run(way(case))


@pytest.fixture(
    params=[_runs(asyncio.run, _bare), _runs(uvloop.run, _bare), _runs(asyncio.run, _scoped)],
    ids=["bare", "bare-uvloop", "scoped"],
)
def run(request: pytest.FixtureRequest) -> Any:
    """Runs a case in a loop of its own, one way or the other."""
    return request.param


@pytest.fixture
def bare() -> Any:
    return _runs(asyncio.run, _bare)


def due() -> float:
    return asyncio.get_running_loop().time()


async def cut(flight: InFlight, handler: Callable[[], Awaitable[Any]]) -> ContractError | None:
    """How work ends whose deadline is now; the task must be as good as new after it."""
    task = asyncio.current_task()
    assert task is not None
    with flight.enter("t", deadline=due()) as work:
        await handler()
    assert (task.cancelling(), flight.count) == (0, 0)
    for _ in range(3):
        await asyncio.sleep(0.002)  # a cancellation that comes too late would come here
    return work.ending()


def test_a_handler_that_waits_too_long_is_cut_short(run: Any) -> None:
    ending = run(lambda flight: cut(flight, anyio.sleep_forever))
    assert isinstance(ending, Timeout)


def test_a_handler_that_answers_at_once_is_never_cut_short(run: Any) -> None:
    async def at_once() -> None:
        return None

    assert run(lambda flight: cut(flight, at_once)) is None


@pytest.mark.parametrize("group", [anyio.create_task_group, asyncio.TaskGroup])
def test_the_tasks_of_a_handler_end_with_it(run: Any, group: Callable[[], Any]) -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("child")

    async def handler() -> None:
        async with group() as tasks:
            for _ in range(2):
                tasks.create_task(child())
            await asyncio.sleep(0)

    assert isinstance(run(lambda flight: cut(flight, handler)), Timeout)
    assert ended == ["child", "child"]


@pytest.mark.parametrize(
    "scope", [anyio.CancelScope, lambda: anyio.move_on_after(100), lambda: anyio.fail_after(100)], ids=["", "move", "f"]
)
def test_a_scope_of_the_handlers_own_does_not_swallow_the_deadline(run: Any, scope: Callable[[], Any]) -> None:
    after: list[str] = []

    async def handler() -> None:
        with scope():
            await anyio.sleep_forever()
        after.append("never")

    assert isinstance(run(lambda flight: cut(flight, handler)), Timeout)
    assert after == []


def test_a_time_limit_of_the_handlers_own_is_its_own(run: Any) -> None:
    seen: list[Any] = []

    async def case(flight: InFlight) -> None:
        with flight.enter("t", deadline=due() + 100) as work:
            with anyio.move_on_after(0) as inner:
                await anyio.sleep_forever()
            seen.append(inner.cancelled_caught)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anyio.sleep_forever()
            with pytest.raises(TimeoutError), anyio.fail_after(0):
                await anyio.sleep_forever()
            seen.append("done")
        seen.append(work.ending())

    run(case)
    assert seen == [True, "done", None]


def test_what_is_shielded_is_finished_first(run: Any) -> None:
    seen: list[str] = []

    async def case(flight: InFlight) -> Any:
        committed = anyio.Event()

        async def handler() -> None:
            with anyio.CancelScope(shield=True):
                await committed.wait()
                seen.append("committed")
            await anyio.sleep_forever()

        # Long after the deadline: the cut has tried many times by then.
        asyncio.get_running_loop().call_later(0.05, committed.set)
        return await cut(flight, handler)

    assert isinstance(run(case), Timeout)
    assert seen == ["committed"]


def test_what_has_arrived_in_the_same_moment_is_not_lost(run: Any) -> None:
    got: list[str] = []

    async def case(flight: InFlight) -> ContractError | None:
        sender, receiver = anyio.create_memory_object_stream[str](1)

        def both() -> None:
            if not receiver.statistics().tasks_waiting_receive:
                asyncio.get_running_loop().call_soon(both)
                return
            sender.send_nowait("item")
            flight.cancel_all()

        with sender, receiver, flight.enter("t") as work:
            asyncio.get_running_loop().call_soon(both)
            got.append(await receiver.receive())
            await anyio.sleep_forever()
        return work.ending()

    ending = run(case)
    assert (got, ending is not None and ending.code) == (["item"], "CANCELLED")


def test_cleaning_up_is_cut_short_too_unless_it_is_shielded(run: Any) -> None:
    seen: list[str] = []

    async def handler() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.01)
                seen.append("shielded")
            try:
                await anyio.sleep_forever()
            finally:
                seen.append("unshielded")

    assert isinstance(run(lambda flight: cut(flight, handler)), Timeout)
    assert seen == ["shielded", "unshielded"]


def test_who_swallows_it_and_goes_on_is_cancelled_again(run: Any) -> None:
    seen: list[int] = []

    async def handler() -> None:
        for n in range(3):
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                seen.append(n)
        await anyio.sleep_forever()

    assert isinstance(run(lambda flight: cut(flight, handler)), Timeout)
    assert seen == [0, 1, 2]


def test_who_swallows_it_and_ends_has_its_say(run: Any) -> None:
    async def handler() -> None:
        with pytest.raises(asyncio.CancelledError):
            await anyio.sleep_forever()

    assert run(lambda flight: cut(flight, handler)) is None


def test_what_a_handler_makes_of_it_passes(run: Any) -> None:
    async def handler() -> None:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            raise ValueError("gave up") from None

    async def case(flight: InFlight) -> None:
        with pytest.raises(ValueError, match="gave up"):
            await cut(flight, handler)
        assert flight.count == 0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(case)


def test_what_its_tasks_make_of_it_passes(run: Any) -> None:
    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("broken")

    async def handler() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            await anyio.sleep_forever()

    async def case(flight: InFlight) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await cut(flight, handler)
        assert [type(error) for error in caught.value.exceptions] == [ValueError]

    run(case)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, type("Odd", (BaseException,), {})])
def test_whatever_is_raised_passes_and_leaves_nothing_behind(run: Any, kind: type[BaseException]) -> None:
    async def case(flight: InFlight) -> None:
        async def request() -> None:
            with flight.enter("t", deadline=due() + 100):
                await asyncio.sleep(0)
                raise kind

        with pytest.raises(kind):
            await request()
        assert flight.count == 0

    run(case)


def test_who_cancels_the_task_is_heard(run: Any) -> None:
    async def case(flight: InFlight) -> None:
        works: list[Work] = []

        async def request() -> None:
            with flight.enter("t", deadline=due() + 100) as work:
                works.append(work)
                await anyio.sleep_forever()

        task = asyncio.ensure_future(request())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert works[0].ending() is None
        assert flight.count == 0

    run(case)


def test_who_cancels_the_task_in_the_same_moment_is_heard_too(bare: Any) -> None:
    async def case(flight: InFlight) -> None:
        async def request() -> None:
            with flight.enter("t"):
                await anyio.sleep_forever()

        for native_first in (True, False):
            task = asyncio.ensure_future(request())
            await asyncio.sleep(0)
            for cancel in sorted(
                (task.cancel, flight.cancel_all), key=lambda each: (each == task.cancel) < native_first
            ):
                cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (task.cancelled(), flight.count) == (True, 0)

    bare(case)


def test_a_time_limit_around_it_is_heard(run: Any) -> None:
    async def case(flight: InFlight) -> None:
        async def request() -> None:
            with flight.enter("t", deadline=due() + 100):
                await anyio.sleep_forever()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request(), 0.001)
        assert flight.count == 0

    run(case)


def test_a_handler_may_cancel_its_own_trace(run: Any) -> None:
    seen: list[str] = []

    async def case(flight: InFlight) -> ContractError | None:
        with flight.enter("t", source=3) as work:
            assert flight.cancel_trace("t", by=3) == 1
            seen.append("still running")
            await anyio.sleep_forever()
        return work.ending()

    ending = run(case)
    assert isinstance(ending, BusinessError)
    assert (ending.code, seen) == ("CANCELLED", ["still running"])


def test_a_handler_that_cancels_its_own_trace_and_answers_has_its_say(run: Any) -> None:
    async def case(flight: InFlight) -> None:
        with flight.enter("t", source=3) as work:
            assert flight.cancel_trace("t", by=3) == 1
        assert work.ending() is None
        await asyncio.sleep(0)  # the answer can be sent: nothing is left of the cancellation

    run(case)


def test_a_thread_is_waited_for_where_it_cannot_be_left(run: Any) -> None:
    go = threading.Event()
    seen: list[str] = []

    async def case(flight: InFlight) -> Any:
        def in_thread() -> None:
            anyio.from_thread.run_sync(flight.cancel_all)
            anyio.from_thread.run_sync(lambda: asyncio.get_running_loop().call_later(0.02, go.set) and None)
            seen.append("ended" if go.wait(5) else "never let go")

        with flight.enter("t") as work:
            await anyio.to_thread.run_sync(in_thread)
            await anyio.sleep_forever()
        return work.ending()

    assert isinstance(run(case), BusinessError)
    assert seen == ["ended"]


def test_a_thread_of_a_slot_is_left_alone(run: Any) -> None:
    go = threading.Event()

    async def case(flight: InFlight) -> Any:
        slots = ThreadSlots(1)

        def in_thread() -> None:
            anyio.from_thread.run_sync(flight.cancel_all)
            go.wait(5)

        with flight.enter("t") as work:
            await slots.run(in_thread)
        taken = slots.taken
        go.set()
        return work.ending(), taken

    ending, taken = run(case)
    assert isinstance(ending, BusinessError)
    assert taken == 1


def test_all_deadlines_have_one_timer_and_each_is_kept(bare: Any) -> None:
    ended: list[int] = []

    async def case(flight: InFlight) -> None:
        loop = asyncio.get_running_loop()
        now = due()

        async def request(n: int) -> None:
            with flight.enter(str(n), deadline=now + n / 1000) as work:
                await anyio.sleep_forever()
            assert isinstance(work.ending(), Timeout)
            ended.append(n)

        async with asyncio.TaskGroup() as tasks:
            for n in (3, 1, 5, 2, 4):
                tasks.create_task(request(n))
            await asyncio.sleep(0)
            assert flight.alarm.at == now + 0.001
        assert flight.alarm.at == math.inf
        assert loop.time() >= now + 0.005

    bare(case)
    assert ended == [1, 2, 3, 4, 5]


@contextmanager
def counted_timers() -> Iterator[list[float]]:
    """Times of `call_at` of the running loop."""
    loop = asyncio.get_running_loop()
    made: list[float] = []
    original = loop.call_at

    def call_at(when: float, *args: Any, **kwargs: Any) -> Any:
        made.append(when)
        return original(when, *args, **kwargs)

    loop.call_at = call_at  # type: ignore[method-assign,assignment]
    try:
        yield made
    finally:
        del loop.call_at


def test_a_thousand_messages_set_one_timer(bare: Any) -> None:
    async def case(flight: InFlight) -> list[float]:
        with counted_timers() as made:
            for _ in range(1000):
                with flight.enter("t", deadline=due() + 30):
                    pass
        return made

    assert len(bare(case)) == 1


class TestBareTasks:
    def test_inside_an_anyio_scope_a_task_is_not_bare(self) -> None:
        async def main() -> None:
            bare_task = bare_tasks()
            assert bare_task() is asyncio.current_task()
            with anyio.CancelScope():  # noqa: ASYNC100 - it is there to be seen
                assert bare_task() is None
            assert bare_task() is asyncio.current_task()
            async with anyio.create_task_group() as tasks:
                assert bare_task() is None
                tasks.start_soon(child, bare_task)

        async def child(bare_task: Callable[[], Any]) -> None:
            assert bare_task() is None

        asyncio.run(main())

    def test_where_anyio_keeps_its_state_elsewhere_none_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from anyio._backends import _asyncio as backend

        monkeypatch.delattr(backend, "_task_states")
        deadlines._states.cache_clear()

        async def main() -> None:
            assert bare_tasks()() is None

        try:
            asyncio.run(main())
        finally:
            deadlines._states.cache_clear()

    def test_a_callback_is_in_no_task(self) -> None:
        async def main() -> Any:
            bare_task = bare_tasks()
            found = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: found.set_result(bare_task()))
            return await found

        assert asyncio.run(main()) is None


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_no_task_is_bare(anyio_backend: str) -> None:
    assert bare_tasks()() is None
