"""What a store of an Orchestrator does, stated once for every kind of it; and kill -9 while it writes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from udc.errors import Conflict, NotFound
from udc.mesh.orchestrator import SqliteStore, Store, machine
from udc.mesh.orchestrator.store import PAGE_CHARACTERS, Filter
from udc.mesh.orchestrator.task import Holder, Status, Task

Opener = Callable[[], AbstractAsyncContextManager[Store]]
ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("UDC_TEST_KILL_ROUNDS", "3"))


@pytest.fixture(params=["sqlite", "sqlite inline"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same store again and again."""
    return lambda: SqliteStore.open(tmp_path / "o.db", threads="inline" not in request.param, changes_kept=20)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


def task(task_id: str = "t", **changes: Any) -> Task:
    made = Task(
        task_id=task_id,
        trace_id="r",
        task_type="resize",
        title="Ä",
        created_by=77,
        created_at=100.0,
        updated_at=100.0,
    )
    return machine.created(replace(made, **changes))


def given(found: Task) -> Task:
    asked = machine.offered(found, Holder(droplet_id="worker-a", attempt=0, instance_id="i", endpoint="http://a"), 1e9)
    assert asked.offer is not None
    return machine.accepted(asked, asked.offer, 101.0)


def done(found: Task) -> Task:
    return machine.completed(given(found), "worker-a", 1, 102.0, result='{"x":[1,null]}')


async def test_everything_comes_back_as_it_went(opener: Opener) -> None:
    async with opener() as store:
        await store.add(task("a", deadline=5.5, description="d", priority=1), '{"n":1}', b"h")
        await store.add(task("b"), "{}", b"h")
        after = await store.change("a", done)
    async with opener() as store:
        kept = await store.get("a")
        assert (kept.task, kept.payload) == (after, '{"n":1}')
        assert kept.task.result == '{"x":[1,null]}'
        assert [each.task_id for each in await store.live()] == ["b"]


async def test_the_same_again_is_the_same(store: Store) -> None:
    first, new = await store.add(task(), "{}", b"h")
    assert new
    await store.change("t", given)
    again, new = await store.add(task(), "{}", b"h")
    assert (again.task_id, again.status, new) == (first.task_id, Status.ASSIGNED, False)
    with pytest.raises(Conflict):
        await store.add(task(), "{}", b"other")


async def test_a_change_that_is_refused_changes_nothing(store: Store) -> None:
    await store.add(task(), "{}", b"h")
    before = await store.get("t")

    def refuse(found: Task) -> Task:
        raise Conflict("no")

    with pytest.raises(Conflict):
        await store.change("t", refuse)
    with pytest.raises(NotFound):
        await store.change("u", given)
    assert await store.get("t") == before
    assert len(await store.changes(0, limit=10)) == 1


async def test_changes_of_one_task_come_one_after_the_other(store: Store) -> None:
    await store.add(task(), "{}", b"h")

    async def count() -> None:
        await store.change("t", lambda found: replace(found, retries=found.retries + 1))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(count)
    found = (await store.get("t")).task
    assert (found.retries, found.version) == (50, 50)


async def test_who_must_still_be_told_is_not_forgotten(store: Store) -> None:
    await store.add(task(), "{}", b"h")
    await store.change("t", lambda found: machine.cancelled(given(found), 77, 103.0))
    [live] = await store.live()
    assert live.untold is not None
    assert await store.forget(ended_before=1e9) == 0
    holder = live.untold
    await store.change("t", lambda found: machine.told(found, holder))
    assert list(await store.live()) == []
    assert await store.forget(ended_before=50.0) == 0
    assert await store.forget(ended_before=1e9) == 1
    with pytest.raises(NotFound):
        await store.get("t")
    assert list(await store.changes(0, limit=10)) == []


async def test_lists_and_counts(store: Store) -> None:
    for number, name in enumerate("abc"):
        await store.add(task(name, created_at=float(number), task_type=name * 2), "{}", b"h")
    await store.change("b", given)

    async def ids(wanted: Filter, **page: int) -> tuple[list[str], int]:
        found, total = await store.list(wanted, **{"limit": 10, "offset": 0, **page})
        return [each.task.task_id for each in found], total

    assert await ids(Filter()) == (["c", "b", "a"], 3)
    assert await ids(Filter(), limit=1, offset=1) == (["b"], 3)
    assert await ids(Filter(status=Status.ASSIGNED, assigned_droplet_id="worker-a")) == (["b"], 1)
    assert await ids(Filter(task_type="aa")) == (["a"], 1)
    assert (await store.counts())[Status.PENDING] == 2


async def test_a_list_of_large_tasks_ends_early(store: Store) -> None:
    large = '"' + "x" * (PAGE_CHARACTERS // 2) + '"'
    for number in range(4):
        await store.add(task(f"t{number}", created_at=float(number)), large, b"h")
    found, total = await store.list(Filter(), limit=10, offset=0)
    assert ([each.task.task_id for each in found], total) == (["t3"], 4)


async def test_why_a_task_still_waits_is_a_change_once(store: Store) -> None:
    """Who was asked has refused: the state is the same, but who watches wants to know."""
    await store.add(task(), "{}", b"h")
    holder = Holder(droplet_id=31, attempt=1)
    for number in range(2):
        await store.change("t", lambda found: machine.offered(found, holder, 101.0))
        await store.change(
            "t", lambda found: machine.refused(found, holder, why="it is not reachable", not_before=101.0)
        )
        told = [change.task.error_message for change in await store.changes(0, limit=10)]
        assert told == [None, "it is not reachable"], number


async def test_changes_are_told_in_order_and_the_oldest_go(store: Store) -> None:
    await store.add(task(), '{"n":1}', b"h")
    await store.change("t", done)
    first, second = await store.changes(0, limit=10)
    assert (first.seq, first.task.status, first.task.result) == (1, Status.PENDING, None)
    assert (second.seq, second.task.status, second.task.result) == (2, Status.COMPLETED, '{"x":[1,null]}')
    assert second.payload == '{"n":1}'
    assert [each.seq for each in await store.changes(1, limit=10)] == [2]
    for number in range(30):
        await store.add(task(f"t{number}"), "{}", b"h")
    assert await store.bounds() == (13, 32)
    assert [each.seq for each in await store.changes(0, limit=2)] == [13, 14]


async def test_what_is_no_news_is_not_told(store: Store) -> None:
    await store.add(task(), "{}", b"h")
    await store.change("t", lambda found: replace(found, not_before=5.0))
    await store.change("t", lambda found: found)
    assert await store.bounds() == (1, 1)
    assert (await store.get("t")).task.version == 1


async def test_who_polls_is_remembered(opener: Opener) -> None:
    async with opener() as store:
        for record in ("1", "2"):
            await store.put_poller("worker-a", record)
        await store.put_poller(31, "3")
    async with opener() as store:
        assert sorted(await store.pollers(), key=str) == [("worker-a", "2"), (31, "3")]


WRITER = """
import sys
from pathlib import Path

import anyio
from udc.mesh.orchestrator import SqliteStore, machine
from udc.mesh.orchestrator.task import Holder, Task


def task(task_id):
    return machine.created(
        Task(task_id=task_id, trace_id="r", task_type="x", title="x", created_by=7, created_at=1.0, updated_at=1.0)
    )


def done(found):
    asked = machine.offered(found, Holder(droplet_id=31, attempt=0), 1e9)
    return machine.completed(asked, 31, 1, 2.0, result="1")


async def main(path, first):
    async def work(number):
        while True:
            await store.add(task(f"t{number}"), "{}", b"h")
            print(f"added t{number}", flush=True)
            await store.change(f"t{number}", done)
            print(f"done t{number}", flush=True)
            number += 4

    async with SqliteStore.open(Path(path)) as store, anyio.create_task_group() as tasks:
        for worker in range(4):
            tasks.start_soon(work, first + worker)


anyio.run(main, sys.argv[1], int(sys.argv[2]))
"""


def answered_before_death(path: Path, first: int, enough: int) -> dict[str, str]:
    """Have tasks written by a process that is killed; what it said was on the disk."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(enough)]
        assert all(lines), "it ended by itself"
        process.kill()
        lines += [line for line in process.stdout if line.endswith("\n")]
    words = [line.split() for line in lines]
    return {task_id: word for word, task_id in words}


@pytest.mark.timeout(30 + 10 * ROUNDS)
def test_kill_9_takes_back_nothing_that_was_answered(tmp_path: Path) -> None:
    chance, path = random.Random(3), tmp_path / "o.db"
    answered: dict[str, str] = {}

    async def look() -> None:
        async with SqliteStore.open(path) as store:
            for task_id, word in answered.items():
                found = (await store.get(task_id)).task
                assert found.status is Status.COMPLETED or word == "added", (task_id, word, found.status)

    for number in range(ROUNDS):
        answered |= answered_before_death(path, 10_000 * (number + 1), chance.randrange(2, 60))
        anyio.run(look)
    assert len(answered) > ROUNDS
