"""Whom tasks go to, in which order, and what brings them back: a whole mesh in virtual time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.unit.mesh.orchestrator.kit import Second, Worker, at, states, tasks
from udc import Droplet
from udc.mesh.orchestrator import Orchestrator, Terms
from udc.mesh.orchestrator.store import SqliteStore
from udc.mesh.orchestrator.task import Task
from udc.mesh.registry import Registry
from udc.testing import virtual_time


@pytest.fixture
def anyio_backend() -> Any:
    return virtual_time()


async def test_a_task_is_done_and_its_history_tells_how() -> None:
    async with tasks(Worker()) as desk:
        done = await desk.end(await desk.create("a", seconds=4))

    assert (done["status"], done["result"], done["attempt"]) == ("completed", "a by 31", 1)
    assert states(done) == ["pending", "assigned", "in_progress", "completed"]
    assert (done["assigned_droplet_id"], done["created_by"]) == (31, 999)
    assert done["progress"]["percent"] == 50


async def test_the_least_loaded_gets_the_next_one() -> None:
    async with tasks(Worker, Second) as desk:
        ids = [await desk.create(str(number), seconds=5) for number in range(6)]
        given = [(await desk.end(each))["assigned_droplet_id"] for each in ids]

    assert sorted(given) == [31, 31, 31, 32, 32, 32]


async def test_among_equals_the_one_that_says_it_is_idle() -> None:
    silent = {"orchestrator.report_state": False}  # what they really use is not what is told here
    async with tasks(Worker(config=silent), Second(config=silent)) as desk:
        for droplet_id, cpu in ((31, 90.0), (32, 3.0)):
            report = {"droplet_id": droplet_id, "status": "active", "metrics": {"cpu_percent": cpu}}
            await desk.ask("POST", "/heartbeat", json=report)
        given = [(await desk.end(await desk.create()))["assigned_droplet_id"] for _ in range(5)]

    assert given == [32] * 5


async def test_most_urgent_first_then_oldest() -> None:
    terms = Terms(per_instance=1)
    worker = Worker()
    async with tasks(worker, terms=terms) as desk:
        await desk.create("first", seconds=5)
        await anyio.sleep(1)
        ids = []
        for label, priority in (("late", 9), ("b", 5), ("c", 5), ("urgent", 1)):
            ids.append(await desk.create(label, priority=priority))
            await anyio.sleep(0.1)
        for each in ids:
            await desk.end(each)

    assert worker.done == ["first", "urgent", "b", "c", "late"]


async def test_a_capability_may_be_asked_for_by_name() -> None:
    class Fast(Worker):
        id, name = 34, "Fast"
        capabilities = ("work", "fast")

    async with tasks(Worker, Fast) as desk:
        given = [
            (await desk.end(await desk.create(required_capability="fast")))["assigned_droplet_id"] for _ in range(4)
        ]

    assert given == [34] * 4


async def test_a_task_waits_until_somebody_can_do_it() -> None:
    async with tasks() as desk:
        task_id = await desk.create()
        await anyio.sleep(600)
        assert (await desk.get(task_id))["status"] == "pending"
        await desk.world.start(Worker)
        assert (await desk.end(task_id))["status"] == "completed"


async def test_a_failure_is_tried_again_with_growing_pauses() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        record = await desk.end(await desk.create("a", fail=2))

    assert (record["status"], record["attempt"], record["retries"]) == ("completed", 3, 2)
    pending = [at(step["at"]) for step in record["state_history"] if step["status"] == "pending"]
    again = [at(step["at"]) for step in record["state_history"] if step["status"] == "assigned"]
    first, second = ((again[n] - pending[n]).total_seconds() for n in (1, 2))
    assert 0.5 <= first <= 1.2
    assert 1.0 <= second <= 2.2


async def test_its_retries_are_used_up() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        record = await desk.end(await desk.create("a", fail=9, max_retries=1))

    assert (record["status"], record["attempt"]) == ("failed", 2)
    assert record["error_message"].startswith("INTERNAL_ERROR")
    assert len(worker.began) == 2


async def test_what_cannot_be_mended_is_not_tried_again() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        record = await desk.end(await desk.create("a", seconds="soon"))

    assert (record["status"], record["attempt"]) == ("failed", 1)
    assert record["error_message"].startswith("INVALID_REQUEST")


async def test_a_deadline_fails_it_and_stops_the_work() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        task_id = await desk.create("a", seconds=100, deadline=desk.deadline(5))
        record = await desk.end(task_id)
        await anyio.sleep(2)
        assert (record["status"], worker.cancelled) == ("failed", ["a"])
        assert record["error_message"].startswith("DEADLINE_EXCEEDED")
        took = at(record["updated_at"]) - at(record["created_at"])
        assert 4.9 <= took.total_seconds() <= 5.5
        assert await desk.get(task_id) == record


async def test_a_deadline_fails_a_task_that_nobody_took() -> None:
    async with tasks() as desk:
        record = await desk.end(await desk.create(deadline=desk.deadline(5)))

    assert (record["status"], states(record)) == ("failed", ["pending", "failed"])


async def test_a_cancelled_task_stops_at_its_droplet() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        task_id = await desk.create("a", seconds=100)
        await desk.until(task_id, "in_progress")
        record = await desk.cancel(task_id)
        await anyio.sleep(2)
        assert (record["status"], worker.cancelled, worker.done) == ("cancelled", ["a"], [])
        assert await desk.get(task_id) == record


async def test_who_dies_loses_its_task_to_another() -> None:
    async with tasks(Worker, Second) as desk:
        task_id = await desk.create("a", seconds=20)
        first = (await desk.until(task_id, "in_progress"))["assigned_droplet_id"]
        desk.world.faults.crash(first)
        record = await desk.end(task_id)

    assert (record["status"], record["attempt"], record["retries"]) == ("completed", 2, 1)
    assert record["assigned_droplet_id"] == {31: 32, 32: 31}[first]
    assert "pending" in states(record)[1:]


async def test_who_is_started_anew_has_lost_its_task() -> None:
    """The new instance is at the old one's address: that shows at once, without waiting for its lease to end."""
    async with tasks(Worker) as desk:
        task_id = await desk.create("a", seconds=20)
        await desk.until(task_id, "in_progress")
        began = desk.world.now()
        desk.world.faults.crash("Worker")
        await desk.world.faults.restart("Worker")
        await desk.until(task_id, "pending", "assigned")
        assert (desk.world.now() - began).total_seconds() < 8
        record = await desk.end(task_id)

    assert (record["status"], record["retries"]) == ("completed", 1)


async def test_who_stops_hands_its_task_back_and_no_attempt_is_counted() -> None:
    async with tasks(Worker, Second) as desk:
        task_id = await desk.create("a", seconds=60, max_retries=0)
        first = (await desk.until(task_id, "in_progress"))["assigned_droplet_id"]
        await desk.world.stop(first)
        record = await desk.end(task_id)

    assert (record["status"], record["attempt"], record["retries"]) == ("completed", 2, 0)
    assert any("DRAINING" in step["note"] for step in record["state_history"])


async def test_who_stops_may_finish_what_is_short() -> None:
    async with tasks(Worker, Second) as desk:
        task_id = await desk.create("a", seconds=2)
        first = (await desk.until(task_id, "in_progress"))["assigned_droplet_id"]
        await desk.world.stop(first)
        record = await desk.get(task_id)

    assert (record["status"], record["attempt"], record["assigned_droplet_id"]) == ("completed", 1, first)


async def test_what_is_not_acknowledged_in_time_is_given_again() -> None:
    """What Worker says does not get through, so it is asked again: the later attempt joins the run that goes on."""
    worker = Worker()
    async with tasks(worker, terms=Terms(acknowledge_seconds=4)) as desk:
        task_id = await desk.create("a", seconds=20)
        desk.world.faults.refuse("Orchestrator")
        await anyio.sleep(10)
        desk.world.faults.heal("Orchestrator")
        record = await desk.end(task_id)

    assert (record["status"], worker.began) == ("completed", ["a"])
    assert record["attempt"] >= 2
    lost = [step for step in record["state_history"] if step["note"] == "it was not acknowledged in time"]
    assert lost
    waited = at(lost[0]["at"]) - at(record["state_history"][1]["at"])
    assert 4 <= waited.total_seconds() <= 4.5


async def test_a_droplet_that_is_away_for_a_moment_keeps_its_task() -> None:
    """Its lease has not ended, so nothing is done twice."""
    worker = Worker()
    async with tasks(worker) as desk:
        task_id = await desk.create("a", seconds=10)
        await desk.until(task_id, "in_progress")
        desk.world.faults.refuse("Worker")
        await anyio.sleep(5)
        desk.world.faults.heal("Worker")
        record = await desk.end(task_id)

    assert (record["attempt"], worker.began) == (1, ["a"])


async def test_while_the_registry_is_away_work_goes_on() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        await desk.end(await desk.create("before"))
        desk.world.registry.down()
        running = await desk.create("long", seconds=120)
        record = await desk.end(running)
        desk.world.registry.up()

    assert (record["status"], record["attempt"]) == ("completed", 1)


async def test_a_restart_of_the_orchestrator_goes_on_where_it_was() -> None:
    worker = Worker()
    async with SqliteStore.open(None, threads=False) as store:
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store)) as desk:
            running = await desk.create("running", seconds=10)
            await desk.until(running, "in_progress")
            waiting = await desk.create("waiting", required_capability="nobody's", deadline=desk.deadline(30))
            desk.world.faults.crash("Orchestrator")
            await anyio.sleep(3)
            await desk.world.faults.restart("Orchestrator")
            assert (await desk.end(running))["attempt"] == 1
            assert (await desk.end(waiting))["status"] == "failed"

    assert (worker.began, worker.done) == (["running"], ["running"])


async def test_what_ended_while_the_orchestrator_was_away_is_heard_when_it_is_back() -> None:
    worker = Worker()
    async with SqliteStore.open(None, threads=False) as store:
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store)) as desk:
            running = await desk.create("running", seconds=4)
            await desk.until(running, "in_progress")
            desk.world.faults.crash("Orchestrator")
            await anyio.sleep(40)
            await desk.world.faults.restart("Orchestrator")
            record = await desk.end(running)

    assert (record["status"], record["attempt"], worker.began) == ("completed", 1, ["running"])


async def test_who_died_while_the_orchestrator_was_away_has_lost_its_task() -> None:
    """The droplet never comes back to say so: the Orchestrator must have remembered whom it gave the task to."""
    async with SqliteStore.open(None, threads=False) as store:
        async with tasks(Worker, Second, orchestrator=lambda: Orchestrator(store=store)) as desk:
            running = await desk.create("running", seconds=20)
            first = (await desk.until(running, "in_progress"))["assigned_droplet_id"]
            desk.world.faults.crash("Orchestrator")
            desk.world.faults.crash(first)
            await anyio.sleep(1)
            await desk.world.faults.restart("Orchestrator")
            record = await desk.end(running)

    assert (record["status"], record["attempt"]) == ("completed", 2)
    assert record["assigned_droplet_id"] != first


async def test_who_was_being_asked_when_the_orchestrator_died_is_asked_the_same_again() -> None:
    worker = Worker()
    async with SqliteStore.open(None, threads=False) as store:
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store)) as desk:
            await anyio.sleep(1)
            desk.world.faults.pause("Worker")
            running = await desk.create("running", seconds=5)
            await anyio.sleep(1)
            assert (await desk.get(running))["status"] == "pending"
            [live] = await store.live()
            assert live.offer is not None
            desk.world.faults.crash("Orchestrator")
            desk.world.faults.heal("Worker")
            await desk.world.faults.restart("Orchestrator")
            record = await desk.end(running)

    assert (record["status"], record["attempt"], worker.began) == ("completed", 1, ["running"])


async def test_who_must_be_told_is_told_after_a_restart_too() -> None:
    worker = Worker()
    async with SqliteStore.open(None, threads=False) as store:
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store)) as desk:
            running = await desk.create("running", seconds=200)
            await desk.until(running, "in_progress")
            desk.world.faults.refuse("Worker")
            await desk.cancel(running)
            await anyio.sleep(2)
            desk.world.faults.crash("Orchestrator")
            desk.world.faults.heal("Worker")
            assert worker.cancelled == []
            await desk.world.faults.restart("Orchestrator")
            await anyio.sleep(5)
            assert worker.cancelled == ["running"]
            assert list(await store.live()) == []


async def test_the_instance_that_has_it_is_told_to_stop() -> None:
    async with tasks(Worker, Worker) as desk:
        await anyio.sleep(1)
        ids = [await desk.create(str(number), seconds=200) for number in range(6)]
        for each in ids:
            await desk.until(each, "in_progress")
        for each in ids:
            await desk.cancel(each)
        await anyio.sleep(3)
        # Copied: what is cancelled at the end of the mesh does not count.
        found = [list(each.droplet.cancelled) for each in desk.world.instances("Worker")]  # type: ignore[attr-defined]

    assert sorted(len(each) for each in found) == [3, 3]
    assert sorted(label for each in found for label in each) == [str(number) for number in range(6)]


async def test_an_instance_that_drains_is_told_to_stop_though_another_is_ready() -> None:
    """Cancels are answered in every phase."""
    workers = [Worker(), Worker()]
    async with tasks(*workers) as desk:
        await anyio.sleep(1)
        task_id = await desk.create("a", seconds=200)
        await desk.until(task_id, "in_progress")
        [holder] = [each for each in workers if each.began]
        async with anyio.create_task_group() as group:
            group.start_soon(desk.world.stop, holder)
            await anyio.sleep(2)
            await desk.cancel(task_id)
            await anyio.sleep(1)
            told = list(holder.cancelled)

    assert told == ["a"]


async def test_an_answer_that_was_lost_does_not_run_it_twice() -> None:
    worker = Worker()
    async with tasks(worker) as desk:
        desk.world.faults.lose_answers("Worker", path="/task")
        record = await desk.end(await desk.create("a", seconds=5))

    assert (record["status"], record["attempt"], worker.began) == ("completed", 1, ["a"])


async def test_who_has_no_handler_for_it_is_not_asked_again_and_again() -> None:
    class Braggart(Droplet):
        id, name, steward = 35, "Braggart", "tests"
        capabilities = ("work",)

    asked: list[Any] = []

    def hook(event: Any) -> None:
        if getattr(event, "route", "") == "/task":
            asked.append(event)

    async with tasks(Braggart(hooks=[hook])) as desk:
        task_id = await desk.create()
        await anyio.sleep(30)
        record = await desk.get(task_id)
        assert (record["status"], record["attempt"], len(asked)) == ("pending", 0, 1)
        assert "NO_HANDLER" in record["error_message"]
        await desk.world.start(Worker)
        assert (await desk.end(task_id))["assigned_droplet_id"] == 31


@pytest.mark.parametrize(
    ("how", "why"), [("crash", "not heard of any more"), ("stop", "DRAINING"), ("refuse", "not reachable")]
)
async def test_a_task_that_waits_again_tells_why(how: str, why: str) -> None:
    async with tasks(Worker) as desk:
        await anyio.sleep(1)
        if how == "refuse":
            desk.world.faults.refuse("Worker")
        task_id = await desk.create("a", seconds=60)
        if how != "refuse":
            await desk.until(task_id, "in_progress")
            await (desk.world.stop("Worker") if how == "stop" else anyio.lowlevel.checkpoint())
            if how == "crash":
                desk.world.faults.crash("Worker")
        await anyio.sleep(40)
        record = await desk.get(task_id)
        listed = (await desk.ask("GET", "/tasks"))["tasks"]

    assert record["status"] == "pending"
    assert why in record["error_message"]
    assert [each["error_message"] for each in listed] == [record["error_message"]]


async def test_tasks_that_all_refuse_keep_no_others_from_their_turn() -> None:
    """However many there are of them, and although they are older."""

    class Braggart(Droplet):
        id, name, steward = 35, "Braggart", "tests"
        capabilities = ("boast",)

    async with tasks(Braggart, Worker) as desk:
        for number in range(210):
            await desk.create(str(number), task_type="boast")
        await anyio.sleep(5)
        assert (await desk.end(await desk.create("a"), seconds=20))["status"] == "completed"


async def test_a_refusal_that_could_not_be_written_down_does_not_keep_the_task() -> None:
    class FullDisk(SqliteStore):
        full = False
        refused = 0

        async def change(self, task_id: str, what: Callable[[Task], Task]) -> Task:
            if self.full:
                self.refused += 1
                raise sqlite3.OperationalError("database or disk is full")
            return await super().change(task_id, what)

    class Braggart(Droplet):
        id, name, steward = 35, "Braggart", "tests"
        capabilities = ("work",)

    async with FullDisk.open(None, threads=False) as store:
        assert isinstance(store, FullDisk)

        def fill(event: Any) -> None:
            if getattr(event, "route", "") == "/task":
                store.full = True

        async with tasks(Braggart(hooks=[fill]), orchestrator=lambda: Orchestrator(store=store)) as desk:
            task_id = await desk.create("a")
            await anyio.sleep(10)
            assert store.full
            assert store.refused < 20
            await desk.world.stop("Braggart")
            await desk.world.start(Worker)
            store.full = False
            record = await desk.end(task_id, seconds=60)

    assert (record["status"], record["assigned_droplet_id"]) == ("completed", 31)


async def test_a_report_of_any_number_does_no_harm() -> None:
    async with tasks(Worker) as desk:
        for number in (10**400, -(10**400), -1):
            report = {"droplet_id": 31, "metrics": {"cpu_percent": number}}
            await desk.ask("POST", "/heartbeat", json=report)
            assert (await desk.end(await desk.create("a"), seconds=2))["status"] == "completed"


async def test_a_deadline_at_the_end_of_the_calendar() -> None:
    async with tasks(Worker) as desk:
        task_id = await desk.create("a", deadline="9999-12-31T23:59:59.999999Z")
        record = await desk.end(task_id)
        listed = await desk.ask("GET", "/tasks")

    assert (record["status"], record["deadline"]) == ("completed", "9999-12-31T23:59:59.000Z")
    assert listed["total"] == 1


async def test_a_droplet_that_knows_a_later_attempt_gets_a_later_one() -> None:
    """The Orchestrator's data were put back from a copy."""
    worker = Worker()
    task_id = "7d3a1a4e-3f1c-4a52-9a4e-0c7b5a1f2d3e"
    async with tasks(worker, terms=Terms(acknowledge_seconds=1)) as desk:
        before = {"task_id": task_id, "task_type": "work", "payload": {"label": "x"}, "attempt": 3}
        assert (await desk.world.request("POST", "Worker", "/task", json=before)).status == 200
        await anyio.sleep(5)
        record = await desk.end(await desk.create("x", task_id=task_id, max_retries=1))

    assert (record["status"], record["attempt"], worker.done) == ("completed", 4, ["x", "x"])


async def test_the_queue_says_who_has_how_much() -> None:
    async with tasks(Worker) as desk:
        running = [await desk.create("r", seconds=30) for _ in range(2)]
        for each in running:
            await desk.until(each, "in_progress")
        await desk.create("w", required_capability="nobody's")
        queue = await desk.ask("GET", "/queue")

    assert queue["workers"] == [{"droplet_id": 31, "capabilities": ["work"], "load": 2}]
    assert (queue["pending"], queue["in_progress"], queue["completed"]) == (1, 2, 0)


async def test_with_a_real_registry_the_dead_are_known_when_their_lease_ends() -> None:
    async with tasks(Worker, Second, Registry) as desk:
        await anyio.sleep(20)  # after its start a Registry gives up nobody for two leases
        task_id = await desk.create("a", seconds=30)
        first = (await desk.until(task_id, "in_progress"))["assigned_droplet_id"]
        died = desk.world.now()
        desk.world.faults.crash(first)
        lost = await desk.until(task_id, "pending")
        assert 3 <= (at(lost["updated_at"]) - died).total_seconds() <= 11
        assert (await desk.end(task_id))["attempt"] == 2


async def test_a_droplet_of_the_other_style_fetches_its_tasks() -> None:
    """The same droplet, told to poll: nothing is pushed to it."""
    pushed: list[Any] = []

    def hook(event: Any) -> None:
        if getattr(event, "route", "") == "/task":
            pushed.append(event)

    worker = Worker(config={"orchestrator.style": "v2"}, hooks=[hook])
    async with tasks(worker) as desk:
        await anyio.sleep(5)
        record = await desk.end(await desk.create("a", seconds=20))
        failing = await desk.end(await desk.create("b", fail=2, max_retries=0))
        stopped = await desk.create("c", seconds=100)
        await desk.until(stopped, "in_progress")
        await desk.cancel(stopped)
        await anyio.sleep(120)

    assert (record["status"], record["result"], record["assigned_droplet_id"]) == ("completed", "a by 31", 31)
    assert states(record) == ["pending", "assigned", "in_progress", "completed"]
    assert (failing["status"], failing["attempt"]) == ("failed", 1)
    assert pushed == []
    assert worker.done.count("a") == 1


async def test_who_polled_once_and_does_so_no_more_is_asked_like_the_others() -> None:
    async with tasks(Worker) as desk:
        poller = {"droplet_id": 31, "capabilities": ["work"]}
        assert (await desk.world.request("POST", "Orchestrator", "/droplets/register", json=poller)).status == 201
        first = await desk.create("a")
        await anyio.sleep(1)
        assert (await desk.get(first))["status"] == "assigned"
        records = [await desk.end(each) for each in (first, await desk.create("b"), await desk.create("c"))]

    assert [record["status"] for record in records] == ["completed"] * 3
