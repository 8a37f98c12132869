"""`/message` against the raw-ASGI floor and against others: `python -m tests.bench.bench_message [--rounds 21]`.

Servers on one core, load on another, rounds alternating, medians and spread. What a server is compared with is measured
right before it, each time: a machine that others share is never as quick a second later. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
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

RIVALS: Final = {
    "hand-written (FastAPI, Depends, python-jose)": 6.0,
    "FastMCP tool call": 25.0,
    "a2a-sdk SendMessage": 35.0,
}
"""How many times their rates the droplet must reach."""

REFERENCE: Final = {"droplet on aiohttp": "aiohttp Application", **dict.fromkeys(RIVALS, "droplet")}
"""What a server is compared with; the others with the floor."""

WANTED: Final = {
    "droplet": 0.55,
    "droplet on FastAPI": 0.50,
    "droplet on FastAPI without telemetry": 0.50,
    "droplet on Starlette": 0.50,
    "droplet on aiohttp": 0.60,
}
"""How much of its reference's rate a server must reach."""


@dataclass(frozen=True)
class Round:
    """One server in one round.

    Attributes:
        reference: what it is compared with, right before.
    """

    load: Result
    cpu_us: float
    reference: Round | None = None

    @property
    def rate(self) -> float:
        return self.load.requests_per_second

    def of_reference(self, figure: Callable[[Round], float]) -> float:
        """The figure, in parts of the reference's; NaN without one."""
        return figure(self) / figure(self.reference) if self.reference else float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.3)
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
                base = REFERENCE.get(name, "floor")
                before = None
                if name != base and base in servers:
                    before = _round(servers[base], requests[base], options.seconds)
                results[name].append(_round(server, requests[name], options.seconds, before))
        health = [
            beside(servers["droplet"].port, requests["droplet"], GET_HEALTH, seconds=1.0)
            for _ in range(7 if "droplet" in servers else 0)
        ]
    print(f"\n{versions()}; {options.rounds} alternating rounds of {options.seconds} s, 32 connections\n")
    _print_servers(results)
    _print_targets(results)
    if health:
        print(
            f"| `/health` p99 while 32 connections send messages | {median(h.p99_ms for h in health):.2f} ms | < 5 ms |"
        )


def _round(server: Served, request: bytes, seconds: float, reference: Round | None = None) -> Round:
    before = server.cpu_seconds()
    result = run(server.port, request, seconds=seconds)
    return Round(result, 1e6 * (server.cpu_seconds() - before) / result.requests, reference)


def _is_compared(rounds: list[Round]) -> bool:
    return bool(rounds) and all(each.reference for each in rounds)


def _rate(measured: Round) -> float:
    return measured.rate


def _cpu(measured: Round) -> float:
    return measured.cpu_us


def _p99(measured: Round) -> float:
    return measured.load.p99_ms


def _spread(values: Iterable[float]) -> str:
    values = sorted(values)
    digits = 3 if median(values) < 2 else 1
    return f"{median(values):.{digits}f} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"


def _print_servers(results: dict[str, list[Round]]) -> None:
    print("| server | requests/s | compared with | of its rate (spread) | CPU µs a request (least) ", end="")
    print("| of its CPU | p50 ms | p99 ms | errors |\n|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for name, rounds in results.items():
        compared = _is_compared(rounds)
        base = REFERENCE.get(name, "floor") if compared else ""
        rate = _spread(each.of_reference(_rate) for each in rounds) if compared else ""
        cpu = f"{1 / median(each.of_reference(_cpu) for each in rounds):.3f}" if compared else ""
        print(
            f"| {name} | {median(map(_rate, rounds)):,.0f} | {base} | {rate} "
            f"| {median(map(_cpu, rounds)):.0f} ({min(map(_cpu, rounds)):.0f}) | {cpu} "
            f"| {median(each.load.p50_ms for each in rounds):.2f} | {median(map(_p99, rounds)):.2f} "
            f"| {sum(each.load.errors for each in rounds)} |"
        )


def _print_targets(results: dict[str, list[Round]]) -> None:
    print("\n| target | measured | wanted |\n|---|---:|---:|")
    for name, wanted in WANTED.items():
        if _is_compared(results.get(name, [])):
            base, ratios = REFERENCE.get(name, "floor"), [each.of_reference(_rate) for each in results[name]]
            print(f"| {name} / {base} | {_spread(ratios)} | ≥ {wanted} |")
    for name, wanted in RIVALS.items():
        if _is_compared(results.get(name, [])):
            times = _spread(1 / each.of_reference(_rate) for each in results[name])
            print(f"| droplet / {name} | {times} | ≥ {wanted} |")
    if _is_compared(results.get("droplet", [])):
        print(f"| p99 of droplet / floor | {_spread(each.of_reference(_p99) for each in results['droplet'])} | ≤ 2.5 |")


if __name__ == "__main__":
    main()
