"""Two instances of one droplet: one is killed, or stopped with work in flight, and callers do not notice."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.journeys.processes import (
    SHORT_LEASE,
    Caller,
    House,
    Lag,
    Measured,
    Process,
    always,
    free_port,
    seconds_until,
    served,
    until,
)
from tests.journeys.programs import message, request

pytestmark = pytest.mark.timeout(60)


@dataclass
class Pair:
    """Two instances of Echo, and an Asker."""

    house: House
    registry: Process
    asker: Process
    token: str
    first: Process
    second: Process

    def states(self) -> dict[str, str]:
        """Of Echo's instances, by their ids."""
        row = self.house.rows(self.registry.url, self.token).get(21, {"instances": []})
        return {one["instance_id"]: one["state"] for one in row["instances"]}

    def caller(self) -> Caller:
        return Caller(self.asker.url, always(self.token))

    def settle(self) -> None:
        """Both instances are there, and everybody knows them alone; the Registry gives up who is not."""
        if not self.first.runs:
            self.first = self.house.droplet("Echo", registry=self.registry.url).serving()
        both = {self.first.instance_id: "ready", self.second.instance_id: "ready"}
        until(lambda: self.states() == both and self.asker.has("registered"))
        until(self.caller().one)
        until(lambda: "x-udc-warming" not in request(self.registry.url, "/droplets", token=self.token)[2])


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One for all tests here."""
    house, port = House(tmp_path_factory.mktemp("street")), free_port()
    try:
        droplets = (house.droplet(each, registry=f"http://127.0.0.1:{port}") for each in ("Asker", "Echo", "Echo"))
        registry, *others = served(house.registry(port=port), *droplets)
        yield Pair(house, registry, others[0], house.token(registry.url), *others[1:])
    finally:
        house.close()
        sys.stdout.write(house.logs())


@pytest.fixture
def pair(street: Pair) -> Pair:
    street.settle()
    return street


def test_an_instance_killed_is_out_of_rotation_within_its_lease(pair: Pair, measured: Measured) -> None:
    with (caller := pair.caller()).calling(), Lag() as lag:
        until(lambda: caller.made > 3)
        killed = time.monotonic()
        pair.first.kill()
        out = seconds_until(lambda: pair.states().get(pair.first.instance_id) != "ready", since=killed)
        gone = seconds_until(lambda: pair.first.instance_id not in pair.states(), since=killed)
    shown = pair.house.ask("ls", "--name", "Echo", "--registry", pair.registry.url, "--json")

    measured(out=out, gone=gone, calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
    assert caller.failures == []
    assert out <= SHORT_LEASE + 1 + 10 * lag.seconds
    assert gone <= 2 * SHORT_LEASE + 1 + 10 * lag.seconds
    (row,) = shown
    assert (row["endpoint"], row["status"], len(row["instances"])) == (pair.second.url, "active", 1)


def test_an_instance_stopped_with_work_in_flight_loses_none(pair: Pair, measured: Measured) -> None:
    """Four callers of queries and eight commands at a time; one of the two instances is told to stop."""
    over, orders = threading.Event(), _Orders()
    callers = [pair.caller() for _ in range(4)]
    with ExitStack() as open_, ThreadPoolExecutor(8) as pool:
        for caller in callers:
            open_.enter_context(caller.calling())
        going = [pool.submit(orders.keep_going, pair, over) for _ in range(8)]
        until(lambda: len(orders.answered) > 16)
        began = time.monotonic()
        code = pair.first.stop()
        stopped = time.monotonic() - began
        behind = len(orders.answered)
        until(lambda: len(orders.answered) > behind + 16)
        over.set()
        for each in going:
            each.result()

    made = sum(caller.made for caller in callers)
    measured(stopped=stopped, queries=made, commands=len(orders.answered), slowest=max(c.slowest for c in callers))
    assert code == 0
    assert [failure for caller in callers for failure in caller.failures] == []
    assert orders.refused == []
    assert sorted(pair.house.done()) == sorted(orders.answered), "each command is done once"
    assert pair.states() == {pair.second.instance_id: "ready"}


class _Orders:
    """Commands through the Asker, one after the other in each thread."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = iter(range(1_000_000))
        self._lock = threading.Lock()
        self.answered: list[int] = []
        self.refused: list[object] = []

    def keep_going(self, pair: Pair, over: threading.Event) -> None:
        while not over.is_set():
            with self._lock:
                number = next(self._numbers)
            sent = message("command", "order", number=number, seconds=0.3)
            status, answer, _ = request(pair.asker.url, "/message", sent, token=pair.token)
            if status == 200 and answer.get("data") == number:
                self.answered.append(number)
            else:
                self.refused.append((status, answer))


def test_a_command_is_done_once_though_its_droplet_was_restarted(house: House, measured: Measured) -> None:
    """A graceful restart on the same data: the same message gets the same receipt."""
    registry = house.registry().serving()
    echo = house.droplet("Echo", registry=registry.url).serving()
    token, port = house.token(registry.url), echo.port
    sent = {**message("command", "note", number=7), "message_id": "0e4d8f0a-5d0b-4d0c-9d5e-0a4a52f4c8a1"}
    until(lambda: echo.has("registered"))

    before = request(echo.url, "/message", sent, token=token)[1]
    echo.stop()
    again = house.droplet("Echo", registry=registry.url, port=port).serving()
    after = until(lambda: _taken(again, sent, token))

    assert (before["data"], before.get("duplicate"), after["data"], after["duplicate"]) == (7, None, 7, True)
    assert house.done() == [7]
    back = seconds_until(lambda: again.has("registered"))
    rows = house.rows(registry.url, token)
    measured(back=back)
    assert [one["instance_id"] for one in rows[21]["instances"]] == [again.instance_id]


def _taken(echo: Process, sent: dict[str, object], token: str) -> dict[str, object] | None:
    status, answer, _ = request(echo.url, "/message", sent, token=token)
    return answer if status == 200 else None
