from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from udc.dispatch.dedup import Ledger, Remembered
from udc.dispatch.run import Outcome
from udc.errors import BusinessError, Conflict, ContractError, Overloaded, PeerError, Timeout, UdcError
from udc.instrument import Instrument, ReceiptEvicted

KEY = (3, "m-1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A ledger, and work that is counted."""

    def __init__(self, **limits: Any) -> None:
        self.events: list[Any] = []
        self.clock = Clock()
        self.ledger = Ledger(clock=self.clock, instrument=Instrument([self.events.append]), **limits)
        self.runs = 0

    async def once(
        self, key: Any = KEY, fingerprint: bytes = b"f", *, error: UdcError | None = None, data: bytes = b"1"
    ) -> tuple[Outcome, bool]:
        async def run() -> Outcome:
            self.runs += 1
            if error is not None:
                raise error
            return Outcome(data=data)

        return await self.ledger.once(key, fingerprint, run)


async def test_it_is_done_once_and_answered_again() -> None:
    desk = Desk()
    assert await desk.once() == (Outcome(data=b"1"), False)
    assert await desk.once(data=b"2") == (Outcome(data=b"1"), True)
    assert await desk.once((4, "m-1"), data=b"4") == (Outcome(data=b"4"), False)
    assert desk.runs == 2
    assert len(desk.ledger) == 2


async def test_an_id_used_for_something_else_is_a_conflict() -> None:
    desk = Desk()
    await desk.once()
    with pytest.raises(Conflict, match="message_id 'm-1' has been used for another action or payload") as caught:
        await desk.once(fingerprint=b"other")
    assert caught.value.details == {"message_id": "m-1"}
    assert desk.runs == 1


async def test_the_window_ends() -> None:
    desk = Desk(window_seconds=600)
    await desk.once()
    desk.clock.now += 599.9
    assert (await desk.once())[1]
    desk.clock.now += 0.1
    assert not (await desk.once())[1]
    assert len(desk.ledger) == 1
    assert desk.events == []


@pytest.mark.parametrize(
    "error",
    [
        BusinessError("QUOTA_SPENT", "nothing left", details={"left": 0}),
        Timeout("late"),
        PeerError("no", peer="billing", status=500, code="BOOM"),
    ],
)
async def test_a_failure_for_good_is_kept_and_raised_afresh(error: UdcError) -> None:
    desk = Desk()
    with pytest.raises(type(error)) as first:
        await desk.once(error=error)
    raised = []
    for _ in range(2):
        with pytest.raises(type(error)) as again:
            await desk.once()
        raised.append(again.value)
    assert first.value is error
    assert raised[0] is not raised[1]
    assert raised[0] is not error
    assert vars(raised[0]) == vars(error)
    assert (raised[0].args, str(raised[0])) == (error.args, str(error))
    assert desk.runs == 1


async def test_a_kept_failure_holds_no_frames() -> None:
    desk = Desk()
    with pytest.raises(Timeout):
        await desk.once(error=Timeout("late"))
    (entry,) = desk.ledger._done.values()
    assert isinstance(entry.answer, Timeout)
    assert entry.answer.__traceback__ is None
    assert entry.answer.__context__ is None


@pytest.mark.parametrize("error", [Overloaded("full"), BusinessError("BUSY", "later", retryable=True)])
async def test_a_retryable_failure_is_not_kept(error: ContractError) -> None:
    desk = Desk()
    with pytest.raises(type(error)):
        await desk.once(error=error)
    assert await desk.once() == (Outcome(data=b"1"), False)
    assert desk.ledger.size > 0


async def test_what_is_no_answer_is_not_kept() -> None:
    desk = Desk()
    with pytest.raises(RuntimeError):
        await desk.once(error=RuntimeError("x"))  # type: ignore[arg-type]  # whatever may come
    assert len(desk.ledger) == 0
    assert not (await desk.once())[1]


async def test_the_oldest_go_early_when_there_are_too_many() -> None:
    desk = Desk(max_entries=2)
    for n in range(3):
        await desk.once((1, str(n)))
        desk.clock.now += 1
    assert desk.events == [ReceiptEvicted(age_seconds=2.0)]
    assert (await desk.once((1, "2")))[1]
    assert not (await desk.once((1, "0")))[1]


async def test_the_oldest_go_early_when_they_take_too_much() -> None:
    desk = Desk(max_bytes=4000)
    await desk.once((1, "a"), data=b"x" * 2000)
    assert 2000 < desk.ledger.size < 4000
    await desk.once((1, "b"), data=b"x" * 2000)
    assert len(desk.ledger) == 1
    await desk.once((1, "c"), data=b"x" * 5000)
    assert len(desk.ledger) == 0
    assert desk.ledger.size == 0
    assert len(desk.events) == 3


async def test_a_big_failure_counts_as_much_as_it_holds() -> None:
    desk = Desk()
    with pytest.raises(BusinessError):
        await desk.once(error=BusinessError("BIG", "x" * 5000))
    assert desk.ledger.size > 5000


class Gate:
    """Work that waits to be told how it ends."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.error: BaseException | None = None
        self.runs = 0

    async def run(self) -> Outcome:
        self.runs += 1
        await self.open.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return Outcome(data=b"1")


async def collect(desk: Desk, gate: Gate, into: list[Any], fingerprint: bytes = b"f") -> None:
    try:
        into.append(await desk.ledger.once(KEY, fingerprint, gate.run))
    except UdcError as error:
        into.append(error)


async def test_a_duplicate_waits_for_the_first() -> None:
    desk, gate, got = Desk(max_entries=0), Gate(), list[Any]()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(collect, desk, gate, got)
            await wait_all_tasks_blocked()
        await collect(desk, gate, got, b"other")
        assert isinstance(got.pop(), Conflict)
        gate.open.set()
    assert got == [(Outcome(data=b"1"), False), (Outcome(data=b"1"), True), (Outcome(data=b"1"), True)]
    assert gate.runs == 1


async def test_a_duplicate_gets_the_firsts_failure() -> None:
    desk, gate, got = Desk(), Gate(), list[Any]()
    gate.error = Timeout("late")
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(collect, desk, gate, got)
            await wait_all_tasks_blocked()
        gate.open.set()
    assert [type(answer) for answer in got] == [Timeout, Timeout]
    assert got[0] is not got[1]
    assert gate.runs == 1


async def test_when_the_first_fails_retryably_one_of_those_who_wait_runs_it() -> None:
    desk, gate, got = Desk(), Gate(), list[Any]()
    gate.error = Overloaded("full")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(collect, desk, gate, got)
            await wait_all_tasks_blocked()
        gate.open.set()
    assert isinstance(got[0], Overloaded)
    assert sorted(got[1:], key=lambda g: g[1]) == [(Outcome(data=b"1"), False), (Outcome(data=b"1"), True)]
    assert gate.runs == 2


async def test_when_the_first_is_cancelled_one_who_waits_runs_it() -> None:
    desk, gate, got = Desk(), Gate(), list[Any]()
    first = anyio.CancelScope()

    async def leaves() -> None:
        with first:
            await collect(desk, gate, got)

    async with anyio.create_task_group() as group:
        group.start_soon(leaves)
        await wait_all_tasks_blocked()
        group.start_soon(collect, desk, gate, got)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        gate.open.set()
    assert got == [(Outcome(data=b"1"), False)]
    assert gate.runs == 2


async def test_a_cancelled_duplicate_does_the_first_no_harm() -> None:
    desk, gate, got = Desk(), Gate(), list[Any]()
    async with anyio.create_task_group() as group:
        group.start_soon(collect, desk, gate, got)
        await wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await collect(desk, gate, got)
        gate.open.set()
    assert got == [(Outcome(data=b"1"), False)]


async def test_news_are_told_once_and_only_of_what_is_still_remembered() -> None:
    desk = Desk(max_entries=3)
    await desk.once((3, "before"))
    told: list[int] = []
    desk.ledger.report(lambda: told.append(1))
    assert desk.ledger.news() == []
    for number in range(5):
        await desk.once((3, f"m-{number}"))
        desk.clock.now += 1
    with pytest.raises(Overloaded):
        await desk.once((3, "later"), error=Overloaded("full"))
    assert len(told) == 5
    news = desk.ledger.news()
    assert [(entry.key, entry.age_seconds) for entry in news] == [
        ((3, "m-2"), 3.0),
        ((3, "m-3"), 2.0),
        ((3, "m-4"), 1.0),
    ]
    assert (desk.ledger.news(), desk.ledger.oldest_seconds) == ([], 3.0)
    assert desk.ledger.remembered() == news
    desk.clock.now += 598
    await desk.once((3, "m-9"))
    assert [entry.key[1] for entry in desk.ledger.remembered()] == ["m-4", "m-9"]
    assert Desk().ledger.oldest_seconds == 0.0


async def test_news_nobody_takes_are_bounded() -> None:
    desk = Desk(max_entries=10)
    desk.ledger.report(lambda: None)
    for number in range(100):
        await desk.once((3, f"m-{number}"))
    assert len(desk.ledger._news or ()) == 10


async def test_an_earlier_life_is_taken_up_in_order_and_what_is_known_stays() -> None:
    first, second = Desk(), Desk(max_entries=4)
    for name in ("a", "b", "c", "d"):
        await first.once((3, name), data=b"old")
        first.clock.now += 10
    second.clock.now = 50.0  # another machine's monotonic clock, younger than the entries
    await second.once((3, "c"), data=b"new")
    second.ledger.restore(reversed(first.ledger.remembered()))
    assert [entry.key[1] for entry in second.ledger.remembered()] == ["a", "b", "d", "c"]
    assert (await second.once((3, "c")))[0].data == b"new"
    assert (await second.once((3, "a")))[0].data == b"old"
    await second.once((3, "e"))
    assert [entry.key[1] for entry in second.ledger.remembered()] == ["b", "d", "c", "e"]
    assert second.ledger.size == sum(entry.size for entry in second.ledger._done.values())


async def test_what_is_older_than_the_window_is_not_taken_up() -> None:
    desk = Desk(window_seconds=10)
    desk.ledger.restore([Remembered((3, "m"), b"f", Outcome(), age) for age in (10.0, 11.0)])
    assert len(desk.ledger) == 0
    desk.ledger.restore([Remembered((3, "m"), b"f", Outcome(), 9.0)])
    desk.clock.now += 1
    assert not (await desk.once((3, "m")))[1]


class LedgerMachine(RuleBasedStateMachine):
    """Any order of messages, duplicates, endings and time: done at most once at a time, never again while known."""

    IDS = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.manager: AbstractContextManager[BlockingPortal] = start_blocking_portal("asyncio")
        self.portal = self.manager.__enter__()
        self.desk = Desk(window_seconds=10, max_entries=2)
        self.running: dict[str, list[anyio.Event]] = {}
        self.endings: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        self.answered: dict[str, list[Any]] = {}
        self.most = 0

    async def _ask(self, name: str) -> None:
        async def run() -> Outcome:
            gates = self.running.setdefault(name, [])
            gates.append(gate := anyio.Event())
            self.most = max(self.most, len(gates))
            try:
                await gate.wait()
            finally:
                gates.remove(gate)
            ending = self.endings.pop(name, "done")
            if ending == "retry":
                raise Overloaded("full")
            if ending == "failed":
                raise Timeout("late")
            return Outcome(data=name.encode())

        try:
            answer: Any = await self.desk.ledger.once((1, name), name.encode(), run)
        except ContractError as error:
            answer = error
        self.answered.setdefault(name, []).append(answer)

    async def _settled(self, step: Callable[[], None]) -> None:
        step()
        await wait_all_tasks_blocked()

    def _step(self, step: Callable[[], None]) -> None:
        self.portal.call(self._settled, step)

    @rule(name=IDS)
    def ask(self, name: str) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1
        known = (1, name) in self.desk.ledger._done and self.desk.ledger._done[1, name].at > self.desk.clock.now - 10
        before = len(self.answered.get(name, []))
        self.portal.start_task_soon(self._ask, name)
        self._step(lambda: None)
        if known:  # answered at once, without a run
            assert len(self.answered[name]) == before + 1
            assert not self.running.get(name)

    @rule(name=IDS, ending=st.sampled_from(["done", "retry", "failed"]))
    def end(self, name: str, ending: str) -> None:
        if self.running.get(name):
            self.endings[name] = ending
            waiting = self.asked[name] - len(self.answered.get(name, []))
            self._step(lambda: self.running[name][0].set())
            if ending == "retry":  # one gets the error, another of those who wait takes over
                assert len(self.running[name]) == (1 if waiting > 1 else 0)
            else:
                assert self.asked[name] == len(self.answered[name])

    @rule(seconds=st.sampled_from([1, 11]))
    def wait(self, seconds: int) -> None:
        self.desk.clock.now += seconds

    @invariant()
    def never_twice_at_the_same_time(self) -> None:
        assert self.most <= 1

    @invariant()
    def within_its_bounds(self) -> None:
        assert len(self.desk.ledger) <= 2
        assert self.desk.ledger.size == sum(entry.size for entry in self.desk.ledger._done.values())

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        for name, asked in self.asked.items():
            assert asked == len(self.answered.get(name, [])) or self.running.get(name)

    def _open_all(self) -> None:
        for gates in self.running.values():
            for gate in gates:
                gate.set()

    def teardown(self) -> None:
        while any(self.running.values()):
            self._step(self._open_all)
        assert all(asked == len(self.answered[name]) for name, asked in self.asked.items())
        self.manager.__exit__(None, None, None)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
