"""kill -9 of droplets and of the Orchestrator at any moment: each accepted task ends once, and none is lost."""

from __future__ import annotations

import os
import sys

import pytest

from tests.journeys.labour import Site
from tests.journeys.processes import House, Measured

ROUNDS = int(os.environ.get("UDC_TEST_TASK_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("UDC_TEST_SEED", "7"))


@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_every_accepted_task_ends_once(house: House, measured: Measured) -> None:
    site = Site(house, seed=SEED)
    site.rounds(ROUNDS)
    counts = site.counted()

    sys.stdout.write(f"\n{ROUNDS} rounds of kill -9: {counts}\n")
    measured(**{name: value for name, value in vars(counts).items() if name != "problems"})
    assert counts.problems == []
    assert (counts.lost, counts.twice, counts.same_attempt_again) == (0, 0, 0)
    assert counts.accepted == counts.completed + counts.failed + counts.cancelled
    assert counts.accepted > 2 * ROUNDS
