"""kill -9 at any moment loses no accepted registration: with real processes, sockets and files."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.mesh.registry.kit import body
from udc.datadir import DataDirectory

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("UDC_TEST_KILL_ROUNDS", "10"))
CLIENTS = 4


class Process:
    """One life of the Registry."""

    def __init__(self, data: Path) -> None:
        self.data = data
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "tests.unit.mesh.registry.process", str(data)]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.secret = DataDirectory(data).secret()

    def kill(self) -> None:
        """May be called twice."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def ask(self, connection: http.client.HTTPConnection, method: str, path: str, sent: Any = None) -> Any:
        headers = {"x-droplet-secret": self.secret, "content-type": "application/json"}
        connection.request(method, path, body=json.dumps(sent), headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=8)


class Load:
    """Registers droplet after droplet until the Registry is gone, and notes what was accepted."""

    def __init__(self, process: Process, first: int, enough: int) -> None:
        self._process, self._next, self._enough = process, first, enough
        self._lock = threading.Lock()
        self.accepted: dict[int, str] = {}
        self.reached = threading.Event()

    def work(self) -> None:
        connection = self._process.connect()
        try:
            while True:
                with self._lock:
                    number = self._next
                    self._next += 1
                # Now and then somebody restarts, which retires its older instance in the same commit.
                known = number - 3 if number % 5 == 0 and number - 3 in self.accepted else number
                sent = body(known, instance_id=f"i-{number}")
                self._process.ask(connection, "POST", "/register", sent)
                with self._lock:
                    self.accepted[known] = f"i-{number}"
                    if len(self.accepted) >= self._enough:
                        self.reached.set()
        except (OSError, http.client.HTTPException, ValueError):
            pass  # killed: what it did not answer was not accepted
        finally:
            connection.close()


def listed(process: Process) -> dict[int, str]:
    connection = process.connect()
    try:
        return {row["id"]: row["instance_id"] for row in process.ask(connection, "GET", "/droplets")}
    finally:
        connection.close()


def round_of(process: Process, first: int, enough: int) -> dict[int, str]:
    load = Load(process, first, enough)
    clients = [threading.Thread(target=load.work) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        assert load.reached.wait(30)
    finally:
        process.kill()
        for each in clients:
            each.join()
    return load.accepted


@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_no_accepted_registration_is_lost(tmp_path: Path) -> None:
    chance = random.Random(9)
    accepted: dict[int, str] = {}
    for number in range(ROUNDS + 1):
        process = Process(tmp_path / "data")
        try:
            present = listed(process)
            # A restart that was written but not answered may stand in place of the accepted one.
            lost = {each: by for each, by in accepted.items() if each not in present}
            older = {each for each, by in accepted.items() if _serial(present.get(each, by)) < _serial(by)}
            assert (lost, older) == ({}, set())
            if number < ROUNDS:
                accepted |= round_of(process, 1000 + 1000 * number, chance.randrange(1, 40))
        finally:
            process.kill()
    assert len(accepted) > ROUNDS


def _serial(instance_id: str) -> int:
    return int(instance_id.removeprefix("i-"))
