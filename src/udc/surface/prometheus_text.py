"""`GET /metrics`: the counts in Prometheus' text format 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from udc.stats import BUCKETS, Histogram, Series, Stats

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(stats: Stats, *, in_flight: int) -> str:
    """All metrics of a droplet as text."""
    lines = [
        *_plain("udc_uptime_seconds", "gauge", "Seconds since the start.", stats.uptime_seconds()),
        *_plain("udc_in_flight", "gauge", "Messages being handled now.", in_flight),
        *_plain("udc_cpu_percent", "gauge", "CPU use of the process, percent of one core.", stats.cpu_percent),
        *_plain("udc_memory_megabytes", "gauge", "Resident memory of the process, MiB.", stats.memory_mb),
        *_plain("udc_cost_usd_total", "counter", "Booked cost.", stats.cost_usd),
        *_plain("udc_yield_usd_total", "counter", "Booked yield.", stats.yield_usd),
        *_series("udc_http_requests_total", "Answered requests.", stats.by_route),
        *_histograms("udc_http_request_seconds", "Time to answer.", stats.latency),
        *_series("udc_messages_total", "Handled messages, tasks and chats.", stats.messages),
        *_series("udc_sends_total", "Finished calls to peers.", stats.sends),
        *_series("udc_events_total", "Events worth counting.", stats.events),
    ]
    for name, value in sorted(stats.counters.items()):
        lines += _plain(f"droplet_{name}_total", "counter", "Counted by the droplet's own code.", value)
    for name, value in sorted(stats.gauges.items()):
        lines += _plain(f"droplet_{name}", "gauge", "Set by the droplet's own code.", value)
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _plain(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, text)
    yield f"{name} {_number(value)}"


def _series(name: str, text: str, series: Series) -> Iterator[str]:
    yield from _head(name, "counter", text)
    for labels, value in sorted(series.values.items()):
        yield f"{name}{_labels(zip(series.names, labels, strict=True))} {_number(value)}"


def _histograms(name: str, text: str, routes: Mapping[str, Histogram]) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    for route, histogram in sorted(routes.items()):
        running = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
            running += count
            yield f"{name}_bucket{_labels([('route', route), ('le', bound)])} {running}"
        yield f"{name}_sum{_labels([('route', route)])} {_number(histogram.total_seconds)}"
        yield f"{name}_count{_labels([('route', route)])} {histogram.count}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    return str(int(value)) if value == int(value) else repr(value)
