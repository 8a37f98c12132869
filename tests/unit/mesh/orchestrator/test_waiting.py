"""The lines in which tasks wait, against the plain way: sort all of them. And what a change costs while many wait."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import anyio
import pytest

from tests.unit.mesh.orchestrator.kit import Worker, tasks
from udc.mesh.orchestrator import Orchestrator, SqliteStore, Terms, machine
from udc.mesh.orchestrator.giving import Giving
from udc.mesh.orchestrator.task import Task
from udc.mesh.orchestrator.times import Times
from udc.mesh.orchestrator.waiting import Waiting
from udc.testing import virtual_time


@pytest.fixture
def anyio_backend() -> Any:
    return virtual_time()


def task(number: int, **fields: Any) -> Task:
    return Task(
        **{
            "task_id": f"{number:08x}-0000-4000-8000-000000000000",
            "trace_id": "9b0c3b52-7f9e-4b8a-8a51-0d6f1a2b3c4d",
            "task_type": "work",
            "title": "work",
            "created_by": 999,
            "created_at": float(number),
            "updated_at": float(number),
            **fields,
        }
    )


def given(waiting: Waiting, *, most: int = 1000, passing: Callable[[Task], bool] = lambda _: False) -> list[str]:
    """The ids that a round gives out, in its order."""
    found: list[str] = []

    def to_somebody(each: Task) -> bool:
        found.append(each.task_id)
        return True

    waiting.give(waiting.wanted, to_somebody=to_somebody, passing=passing, most=most)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_any_changes_come_to_the_same_as_sorting_all(seed: int) -> None:
    chance = random.Random(seed)
    waiting, plain = Waiting(), dict[str, Task]()
    for step in range(400):
        number = chance.randrange(60)
        known = plain.get(task(number).task_id)
        if known is not None:
            waiting.drop(known)
            del plain[known.task_id]
        if chance.random() < 0.7:
            made = task(
                number,
                task_type=chance.choice("ab"),
                required_capability=chance.choice([None, "x"]),
                priority=chance.randrange(1, 4),
                created_at=float(chance.randrange(5)),
                not_before=chance.choice([0.0, 0.0, 100.0]),
                version=step,
            )
            waiting.put(made)
            plain[made.task_id] = made
        if step == 200:
            waiting.end_pauses(100.0)
            plain = {key: replace(each, not_before=0.0) for key, each in plain.items()}
        if step % 20 == 0:
            ready = [each for each in plain.values() if not each.not_before]
            expected = [each.task_id for each in sorted(ready, key=lambda t: (t.priority, t.created_at, t.task_id))]
            assert given(waiting) == expected
            assert given(waiting, most=3) == expected[:3]
            odd = [each for each in expected if int(each[:8], 16) % 2]
            assert given(waiting, passing=lambda t: int(t.task_id[:8], 16) % 2 == 0) == odd
            assert set(waiting.wanted) == {each.capability for each in ready}


def test_a_line_that_nobody_wants_is_asked_for_once() -> None:
    waiting, asked = Waiting(), list[str]()
    for number in range(100):
        waiting.put(task(number, task_type="boast" if number < 90 else "work"))

    def willing(each: Task) -> bool:
        asked.append(each.task_type)
        return each.task_type == "work"

    waiting.give(waiting.wanted, to_somebody=willing, passing=lambda _: False, most=5)
    assert asked == ["boast", *["work"] * 5]


def test_pauses_end_in_their_order() -> None:
    waiting = Waiting()
    for number, not_before in enumerate((30.0, 10.0, 20.0)):
        waiting.put(task(number, not_before=not_before))
    assert (given(waiting), waiting.next_pause()) == ([], 10.0)
    waiting.end_pauses(20.0)
    assert (given(waiting), waiting.next_pause()) == ([task(1).task_id, task(2).task_id], 30.0)
    waiting.drop(task(0, not_before=30.0))
    assert waiting.next_pause() is None


def test_times_are_few_however_often_they_are_set() -> None:
    times = Times()
    for number in range(10_000):
        times.set(f"{number % 10}", float(number))
    times.drop("0")
    assert (times.next(), times.due(9990.0), times.due(9991.0)) == (9991.0, None, "1")
    assert len(times._order) < 200


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many calls of functions, ours and built-in, are made meanwhile."""
    calls = [0]

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        calls[0] += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


KINDS: dict[str, dict[str, Any]] = {
    "able": {},
    "deadline": {"deadline": 4e9},
    "tried": {"not_before": 1.0, "retries": 1},
    "nobody": {"required_capability": "nobody's", "deadline": 4e9},
}


async def calls_made(waiting: int, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """By the Orchestrator's rounds, while one droplet does some tasks and so many others wait."""
    cost = 0
    true_look, true_give = Giving._look, Giving._give_out

    async def look(giving: Giving) -> None:
        nonlocal cost
        with counted() as calls:
            await true_look(giving)
        cost += calls[0]

    def give_out(giving: Giving) -> None:
        nonlocal cost
        with counted() as calls:
            true_give(giving)
        cost += calls[0]

    async with SqliteStore.open(None, threads=False) as store:
        for number in range(waiting):
            await store.add(machine.created(task(number, **({} if number < 6 else fields))), "{}", b"")
        worker = Worker()
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store, terms=Terms(per_instance=1))):
            await anyio.sleep(1)
            with monkeypatch.context() as patched:
                patched.setattr(Giving, "_look", look)
                patched.setattr(Giving, "_give_out", give_out)
                await anyio.sleep(5)
            assert len(worker.done) >= 3
    return cost


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_costs_the_same_however_many_wait(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not measured; `tests.bench.bench_giving` measures it."""
    few, many = [await calls_made(waiting, KINDS[kind], monkeypatch) for waiting in (50, 2000)]

    assert few > 100
    assert many < 1.5 * few, f"{few} calls while 50 wait, {many} while 2,000 do"


def test_a_round_that_fails_loses_no_task() -> None:
    waiting, tried = Waiting(), list[str]()
    for number in range(3):
        waiting.put(task(number))

    def fails_at_the_second(each: Task) -> bool:
        tried.append(each.task_id)
        if len(tried) == 2:
            raise RuntimeError("no place could be told")
        return True

    with pytest.raises(RuntimeError):
        waiting.give(waiting.wanted, to_somebody=fails_at_the_second, passing=lambda _: False, most=10)
    assert given(waiting) == [task(number).task_id for number in range(3)]
