"""Windows that slide, histograms, series that stay bounded, and what the process uses."""

from __future__ import annotations

import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import virtual_time
from udc._process import cpu_seconds
from udc.instrument import (
    AuthenticationFailed,
    DuplicateSuppressed,
    Event,
    MessageHandled,
    PhaseChanged,
    ReceiptEvicted,
    RequestAnswered,
    SendFinished,
    ServiceCrashed,
)
from udc.lifecycle import Phase
from udc.stats import BUCKETS, Histogram, ProcessSampler, Series, Stats, Window


class Clock:
    """Says what it is told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def answered(status: int = 200, *, route: str = "/a", seconds: float = 0.01, method: str = "GET") -> RequestAnswered:
    return RequestAnswered(method=method, route=route, status=status, seconds=seconds, trace_id="t")


class TestWindow:
    def test_what_ages_falls_out(self) -> None:
        clock = Clock()
        window = Window(length_seconds=60, slots=60, clock=clock)
        window.add()
        clock.now = 30
        window.add(2)
        assert window.total() == 3
        clock.now = 59.9
        assert window.total() == 3
        clock.now = 60
        assert window.total() == 2
        clock.now = 90
        assert window.total() == 0

    def test_a_long_silence_empties_it(self) -> None:
        clock = Clock(1000)
        window = Window(length_seconds=60, slots=60, clock=clock)
        window.add(5)
        clock.now = 1e9
        assert window.total() == 0
        window.add()
        assert window.total() == 1

    def test_a_clock_that_goes_back_loses_nothing(self) -> None:
        clock = Clock(100)
        window = Window(length_seconds=60, slots=60, clock=clock)
        window.add()
        clock.now = 90
        window.add()
        assert window.total() == 2

    @given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=60))
    def test_it_counts_what_a_list_of_all_would(self, steps: list[tuple[float, int]]) -> None:
        clock, everything = Clock(), list[tuple[int, int]]()
        window = Window(length_seconds=60, slots=60, clock=clock)
        for pause, amount in steps:
            clock.now += pause
            window.add(amount)
            everything.append((int(clock.now), amount))
            assert window.total() == sum(n for at, n in everything if at > int(clock.now) - 60)


class TestHistogram:
    @pytest.mark.parametrize(("seconds", "place"), [(0, 0), (0.001, 0), (0.0011, 1), (10, len(BUCKETS) - 1), (11, -1)])
    def test_a_bound_counts_what_is_as_long(self, seconds: float, place: int) -> None:
        histogram = Histogram()
        histogram.observe(seconds)
        assert histogram.counts[place] == histogram.count == 1
        assert histogram.total_seconds == seconds


def test_series_are_bounded() -> None:
    series = Series("peer", "outcome")
    for number in range(2000):
        series.add(str(number), "ok")
    series.add("0", "ok", amount=2)
    assert len(series.values) == 1001
    assert series.values["other", "other"] == 1000
    assert series.values["0", "ok"] == 3


class TestStats:
    def test_errors_decay_and_the_total_does_not(self) -> None:
        clock = Clock()
        stats = Stats(clock=clock)
        for status in (200, 404, 499, 500, 503):
            stats(answered(status))
        assert (stats.requests_total, stats.requests.total(), stats.errors_hour.total()) == (5, 5, 2)
        assert stats.error_rate_percent() == 40.0
        assert stats.average_response_ms() == pytest.approx(10)
        clock.now = 61
        assert (stats.requests_total, stats.requests.total(), stats.errors_hour.total()) == (5, 0, 2)
        assert (stats.error_rate_percent(), stats.average_response_ms()) == (0.0, 0.0)
        clock.now = 3601
        assert stats.errors_hour.total() == 0
        assert stats.uptime_seconds() == 3601

    def test_a_clock_may_begin_below_zero(self) -> None:
        clock = Clock(-200.0)
        stats = Stats(clock=clock)
        stats(answered())
        clock.now = -100
        stats(answered())
        assert (stats.requests_total, stats.requests.total()) == (2, 1)

    def test_a_probe_that_says_not_yet_is_no_error(self) -> None:
        stats = Stats(clock=Clock())
        stats(RequestAnswered(method="GET", route="/readyz", status=503, seconds=0.0, trace_id=""))
        assert (stats.requests_total, stats.errors_hour.total()) == (1, 0)

    def test_a_gauge_cannot_take_the_name_of_a_counter(self) -> None:
        with pytest.raises(ValueError, match="ends in '_total'"):
            Stats(clock=Clock()).gauge("images_total", 1)

    def test_labels(self) -> None:
        stats = Stats(clock=Clock())
        stats(answered(route="/a"))
        stats(answered(route="/a"))
        stats(MessageHandled(message_type="query", action="x", source=1, seconds=0, trace_id=""))
        stats(MessageHandled(message_type="query", action="x", source=1, seconds=0, trace_id="", error_code="TIMEOUT"))
        stats(SendFinished(peer="B", message_type="query", action="x", attempts=1, seconds=0, trace_id=""))
        assert stats.by_route.values == {("GET", "/a", "200"): 2}
        assert stats.latency["/a"].count == 2
        assert stats.messages.values == {("query", "x", "ok"): 1, ("query", "x", "TIMEOUT"): 1}
        assert stats.sends.values == {("B", "ok"): 1}

    @pytest.mark.parametrize(
        ("event", "counted"),
        [
            (DuplicateSuppressed(source=1, message_id="", trace_id=""), True),
            (ReceiptEvicted(age_seconds=1), True),
            (AuthenticationFailed(client=None, route="", reason=""), True),
            (ServiceCrashed(service="", error="", restart_in_seconds=0), True),
            (PhaseChanged(before=Phase.STARTING, after=Phase.READY), False),
        ],
    )
    def test_events_worth_counting(self, event: Event, counted: bool) -> None:
        stats = Stats(clock=Clock())
        stats(event)
        assert stats.events.values == ({(type(event).__name__,): 1} if counted else {})

    def test_the_droplets_own(self) -> None:
        stats = Stats(clock=Clock())
        stats.count("made")
        stats.count("made", 2)
        stats.gauge("left", 3)
        stats.book(cost_usd=1.5)
        stats.book(yield_usd=2.5)
        assert (stats.counters, stats.gauges) == ({"made": 3}, {"left": 3.0})
        assert (stats.cost_usd, stats.yield_usd) == (1.5, 2.5)

    @pytest.mark.parametrize("name", ["", "a-b", "a b", "é", "1a", "___", 'a"b'])
    def test_a_name_that_no_metric_can_have(self, name: str) -> None:
        stats = Stats(clock=Clock())
        with pytest.raises(ValueError, match="must be letters"):
            stats.count(name)
        with pytest.raises(ValueError, match="must be letters"):
            stats.gauge(name, 1)

    @pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf])
    def test_what_is_no_money_is_not_booked(self, amount: float) -> None:
        """It would be in every /health until the end, and JSON cannot hold it."""
        stats = Stats(clock=Clock())
        with pytest.raises(ValueError, match="finite"):
            stats.book(cost_usd=amount)
        with pytest.raises(ValueError, match="finite"):
            stats.book(yield_usd=amount)
        assert (stats.cost_usd, stats.yield_usd) == (0, 0)


@virtual_time
async def test_the_process_is_measured_beside_the_requests() -> None:
    stats = Stats(clock=anyio.current_time)
    async with anyio.create_task_group() as tasks:
        await tasks.start(ProcessSampler(stats, every_seconds=5).run)
        assert stats.memory_mb > 0
        stats.memory_mb = 0
        stats.cpu_percent = -1.0
        until = cpu_seconds() + 0.1
        while cpu_seconds() < until:
            sum(range(10_000))
        await anyio.sleep(6)
        assert stats.memory_mb > 0
        assert 1.9 <= stats.cpu_percent < 10  # 0.1 s of work in 5 s
        tasks.cancel_scope.cancel()
