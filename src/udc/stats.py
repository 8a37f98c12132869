"""What a droplet really did: sliding windows, histograms, and what the process uses."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus

from udc._process import cpu_seconds, memory_bytes
from udc._types import DropletId
from udc.instrument import (
    AuthenticationFailed,
    DuplicateSuppressed,
    Event,
    MessageHandled,
    ReceiptEvicted,
    RequestAnswered,
    SendFinished,
    ServiceCrashed,
    Tally,
)

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histograms, seconds."""

_MAX_SERIES: Final = 1_000
_OTHER: Final = "other"
_PROBE: Final = "/readyz"
_COUNTED: Final = (DuplicateSuppressed, ReceiptEvicted, AuthenticationFailed, ServiceCrashed)


class Window:
    """How much happened in the last `length_seconds`, in slots that fall out as they age.

    Attributes:
        current: what the newest slot holds; who has called `turn` may add to it.
        turns_at: when the next slot begins.
    """

    __slots__ = ("_clock", "_newest", "_past", "_slot_seconds", "_slots", "current", "turns_at")

    def __init__(self, *, length_seconds: float, slots: int, clock: Callable[[], float]) -> None:
        self._slot_seconds = length_seconds / slots
        self._clock = clock
        self._slots: deque[float] = deque([0.0] * (slots - 1), maxlen=slots - 1)
        self._newest = int(clock() / self._slot_seconds)
        self._past = 0.0
        self.current: float = 0.0
        self.turns_at: float = (self._newest + 1) * self._slot_seconds

    def turn(self, now: float) -> None:
        """Begin the slot of `now`, unless it has begun."""
        newest = int(now / self._slot_seconds)
        for _ in range(min(newest - self._newest, len(self._slots) + 1)):
            self._past += self.current - self._slots[0]
            self._slots.append(self.current)
            self.current = 0.0
        self._newest = max(newest, self._newest)
        self.turns_at = (self._newest + 1) * self._slot_seconds

    def add(self, amount: float = 1.0) -> None:
        """Count something that happens now."""
        self.turn(self._clock())
        self.current += amount

    def total(self) -> float:
        """How much there was within the window."""
        self.turn(self._clock())
        return self._past + self.current


class Histogram:
    """Counts durations by upper bound."""

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BUCKETS) + 1)
        self.total_seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total_seconds += seconds


class Series:
    """Counters by label values, bounded in number: what comes after the limit is counted as `other`."""

    __slots__ = ("names", "values")

    def __init__(self, *names: str) -> None:
        self.names: tuple[str, ...] = names
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count for these label values."""
        values = self.values
        if labels in values:
            values[labels] += amount
            return
        if len(values) >= _MAX_SERIES:
            labels = (_OTHER,) * len(labels)
        values[labels] = values.get(labels, 0.0) + amount


class Stats:
    """Everything counted in one droplet; a hook, and the `ctx.metrics` of its handlers.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started_at: float = clock()
        self.requests: Window = Window(length_seconds=60, slots=60, clock=clock)
        self.request_seconds: Window = Window(length_seconds=60, slots=60, clock=clock)
        self.errors_minute: Window = Window(length_seconds=60, slots=60, clock=clock)
        self.errors_hour: Window = Window(length_seconds=3600, slots=60, clock=clock)
        self.latency: dict[str, Histogram] = {}
        self._turns_at = -math.inf  # when the first of the two windows of requests needs turning
        # By method, route and status: the count, and the route's histogram; one look-up finds both.
        self._answers: dict[tuple[str, str, int], _Answers] = {}
        self.messages: Series = Series("message_type", "action", "code")
        self.sends: Series = Series("peer", "outcome")
        self.events: Series = Series("event")
        self.counters: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.cost_usd: float = 0.0
        self.yield_usd: float = 0.0
        self.cpu_percent: float = 0.0
        self.memory_mb = 0

    def uptime_seconds(self) -> int:
        """Whole seconds since the start."""
        return int(self._clock() - self.started_at)

    def error_rate_percent(self) -> float:
        """Failed answers of the last minute, in percent of all."""
        answered = self.requests.total()
        return round(100 * self.errors_minute.total() / answered, 3) if answered else 0.0

    def average_response_ms(self) -> float:
        """Mean time to answer over the last minute, milliseconds."""
        answered = self.requests.total()
        return round(1000 * self.request_seconds.total() / answered, 3) if answered else 0.0

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter of the droplet's own; it is made on first use."""
        self.counters[_metric_name(name)] = self.counters.get(_metric_name(name), 0.0) + n

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the droplet's own.

        Raises:
            ValueError: the name is none, or ends in `_total`, which is how counters are shown.
        """
        if name.endswith("_total"):
            raise ValueError(f"gauge name {name!r} ends in '_total', as counters do; leave that out")
        self.gauges[_metric_name(name)] = float(value)

    def book(self, cost_usd: float = 0.0, yield_usd: float = 0.0) -> None:
        """Book what the work cost and earned, US dollars; `/health` shows the sums.

        Raises:
            ValueError: not a finite number.
        """
        if not math.isfinite(cost_usd + yield_usd):
            raise ValueError(f"cannot book cost {cost_usd} and yield {yield_usd}: give finite numbers")
        self.cost_usd += cost_usd
        self.yield_usd += yield_usd

    def __call__(self, event: Event, /) -> None:
        """Count the event."""
        take = self.taker(type(event))
        if take is not None:
            take(event)

    def taker(self, kind: type[Event], /) -> Callable[[Any], None] | None:  # Any: an event of that kind
        """See `Choosy`."""
        if issubclass(kind, RequestAnswered):
            return self._answered
        if issubclass(kind, MessageHandled):
            return self._handled
        if issubclass(kind, SendFinished):
            return self._sent
        return self._happened if issubclass(kind, _COUNTED) else None

    def tally(self, action: str, /) -> Tally | None:
        """See `Sparing`."""
        labels = ("query", action, "ok")
        values, add, count = self.messages.values, self.messages.add, self._count
        answers: _Answers | None = None

        def handled(_: DropletId, seconds: float, __: str, /) -> None:
            nonlocal answers
            try:
                values[labels] += 1.0
            except KeyError:
                add(*labels)
            if answers is None:
                answers = self._answers_with("POST", "/message", 200)
            count(answers, seconds)

        return handled

    def _handled(self, event: MessageHandled) -> None:
        self.messages.add(event.message_type, event.action, event.error_code or "ok")

    def _sent(self, event: SendFinished) -> None:
        self.sends.add(event.peer, event.error or "ok")

    def _happened(self, event: Event) -> None:
        self.events.add(type(event).__name__)

    def _answered(self, event: RequestAnswered) -> None:
        if event.status >= 500 and event.route != _PROBE:  # a probe that says "not yet" is no error
            self.errors_minute.add()
            self.errors_hour.add()
        self._count(self._answers_with(event.method, event.route, event.status), event.seconds)

    def _answers_with(self, method: str, route: str, status: int) -> _Answers:
        answers = self._answers.get((method, route, status))
        if answers is None:
            answers = _Answers(self.latency.setdefault(route, Histogram()))
            self._answers[method, route, status] = answers
        return answers

    def _count(self, answers: _Answers, seconds: float) -> None:
        requests, request_seconds = self.requests, self.request_seconds
        if (now := self._clock()) >= self._turns_at:
            requests.turn(now)
            request_seconds.turn(now)
            self._turns_at = min(requests.turns_at, request_seconds.turns_at)
        requests.current += 1.0
        request_seconds.current += seconds
        answers.count += 1
        histogram = answers.histogram
        histogram.counts[bisect_left(BUCKETS, seconds)] += 1
        histogram.total_seconds += seconds

    @property
    def requests_total(self) -> int:
        """How many requests have been answered."""
        return sum(answers.count for answers in self._answers.values())

    @property
    def by_route(self) -> Series:
        """How many answers there were, by method, route and status."""
        series = Series("method", "route", "status")
        for (method, route, status), answers in self._answers.items():
            series.add(method, route, str(status), amount=answers.count)
        return series


class _Answers:
    """The answers of one method, route and status."""

    __slots__ = ("count", "histogram")

    def __init__(self, histogram: Histogram) -> None:
        self.count = 0
        self.histogram = histogram


class ProcessSampler:
    """Measures the process's CPU and memory in the background, never inside a request. A service."""

    name = "process-sampler"

    def __init__(self, stats: Stats, *, every_seconds: float = 5.0) -> None:
        self._stats = stats
        self._every = every_seconds

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Sample for ever; the first reading is there before it reports to be started."""
        now, used = anyio.current_time(), cpu_seconds()
        self._stats.memory_mb = memory_bytes() // 2**20
        task_status.started()
        while True:
            await anyio.sleep(self._every)
            before, used_before = now, used
            now, used = anyio.current_time(), cpu_seconds()
            self._stats.cpu_percent = round(100 * (used - used_before) / (now - before), 1)
            self._stats.memory_mb = memory_bytes() // 2**20


def _metric_name(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii() or name[0].isdigit():
        raise ValueError(f"metric name {name!r} must be letters, digits and '_', for example 'images_resized'")
    return name
