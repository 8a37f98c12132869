"""Memory of a droplet, idle and after many messages: `python -m tests.bench.bench_memory [--messages 100000]`."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Callable

from tests.bench.load import send
from tests.bench.processes import served, take_load_cpu, versions
from tests.bench.requests import request_for, token
from udc.identity.keys import SigningKey

WARM_UP = 25_000
"""Enough to fill what is bounded: the ledger holds 10,000 receipts."""


def _fresh(bearer: str) -> Callable[[], bytes]:
    """Makes events of which each has a `message_id` of its own, so that each is remembered."""
    template = request_for("droplet", bearer, message_id="0" * 36, message_type="event")
    return lambda: template.replace(b"0" * 36, str(uuid.uuid4()).encode())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args()
    take_load_cpu()
    key = SigningKey.generate()
    bearer = token(key)
    with served("droplet", key) as droplet:
        send(droplet.port, request_for("droplet", bearer), requests=1)
        idle = droplet.rss_mib()
        fresh = _fresh(bearer)
        send(droplet.port, fresh, requests=WARM_UP)
        filled = droplet.rss_mib()
        errors = send(droplet.port, fresh, requests=options.messages).errors
        errors += send(droplet.port, request_for("droplet", bearer), requests=options.messages).errors
        after = droplet.rss_mib()
    print(f"\n{versions()}\n\n| memory of a droplet | RSS MiB | wanted |\n|---|---:|---:|")
    print(f"| idle, after its first message | {idle:.1f} | ≤ 60 |")
    print(f"| after {WARM_UP:,} events: all that is bounded is full | {filled:.1f} | |")
    print(f"| after {options.messages:,} more events and as many queries ({errors} errors) | {after:.1f} | flat |")


if __name__ == "__main__":
    main()
