"""`/message` against the raw-ASGI floor and against others: `python -m tests.bench.bench_message [--rounds 5]`.

Servers on one core, load on another, rounds alternating, medians and spread. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Final

from tests.bench.load import Result, beside, run
from tests.bench.processes import Served, served, take_load_cpu, versions
from tests.bench.requests import GET_HEALTH, request_for, token
from udc.identity.keys import SigningKey

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "floor": (),
    "the least, in one function": (),
    "droplet": (),
    "droplet on FastAPI": ("fastapi",),
    "droplet on FastAPI without telemetry": ("fastapi",),
    "constant answer on FastAPI": ("fastapi",),
    "droplet on Starlette": ("starlette",),
    "aiohttp Application": ("aiohttp",),
    "droplet on aiohttp": ("aiohttp",),
    "hand-written (FastAPI, Depends, python-jose)": ("fastapi", "jose"),
    "FastMCP tool call": ("fastmcp",),
    "a2a-sdk SendMessage": ("a2a", "sse_starlette"),
}
"""Servers, and the packages without which they are left out."""

TARGETS: Final = (
    ("droplet", "floor", 0.55),
    ("droplet on FastAPI", "floor", 0.50),
    ("droplet on FastAPI without telemetry", "floor", 0.50),
    ("droplet on Starlette", "floor", 0.50),
    ("droplet on aiohttp", "aiohttp Application", 0.60),
    ("droplet", "hand-written (FastAPI, Depends, python-jose)", 6.0),
    ("droplet", "FastMCP tool call", 25.0),
    ("droplet", "a2a-sdk SendMessage", 35.0),
)


@dataclass(frozen=True)
class Round:
    """One server in one round."""

    load: Result
    cpu_us: float

    @property
    def rate(self) -> float:
        return self.load.requests_per_second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", help="names of servers")
    options = parser.parse_args()
    take_load_cpu()
    names = [
        name
        for name, packages in NEEDS.items()
        if all(map(find_spec, packages)) and (not options.only or name in options.only)
    ]
    key = SigningKey.generate()
    bearer = token(key)
    results: dict[str, list[Round]] = {name: [] for name in names}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(served(name, key)) for name in names}
        requests = {name: request_for(name, bearer) for name in names}
        for name, server in servers.items():
            run(server.port, requests[name], seconds=0.5)  # warm up
        for _ in range(options.rounds):
            for name, server in servers.items():
                results[name].append(_round(server, requests[name], options.seconds))
        health = [
            beside(servers["droplet"].port, requests["droplet"], GET_HEALTH, seconds=options.seconds)
            for _ in range(options.rounds if "droplet" in servers else 0)
        ]
    print(f"\n{versions()}; {options.rounds} alternating rounds of {options.seconds} s, 32 connections\n")
    _print_servers(results)
    _print_targets(results)
    if health:
        print(
            f"| `/health` p99 while 32 connections send messages | {median(h.p99_ms for h in health):.2f} ms | < 5 ms |"
        )


def _round(server: Served, request: bytes, seconds: float) -> Round:
    before = server.cpu_seconds()
    result = run(server.port, request, seconds=seconds)
    return Round(result, 1e6 * (server.cpu_seconds() - before) / result.requests)


def _ratios(results: dict[str, list[Round]], name: str, base: str) -> list[float]:
    return sorted(ours.rate / theirs.rate for ours, theirs in zip(results[name], results[base], strict=True))


def _spread(values: list[float]) -> str:
    digits = 3 if median(values) < 2 else 1
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _print_servers(results: dict[str, list[Round]]) -> None:
    print("| server | requests/s | of floor (spread) | CPU µs a request | of floor's CPU | p50 ms | p99 ms | errors |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    floor_cpu = median(r.cpu_us for r in results["floor"]) if "floor" in results else float("nan")
    for name, rounds in results.items():
        cpu = median(r.cpu_us for r in rounds)
        ratio = _spread(_ratios(results, name, "floor")) if "floor" in results else ""
        print(
            f"| {name} | {median(r.rate for r in rounds):,.0f} | {ratio} | {cpu:.0f} | {floor_cpu / cpu:.3f} "
            f"| {median(r.load.p50_ms for r in rounds):.2f} | {median(r.load.p99_ms for r in rounds):.2f} "
            f"| {sum(r.load.errors for r in rounds)} |"
        )


def _print_targets(results: dict[str, list[Round]]) -> None:
    print("\n| target | measured | wanted |\n|---|---:|---:|")
    for name, base, wanted in TARGETS:
        if name in results and base in results:
            print(f"| {name} / {base} | {_spread(_ratios(results, name, base))} | ≥ {wanted} |")
    if {"droplet", "floor"} <= results.keys():
        pairs = zip(results["droplet"], results["floor"], strict=True)
        print(f"| p99 of droplet / floor | {_spread([a.load.p99_ms / b.load.p99_ms for a, b in pairs])} | ≤ 2.5 |")


if __name__ == "__main__":
    main()
