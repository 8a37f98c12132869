"""What the journeys share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.processes import House, Measured
from tests.journeys.programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Programs in a folder of their own, all ended after the test."""
    started = Programs(tmp_path)
    yield started
    started.end()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A folder for a mesh of processes, all ended after the test; what they complained of is shown when it fails."""
    made = House(tmp_path)
    yield made
    made.close()
    sys.stdout.write(made.logs())


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Takes numbers by name, for `--junit-xml`."""

    def take(**numbers: float) -> None:
        for name, number in numbers.items():
            record_property(name, round(number, 2))

    return take
