from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from anyio import wait_all_tasks_blocked

from udc.dispatch.inflight import InFlight
from udc.errors import BusinessError, Overloaded, Timeout


async def test_it_counts_and_limits() -> None:
    flight = InFlight(2)
    with flight.enter("a"), flight.enter("a"):
        assert flight.count == 2
        with pytest.raises(Overloaded) as caught:
            flight.enter("b")
        assert caught.value.retry_after_seconds == 1.0
        assert caught.value.details == {"limit": 2}
    assert flight.count == 0
    with flight.enter("b") as work:
        pass
    assert work.ending() is None


async def test_only_the_senders_own_work_of_the_trace_is_cancelled() -> None:
    flight = InFlight()
    with flight.enter("a", source=1) as mine, flight.enter("a", source=2) as other, flight.enter("b", source=1) as far:
        assert flight.cancel_trace("a", by=1) == 1
        assert flight.cancel_trace("a", by=1) == 0
        assert flight.cancel_trace("nothing", by=None) == 0
        assert [w.scope is not None and w.scope.cancel_called for w in (mine, other, far)] == [True, False, False]
        assert flight.cancel_trace("a", by=None) == 1
        assert flight.cancel_all() == 1
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()


async def test_the_ending_says_why() -> None:
    flight = InFlight()
    with flight.enter("a") as by_trace:
        flight.cancel_trace("a", by=None)
        await anyio.sleep_forever()
    with flight.enter("a") as by_stop:
        flight.cancel_all()
        await anyio.sleep_forever()
    past = anyio.current_time() - 1
    with flight.enter("a", deadline=past) as late:
        await anyio.sleep_forever()
    with flight.enter("a", deadline=past) as unserved:
        unserved.waits_for_thread = True
        await anyio.sleep_forever()
    endings = [work.ending() for work in (by_trace, by_stop, late, unserved)]
    assert [type(error) for error in endings] == [BusinessError, BusinessError, Timeout, Overloaded]
    assert [error and error.message for error in endings] == [
        "trace a was cancelled",
        "the droplet stopped before the work was done",
        "the handler was not done by its deadline",
        "all threads are busy, and none came free in time; nothing ran",
    ]
    assert endings[3] is not None
    assert endings[3].retry_after_seconds == 1.0
    assert flight.count == 0


async def test_work_that_timed_out_is_not_cancelled_again() -> None:
    flight = InFlight()
    with flight.enter("a") as work:
        assert work.scope is not None
        work.scope.cancel()
        assert flight.cancel_trace("a", by=None) == 0


async def test_an_error_leaves_nothing_behind() -> None:
    flight = InFlight()
    with pytest.raises(ValueError, match="x"), flight.enter("a"):
        raise ValueError("x")
    assert flight.count == 0
    assert flight.cancel_trace("a", by=None) == 0


async def test_drained_waits_for_the_last() -> None:
    flight = InFlight()
    await flight.drained()
    order: list[str] = []

    async def wait() -> None:
        await flight.drained()
        order.append("drained")

    async with anyio.create_task_group() as group:
        with flight.enter("a"):
            with flight.enter("b"):
                group.start_soon(wait)
                group.start_soon(wait)
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            order.append("last one done")
    assert order == ["last one done", "drained", "drained"]


async def test_drained_waits_on_when_new_work_slips_in() -> None:
    flight = InFlight()
    done = False

    async def wait() -> None:
        nonlocal done
        await flight.drained()
        done = True

    async with anyio.create_task_group() as group:
        with flight.enter("a"):
            group.start_soon(wait)
            await wait_all_tasks_blocked()
        with flight.enter("b"):
            await wait_all_tasks_blocked()
            assert not done
    assert done
