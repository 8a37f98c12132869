"""A mesh of processes whose Registry is away, out of order, slow or has forgotten everybody: calls go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.processes import (
    Caller,
    House,
    Measured,
    Mood,
    Moody,
    Process,
    free_port,
    seconds_until,
    served,
    until,
)
from udc.datadir import DataDirectory

pytestmark = pytest.mark.timeout(60)


@dataclass
class Town:
    """Two droplets behind a Registry that can be put out of order."""

    house: House
    registry: Process
    moody: Moody
    echo: Process
    asker: Process
    token: str
    data: str

    def all(self, presence: str) -> bool:
        """Whether both stand so with their Registry, and are ready."""
        return self.echo.has(presence) and self.asker.has(presence)

    def states(self) -> dict[int, list[str]]:
        rows = self.house.rows(self.registry.url, self.token)
        return {each: [one["state"] for one in row["instances"]] for each, row in rows.items()}

    @contextmanager
    def without_failures(self, measured: Measured) -> Iterator[None]:
        """Calls go on while this is open, and for some time after; all of them succeed."""
        until(lambda: self.all("registered"), seconds=20)
        with (caller := Caller(self.asker.url, lambda: self.token)).calling():
            until(lambda: caller.made > 3)
            yield
            made = caller.made
            until(lambda: caller.made > made + 10)
        measured(calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
        assert caller.failures == []
        assert self.states() == {1: ["ready"], 21: ["ready"], 22: ["ready"]}


@contextmanager
def founded(folder: Path) -> Iterator[Town]:
    house = House(folder)
    port = free_port()
    moody = Moody(f"http://127.0.0.1:{port}")
    try:
        registry, echo, asker = served(
            house.registry(port=port), *(house.droplet(each, registry=moody.url) for each in ("Echo", "Asker"))
        )
        yield Town(house, registry, moody, echo, asker, house.token(registry.url), str(house.data.root))
    finally:
        house.close()
        moody.close()
        sys.stdout.write(house.logs())


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One for nearly all tests here: each leaves it as it was."""
    with founded(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.mark.parametrize("mood", [500, 401, 404, 409])
def test_a_registry_out_of_order_stops_no_call(town: Town, mood: Mood, measured: Measured) -> None:
    with town.without_failures(measured):
        town.moody.mood = mood
        lost = seconds_until(lambda: town.all("lost"))
        town.moody.mood = "well"
        back = seconds_until(lambda: town.all("registered"), seconds=30)
        measured(lost=lost, back=back)


def test_a_registry_that_gave_everybody_up_stops_no_call(tmp_path: Path, measured: Measured) -> None:
    """It lived, and nobody reached it for two leases: when they do again, it knows nobody."""
    with founded(tmp_path) as town:
        until(lambda: town.all("registered"))
        until((caller := Caller(town.asker.url, lambda: town.token)).one)
        with caller.calling():
            town.moody.mood = 500
            until(lambda: town.states().keys() == {1})
            town.moody.paths.clear()
            town.moody.mood = "well"
            asked = seconds_until(lambda: sum("/droplets?" in each for each in town.moody.paths) > 1, seconds=30)
            made = caller.made
            until(lambda: caller.made > made + 20)
        known = town.states().keys()

    measured(asked=asked, calls=caller.made, failed=len(caller.failures), known=len(known))
    assert caller.failures == []


def test_a_registry_killed_and_restarted_on_its_data_forgets_nobody(town: Town, measured: Measured) -> None:
    with town.without_failures(measured):
        town.registry.kill()
        lost = seconds_until(lambda: town.all("lost"))
        town.registry = town.house.registry(port=town.registry.port, UDC_DATA=town.data).serving()
        at_once = town.states().keys()
        back = seconds_until(lambda: town.all("registered"), seconds=30)
        measured(lost=lost, back=back)

    assert at_once == {1, 21, 22}


def test_a_registry_restarted_empty_hears_of_everybody_again(town: Town, measured: Measured) -> None:
    """No memory, and other keys: tokens are refused and renewed on the way."""
    empty = DataDirectory(town.house.folder / "empty")
    empty.write_private(empty.root / "secret", town.house.secret)
    restarted = town.house.registry(UDC_DATA=str(empty.root)).serving()
    with town.without_failures(measured):
        town.registry.kill()
        town.registry, town.moody.upstream, town.data = restarted, restarted.url, str(empty.root)
        town.token = town.house.token(restarted.url)
        at_once = town.states().keys()
        back = seconds_until(lambda: town.states().keys() == {1, 21, 22}, seconds=30)
        measured(back=back)

    assert at_once == {1}
