"""Twenty rolling restarts of a droplet with two instances under steady load: its callers see no failed call."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.processes import SECONDS, House, Measured, Process, free_port, until
from tests.journeys.programs import message, request

RESTARTS = 20
WORKERS = 4
"""Calls at any time."""
PATIENCE = 30.0
"""How long a process may take to come up, on a machine that is busy with others."""
BOUND = 60.0
"""How long all of it may take, in seconds, on two cores."""

LOAD = '''
import anyio
from udc import Droplet, command, query


class Load(Droplet):
    """Calls Echo all the time, by name: queries, and commands that take a while; counts what fails."""

    id, name, steward = 23, "Load", "tests"

    def __init__(self):
        super().__init__()
        self.made, self.failed, self.slowest, self.sent = 0, [], 0.0, 0
        self.over = anyio.Event()

    @command("drive", timeout_seconds=120)
    async def drive(self, ctx, workers: int) -> list[int]:
        """Until it is told to finish; returns the numbers of all commands that were answered."""
        answered = []
        async with anyio.create_task_group() as tasks:
            for number in range(workers):
                tasks.start_soon(self.work, number, answered)
        return answered

    async def work(self, worker, answered):
        while not self.over.is_set():
            began = anyio.current_time()
            self.made += 1
            try:
                if worker % 2:
                    await self.ask()
                else:
                    await self.order(answered)
            except Exception as error:
                self.failed.append(repr(error))
            self.slowest = max(self.slowest, anyio.current_time() - began)
            await anyio.sleep(0.04)

    async def ask(self):
        text = f"call {self.made}"
        if (got := await self.mesh.query("Echo", "echo", {"text": text})) != text:
            raise ValueError(f"asked {text!r}, got {got!r}")

    async def order(self, answered):
        self.sent = number = self.sent + 1
        if (got := await self.mesh.command("Echo", "note", {"number": number, "seconds": 0.05})) != number:
            raise ValueError(f"ordered {number}, got {got}")
        answered.append(number)

    @query("counts")
    async def counts(self) -> dict:
        return {"made": self.made, "failed": self.failed, "slowest": self.slowest}

    @command("finish")
    async def finish(self) -> None:
        self.over.set()
'''
"""The steady load, from a process of its own."""


@dataclass
class Rolling:
    """Echo twice, and who calls it."""

    house: House
    registry: Process
    load: Process
    token: str
    port: int

    def start(self, port: int = 0) -> Process:
        return self.house.droplet("Echo", registry=self.registry.url, port=port)

    def counts(self) -> dict[str, Any]:
        return self.tell("query", "counts")  # type: ignore[no-any-return]  # JSON

    def tell(self, kind: str, action: str, **data: Any) -> Any:
        return self._ask(message(kind, action, **data), SECONDS)

    def _ask(self, body: dict[str, Any], seconds: float) -> Any:
        status, answer, _ = request(self.load.url, "/message", body, token=self.token, seconds=seconds)
        assert status == 200, answer
        return answer["data"]

    def stopped(self, instance: Process) -> None:
        """SIGTERM, its orderly end, and calls that go on after it."""
        before = self.counts()["made"]
        assert instance.stop() == 0, instance.log.read_text()
        until(lambda: self.counts()["made"] > before + WORKERS)

    @contextmanager
    def loaded(self) -> Iterator[list[int]]:
        """With the load on it; what was ordered and answered is there at the end."""
        answered: list[int] = []
        body = message("command", "drive", workers=WORKERS)
        with ThreadPoolExecutor(1) as pool:
            driving = pool.submit(self._ask, body, 2 * BOUND)
            try:
                until(lambda: driving.done() or self.counts()["made"] > 5 * WORKERS)
                yield answered
            finally:
                self.tell("command", "finish")
                answered.extend(driving.result())


def in_the_mesh(*processes: Process) -> None:
    """Wait until they serve and are registered."""
    for each in processes:
        each.serving(seconds=PATIENCE)
    until(lambda: all(each.has("registered") for each in processes), seconds=PATIENCE)


@pytest.mark.timeout(2 * BOUND)
def test_rolling_restarts_cost_no_caller_a_call(house: House, measured: Measured) -> None:
    """One instance is stopped and then started at its old port; of the other, the next one comes before it goes."""
    (house.folder / "load.py").write_text(LOAD, encoding="utf-8")
    registry = house.registry().serving(seconds=PATIENCE)
    known = {"REGISTRY_URL": registry.url, "DROPLET_SECRET": house.secret}
    load = house.udc("run", "load.py", "--port", "0", "--json", **known)
    rolling = Rolling(house, registry, load, house.token(registry.url), free_port())
    fixed, moving = rolling.start(rolling.port), rolling.start()
    in_the_mesh(fixed, moving, load)

    with rolling.loaded() as answered:
        began = time.monotonic()
        for _ in range(RESTARTS // 2):
            coming = rolling.start()
            rolling.stopped(fixed)
            fixed = rolling.start(rolling.port)
            in_the_mesh(coming)
            rolling.stopped(moving)
            moving = coming
            in_the_mesh(fixed)
        seconds = time.monotonic() - began
    counts = rolling.counts()

    measured(restarts=RESTARTS, seconds=seconds, calls=counts["made"], slowest=counts["slowest"])
    sys.stdout.write(
        f"{RESTARTS} restarts in {seconds:.1f} s, {counts['made']} calls, {len(counts['failed'])} failed, "
        f"the slowest took {counts['slowest']:.2f} s\n"
    )
    assert counts["failed"] == []
    assert sorted(house.done()) == sorted(answered), "each command is done once"
