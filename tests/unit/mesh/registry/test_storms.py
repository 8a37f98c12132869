"""How long those wait who are not known any more."""

from __future__ import annotations

from udc.mesh.registry.storms import SPREAD_SECONDS, Lost


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_alone_does_not_wait_however_often_it_asks() -> None:
    lost = Lost(Clock())
    assert [lost.spread_seconds((14, "a")) for _ in range(5)] == [0, 0, 0, 0, 0]


def test_the_more_there_are_the_longer_they_wait_up_to_a_limit() -> None:
    lost = Lost(Clock())
    told = [lost.spread_seconds((number, "a")) for number in range(1000)]
    assert told[:3] == [0.0, 1.5, 3.0]
    assert told == sorted(told)
    assert told[20] == told[-1] == SPREAD_SECONDS


def test_two_instances_are_two() -> None:
    lost = Lost(Clock())
    assert [lost.spread_seconds((14, "a")), lost.spread_seconds((14, "b"))] == [0, 1.5]


def test_calm_returns() -> None:
    clock = Clock()
    lost = Lost(clock)
    for number in range(100):
        lost.spread_seconds((number, "a"))
    clock.now += 10.5
    assert lost.spread_seconds((7, "a")) == 0
