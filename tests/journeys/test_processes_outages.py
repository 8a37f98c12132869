"""A mesh of processes whose Registry is away, out of order, slow or has forgotten everybody: calls go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.journeys.processes import Caller, House, Measured, Moody, Mood, Process, free_port, seconds_until, served, until

LEASES_OF_AN_OUTAGE = 2.5
"""How many leases an outage lasts: after two the Registry has removed who does not beat."""


@dataclass
class Town:
    """Two droplets behind a Registry that can be put out of order."""

    house: House
    registry: Process
    moody: Moody
    echo: Process
    asker: Process
    token: str

    def all(self, presence: str) -> bool:
        """Whether both stand so with their Registry, and are ready."""
        return self.echo.has(presence) and self.asker.has(presence)

    def states(self) -> dict[int, list[str]]:
        rows = self.house.rows(self.registry.url, self.token)
        return {each: [one["state"] for one in row["instances"]] for each, row in rows.items()}

    def caller(self) -> Caller:
        return Caller(self.asker.url, self.token)


@pytest.fixture
def town(house: House) -> Iterator[Town]:
    port = free_port()
    moody = Moody(f"http://127.0.0.1:{port}")
    try:
        registry, echo, asker = served(
            house.registry(port=port), *(house.droplet(each, registry=moody.url) for each in ("Echo", "Asker"))
        )
        made = Town(house, registry, moody, echo, asker, house.token(registry.url))
        until(lambda: made.all("registered"))
        assert made.caller().one()
        yield made
    finally:
        house.close()
        moody.close()


@pytest.mark.timeout(40)
@pytest.mark.parametrize("mood", [500, 401, 404, 409])
def test_a_registry_out_of_order_stops_no_call(town: Town, mood: Mood, measured: Measured) -> None:
    with (caller := town.caller()).calling():
        town.moody.mood = mood
        lost = seconds_until(lambda: town.all("lost"))
        until(lambda: town.states().keys() == {1})
        town.moody.mood = "well"
        back = seconds_until(lambda: town.all("registered"), seconds=20)
        made = caller.made
        until(lambda: caller.made > made + 10)

    measured(lost=lost, back=back, calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
    assert caller.failures == []
    assert town.states() == {1: ["ready"], 21: ["ready"], 22: ["ready"]}


@pytest.mark.timeout(40)
def test_a_registry_killed_and_restarted_on_its_data_forgets_nobody(town: Town, measured: Measured) -> None:
    with (caller := town.caller()).calling():
        town.registry.kill()
        lost = seconds_until(lambda: town.all("lost"))
        town.registry = town.house.registry(port=int(town.registry.url.rpartition(":")[2])).serving()
        at_once = town.states().keys()
        back = seconds_until(lambda: town.all("registered"), seconds=20)
        made = caller.made
        until(lambda: caller.made > made + 10)

    measured(lost=lost, back=back, calls=caller.made, failed=len(caller.failures), slowest=caller.slowest)
    assert at_once == {1, 21, 22}
    assert caller.failures == []
    assert town.states() == {1: ["ready"], 21: ["ready"], 22: ["ready"]}
