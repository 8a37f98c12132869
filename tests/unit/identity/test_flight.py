from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from udc.identity._flight import Flight


async def test_joiners_share_one_run_and_the_next_begins_another() -> None:
    runs: list[float] = []

    async def work() -> None:
        runs.append(anyio.current_time())
        await anyio.sleep(1)

    flight = Flight(work)
    for _ in range(2):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(flight.join, None)
            await anyio.sleep(0.5)
            assert flight.running
        assert not flight.running
    assert len(runs) == 2


async def test_a_group_that_is_closed_leaves_nobody_waiting() -> None:
    async def work() -> None:
        await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        pass
    flight = Flight(work)
    with pytest.raises(RuntimeError):
        await flight.join(group)
    assert not flight.running
    await flight.join(None)
