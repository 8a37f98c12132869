"""`/message` against the raw-ASGI floor: `python -m tests.bench.bench_message [--rounds 5] [--seconds 2]`.

Server on one core, load on another, rounds alternating, medians and spread. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.load import Result, run
from udc.identity.keys import SigningKey

SERVER_CPU, LOAD_CPU = 0, 1


def _token(key: SigningKey) -> str:
    now = int(time.time())
    return key.sign(
        {
            "iss": "registry.fullpotential.ai",
            "aud": "fullpotential.droplets",
            "sub": "droplet-77",
            "droplet_id": 77,
            "permissions": ["write"],
            "iat": now,
            "exp": now + 3600,
        }
    )


def _request(token: str) -> bytes:
    body = json.dumps(
        {
            "trace_id": "5e1b9f4e-1d5f-4c7d-9b5a-0d5f2f6c7a10",
            "source": 77,
            "target": 21,
            "message_type": "query",
            "payload": {"type": "greet", "data": {"who": "Ada"}},
            "timestamp": "2026-11-20T10:00:00.000Z",
            "message_id": "0b0a2c1e-9a5e-4f1e-8f0a-6b5a4c3d2e1f",
            "timeout_ms": 10000,
            "hops": 0,
            "priority": "normal",
        }
    ).encode()
    head = (
        f"POST /message HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def _served(name: str, key: SigningKey) -> Iterator[int]:
    environment = {**os.environ, "UDC_SECURITY__PUBLIC_KEY": key.public_pem}
    command = [sys.executable, "-m", "tests.bench.servers", name, str(SERVER_CPU)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        port: int = json.loads(process.stdout.readline())["port"]
        try:
            yield port
        finally:
            process.terminate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CPU})
    key = SigningKey.generate()
    request = _request(_token(key))
    results: dict[str, list[Result]] = {"floor": [], "droplet": []}
    with _served("floor", key) as floor, _served("droplet", key) as droplet:
        ports = {"floor": floor, "droplet": droplet}
        for port in ports.values():
            run(port, request, seconds=1.0)  # warm up
        for _ in range(options.rounds):
            for name, port in ports.items():
                results[name].append(run(port, request, seconds=options.seconds))
    _print(results)


def _print(results: dict[str, list[Result]]) -> None:
    ratios = [
        droplet.requests_per_second / floor.requests_per_second
        for floor, droplet in zip(results["floor"], results["droplet"], strict=True)
    ]
    print(f"Python {platform.python_version()}, {len(ratios)} alternating rounds, 32 connections\n")
    print("| server | requests/s (median) | p50 ms | p99 ms | errors |\n|---|---:|---:|---:|---:|")
    for name, rounds in results.items():
        print(
            f"| {name} | {statistics.median(r.requests_per_second for r in rounds):,.0f} "
            f"| {statistics.median(r.p50_ms for r in rounds):.2f} | {statistics.median(r.p99_ms for r in rounds):.2f} "
            f"| {sum(r.errors for r in rounds)} |"
        )
    print(f"\ndroplet / floor: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
