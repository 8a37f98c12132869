"""Tasks given to real processes that are killed at any moment: who gives them, who works, and what must be true."""

from __future__ import annotations

import http.client
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.journeys.processes import House, Process, free_port, until
from tests.journeys.programs import request

PROGRAM = '''
import os
from pathlib import Path

import anyio
from udc import Context, Droplet, task
from udc.datadir import DataDirectory
from udc.mesh.orchestrator import Orchestrator, Terms


class Hasty(Orchestrator):
    """An Orchestrator that waits for nobody long, so that tests are short."""

    def __init__(self):
        terms = Terms(acknowledge_seconds=2.0, backoff_seconds=0.1, backoff_cap_seconds=0.5)
        super().__init__(DataDirectory(Path(os.environ["UDC_DATA"])), terms=terms)


class First(Droplet):
    """Works, and writes down what it has done."""

    id, name, steward = 31, "First", "tests"
    capabilities = ("labour",)

    @task("labour")
    async def labour(self, ctx: Context, number: int, seconds: float, fails: bool = False) -> int:
        await anyio.sleep(seconds)
        if fails:
            raise ValueError("as it was told")
        with Path("labour.txt").open("a") as file:
            file.write(f"{number} {ctx.message.attempt}\\n")
        return number


class Second(First):
    id, name = 32, "Second"
'''

_START_SECONDS = 60.0
"""How long a process may take to start: on a busy machine many times as long as usual."""

TERMINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass
class Given:
    """A task that the Orchestrator has accepted."""

    task_id: str
    number: int
    kind: str


@dataclass
class Counts:
    """What became of what was accepted.

    Attributes:
        lost: tasks that are gone, or have not ended.
        twice: tasks that have ended more than once, or have left their end.
        done_again: tasks whose work was done more than once (by later attempts), which a kill may cause.
        same_attempt_again: of those, attempts that were done twice: that may never be.
    """

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    twice: int = 0
    done_again: int = 0
    same_attempt_again: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = {name: value for name, value in vars(self).items() if name != "problems"}
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items())


class Site:
    """A Registry, an Orchestrator and two droplets as processes, each at an address of its own."""

    def __init__(self, house: House, *, seed: int) -> None:
        self._house = house
        self.chance = random.Random(seed)
        (house.folder / "labour.py").write_text(PROGRAM, encoding="utf-8")
        self.registry = house.registry().serving(seconds=_START_SECONDS)
        self.token = house.token(self.registry.url)
        self._ports = {name: free_port() for name in ("Hasty", "First", "Second")}
        self.processes: dict[str, Process] = {name: self._start(name) for name in self._ports}
        for process in self.processes.values():
            process.serving(seconds=_START_SECONDS)
        self.trouble: list[str] = []
        self._given: list[Given] = []
        self._ended: dict[str, Any] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._give, args=(seed * 10 + n,)) for n in range(2)]

    def _start(self, name: str) -> Process:
        return self._house.udc(
            "run",
            f"labour.py:{name}",
            "--port",
            str(self._ports[name]),
            "--json",
            REGISTRY_URL=self.registry.url,
            DROPLET_SECRET=self._house.secret,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['Hasty']}"

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The Orchestrator's answer; 0 when there is none."""
        try:
            status, found, _ = request(self.url, path, body, token=self.token, method=method)
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        return status, found

    def rounds(self, count: int) -> None:
        """Kill and start again so many times, all three at their own moments, while tasks are given and done."""
        victims = [self.chance.choice(list(self.processes)) for _ in range(count)]
        killers = [
            threading.Thread(target=self._kill, args=(name, victims.count(name), self.chance.random()))
            for name in self.processes
        ]
        for each in (*self._threads, *killers):
            each.start()
        try:
            for each in killers:
                each.join()
        finally:
            self._over.set()
            for each in self._threads:
                each.join(30)
        assert self.trouble == []

    def _kill(self, name: str, times: int, seed: float) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(times):
                time.sleep(chance.uniform(0.2, 2.0))  # the moment is chosen, nothing is waited for
                self.processes[name].kill()
                self.processes[name] = self._start(name).serving(seconds=_START_SECONDS)
        except AssertionError as error:
            self.trouble.append(f"{name}: {error}")  # raised in the test's own thread

    def _give(self, seed: int) -> None:
        """Create tasks until it is over, and now and then cancel one."""
        chance = random.Random(seed)
        while not self._over.wait(chance.uniform(0.01, 0.15)):
            number = seed * 100_000 + len(self._given)
            kind = chance.choice(["good", "good", "good", "good", "fails", "cancelled"])
            task_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            body = {
                "task_id": task_id,
                "task_type": "labour",
                "payload": {"number": number, "seconds": chance.uniform(0, 0.5), "fails": kind == "fails"},
                "max_retries": 1 if kind == "fails" else 10,
                "priority": chance.randint(1, 10),
            }
            while (status := self.ask("POST", "/tasks", body)[0]) not in (200, 201):
                assert status in (0, 503), status
                if self._over.wait(0.05):
                    return  # not answered, so not accepted
            given = Given(task_id, number, kind)
            self._given.append(given)
            if kind == "cancelled":
                self._over.wait(chance.uniform(0, 0.3))
                self.ask("DELETE", f"/tasks/{given.task_id}")
            self._note(chance.choice(self._given))

    def _note(self, given: Given) -> None:
        """Remember a task that has ended, to see that it stays so."""
        status, found = self.ask("GET", f"/tasks/{given.task_id}")
        if status == 200 and found["status"] in TERMINAL:
            self._ended.setdefault(given.task_id, found)

    def counted(self, *, seconds: float = 40.0) -> Counts:
        """Wait until all is done, and say what became of it."""

        def idle() -> bool:
            status, queue = self.ask("GET", "/queue")
            return status == 200 and not any(queue[name] for name in ("pending", "assigned", "in_progress"))

        counts = Counts(accepted=len(self._given))
        try:
            until(idle, seconds=seconds)
        except AssertionError:
            counts.problems.append(f"not idle: {self.ask('GET', '/queue')}")
        done = self._done()
        for given in self._given:
            self._count(counts, given, done[given.number])
        return counts

    def _done(self) -> dict[int, Counter[int]]:
        """What was written down: by task, how often each attempt did it."""
        path = self._house.folder / "labour.txt"
        found: dict[int, Counter[int]] = {given.number: Counter() for given in self._given}
        for line in path.read_text().splitlines() if path.exists() else ():
            number, attempt = map(int, line.split())
            found.setdefault(number, Counter())[attempt] += 1
        return found

    def _count(self, counts: Counts, given: Given, done: Counter[int]) -> None:
        status, found = self.ask("GET", f"/tasks/{given.task_id}")
        if status != 200 or found["status"] not in TERMINAL:
            counts.lost += 1
            counts.problems.append(f"lost: {status} {found}")
            return
        setattr(counts, found["status"], getattr(counts, found["status"]) + 1)
        ends = [step["status"] for step in found["state_history"] if step["status"] in TERMINAL]
        if len(ends) != 1 or ends[0] != found["status"] or self._ended.get(given.task_id, found) != found:
            counts.twice += 1
            counts.problems.append(f"twice: {found}, once {self._ended.get(given.task_id)}")
        if found["status"] == "completed" and (not done or found["result"] != given.number):
            counts.problems.append(f"completed, but not done: {found}, {done}")
        if given.kind == "good" and found["status"] != "completed":
            counts.problems.append(f"should have been completed: {found}")
        if given.kind == "fails" and found["status"] != "failed":
            counts.problems.append(f"should have failed: {found}")
        counts.done_again += sum(done.values()) > 1
        counts.same_attempt_again += any(times > 1 for times in done.values())
