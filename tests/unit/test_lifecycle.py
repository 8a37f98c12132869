"""The phases: all 81 pairs, every walk, and the status each shows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from udc.errors import LifecycleError
from udc.lifecycle import LEGAL, SERVING, Lifecycle, Phase, Status, status_of

TABLE = """
unknown      -> registering initializing failed
registering  -> initializing starting stopping failed
initializing -> registering starting stopping failed
starting     -> registering ready degraded stopping failed
ready        -> degraded stopping failed
degraded     -> ready stopping failed
stopping     -> stopped failed
stopped      -> registering initializing
failed       -> stopping registering initializing
"""
# Written out a second time on purpose: the table of the architecture page, not the one under test.
PAIRS = {
    (Phase(before.strip()), Phase(after))
    for before, _, followers in (line.partition("->") for line in TABLE.strip().splitlines())
    for after in followers.split()
}
DIFFERENT = [(a, b) for a, b in itertools.product(Phase, Phase) if a is not b]


def test_there_are_29_legal_pairs_and_43_others() -> None:
    assert (len(Phase), len(PAIRS), len(DIFFERENT) - len(PAIRS)) == (9, 29, 43)
    assert {(before, after) for before, followers in LEGAL.items() for after in followers} == PAIRS


@pytest.mark.parametrize(("before", "after"), DIFFERENT)
def test_a_step_is_legal_or_raises_and_changes_nothing(before: Phase, after: Phase) -> None:
    life = Lifecycle(before)
    if (before, after) in PAIRS:
        assert life.advance(after)
        assert life.phase is after
        return
    with pytest.raises(
        LifecycleError, match=f"a droplet that is {before} cannot become {after}; it can become: "
    ) as caught:
        life.advance(after)
    assert life.phase is before
    assert all(str(follower) in str(caught.value) for follower in LEGAL[before])


@pytest.mark.parametrize("phase", Phase)
def test_a_step_to_the_present_phase_is_none(phase: Phase) -> None:
    life = Lifecycle(phase)

    assert not life.advance(phase)
    assert life.phase is phase


def test_a_life_begins_unknown() -> None:
    assert Lifecycle().phase is Phase.UNKNOWN


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_reached_and_none_is_a_dead_end(phase: Phase) -> None:
    reached = {Phase.UNKNOWN}
    while (further := reached.union(*(LEGAL[here] for here in reached))) != reached:
        reached = further

    assert phase in reached
    assert LEGAL[phase]


class Walk(RuleBasedStateMachine):
    """Any sequence of steps leaves the machine where the table says."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Lifecycle()
        self.expected = Phase.UNKNOWN

    @rule(to=st.sampled_from(Phase))
    def step(self, to: Phase) -> None:
        if to is self.expected or (self.expected, to) in PAIRS:
            assert self.life.advance(to) is (to is not self.expected)
            self.expected = to
        else:
            with pytest.raises(LifecycleError):
                self.life.advance(to)

    @invariant()
    def stands_where_expected(self) -> None:
        assert self.life.phase is self.expected


TestWalk = Walk.TestCase
TestWalk.settings = settings(deadline=None)


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("phase", Phase)
def test_the_status_a_phase_shows(phase: Phase, healthy: bool) -> None:
    if phase is Phase.FAILED:
        expected = Status.ERROR
    elif phase in (Phase.READY, Phase.DEGRADED):
        expected = Status.ACTIVE if healthy else Status.ERROR
    else:
        expected = Status.INACTIVE

    assert status_of(phase, services_healthy=healthy) is expected


def test_new_work_is_accepted_when_ready_or_degraded() -> None:
    assert {Phase.READY, Phase.DEGRADED} == SERVING


def test_the_words_are_the_contracts() -> None:
    assert [str(status) for status in Status] == ["active", "inactive", "error"]
