"""What one task costs an Orchestrator while others wait: `python -m tests.bench.bench_giving [--waiting 10000]`.

In virtual time, without a disk and without sockets: one droplet works on one task after another.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import anyio

from tests.unit.mesh.orchestrator.kit import Worker, tasks
from udc.mesh.orchestrator import Orchestrator, SqliteStore, Terms, machine
from udc.mesh.orchestrator.task import Task
from udc.testing import virtual_time

DONE = 100
"""How many tasks are done while it is measured."""

FAR = 4e9
"""A deadline, in seconds since the epoch, that none of them meets."""


def _plain(task: Task) -> Task:
    return task


def _late(task: Task) -> Task:
    return replace(task, deadline=FAR)


def _tried(task: Task) -> Task:
    return replace(task, not_before=1.0, retries=1)


def _other(task: Task) -> Task:
    return replace(task, required_capability="nobody's")


KINDS: dict[str, Callable[[Task], Task]] = {
    "that the droplet can do": _plain,
    "… with a deadline": _late,
    "… that were tried before": _tried,
    "that nobody can do, with a deadline": lambda task: _late(_other(task)),
}


async def milliseconds(waiting: int, kind: Callable[[Task], Task]) -> float:
    """CPU time for each task that is done, the droplet's share included."""
    async with SqliteStore.open(None, threads=False) as store:
        for number in range(waiting + DONE):
            task = Task(
                task_id=f"{number:08x}-0000-4000-8000-000000000000",
                trace_id="9b0c3b52-7f9e-4b8a-8a51-0d6f1a2b3c4d",
                task_type="work",
                title="work",
                created_by=999,
                created_at=float(number),
                updated_at=float(number),
            )
            await store.add(machine.created(task if number < DONE else kind(task)), '{"seconds": 0.5}', b"")
        worker = Worker()
        async with tasks(worker, orchestrator=lambda: Orchestrator(store=store, terms=Terms(per_instance=1))):
            await anyio.sleep(5)
            began, done = time.process_time(), len(worker.done)
            await anyio.sleep(DONE / 4)
            return 1000 * (time.process_time() - began) / (len(worker.done) - done)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=10_000)
    options, _ = parser.parse_known_args()
    backend, backend_options = virtual_time()
    print(f"\n| CPU ms for each task that is done | 100 waiting | {options.waiting:,} waiting |\n|---|---:|---:|")
    for name, kind in KINDS.items():
        few, many = (
            anyio.run(milliseconds, waiting, kind, backend=backend, backend_options=backend_options)
            for waiting in (100, options.waiting)
        )
        print(f"| others {name} | {few:.1f} | {many:.1f} |")


if __name__ == "__main__":
    main()
