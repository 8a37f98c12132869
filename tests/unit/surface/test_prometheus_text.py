"""The text format: names, labels escaped, numbers of every kind, histograms cumulative."""

from __future__ import annotations

import math

from udc.instrument import MessageHandled, RequestAnswered
from udc.stats import BUCKETS, Stats
from udc.surface.prometheus_text import render


def rendered(stats: Stats) -> list[str]:
    return render(stats, in_flight=3).splitlines()


def test_plain_values_and_numbers() -> None:
    stats = Stats(clock=lambda: 0.0)
    stats.cpu_percent = 12.5
    stats.gauge("nan", math.nan)
    stats.gauge("up", math.inf)
    stats.gauge("down", -math.inf)
    stats.gauge("small", 1e-7)
    stats.count("done", 2)
    lines = rendered(stats)
    for line in (
        "udc_in_flight 3",
        "udc_cpu_percent 12.5",
        "droplet_nan NaN",
        "droplet_up +Inf",
        "droplet_down -Inf",
        "droplet_small 1e-07",
        "droplet_done_total 2",
        "# TYPE droplet_done_total counter",
        "# TYPE droplet_nan gauge",
    ):
        assert line in lines


def test_labels_are_escaped() -> None:
    stats = Stats(clock=lambda: 0.0)
    stats(MessageHandled(message_type="event", action='a"b\\c\nd', source=None, seconds=0, trace_id=""))
    line = 'udc_messages_total{message_type="event",action="a\\"b\\\\c\\nd",code="ok"} 1'
    assert line in rendered(stats)


def test_histograms_are_cumulative() -> None:
    stats = Stats(clock=lambda: 0.0)
    for seconds in (0.002, 0.002, 0.3, 99.0):
        stats(RequestAnswered(method="GET", route="/a", status=200, seconds=seconds, trace_id=""))
    lines = rendered(stats)
    counts = [int(line.rpartition(" ")[2]) for line in lines if line.startswith("udc_http_request_seconds_bucket")]
    assert counts == sorted(counts)
    assert len(counts) == len(BUCKETS) + 1
    assert 'udc_http_request_seconds_bucket{route="/a",le="0.0025"} 2' in lines
    assert 'udc_http_request_seconds_bucket{route="/a",le="0.25"} 2' in lines
    assert 'udc_http_request_seconds_bucket{route="/a",le="0.5"} 3' in lines
    assert 'udc_http_request_seconds_bucket{route="/a",le="+Inf"} 4' in lines
    assert 'udc_http_request_seconds_sum{route="/a"} 99.304' in lines
    assert 'udc_http_request_seconds_count{route="/a"} 4' in lines
