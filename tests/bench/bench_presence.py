"""How soon everybody is back after an outage of the Registry, and how many a second ask to register. In virtual time.

`python -m tests.bench.bench_presence [sizes]`, for example `3,50,1000` (the default, about a minute).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from tests.journeys.fleet import Registry, peak_per_second, running
from udc.testing import virtual_time

KINDS = ("unreachable", "out of order", "refusing", "empty")
OUTAGES = (3.0, 5.0, 20.0, 120.0)


@dataclass(frozen=True)
class Return:
    """How a mesh came back.

    Attributes:
        seconds: until the last one was back.
        peak: the share of the mesh that asked to register in the worst second, taken over ten.
    """

    seconds: float
    peak: float


async def returned(size: int, outage_seconds: float, kind: str) -> Return:
    """Let a mesh of that size run, its Registry fail in that way for so long, and everybody come back."""
    registry = Registry()
    registry.beat_every = 3.0 if size < 50 else 10.0
    async with running(size, registry=registry) as fleet:
        await anyio.sleep(60)
        registry.forced = {"out of order": 500, "refusing": 401}.get(kind)
        registry.down = registry.forced is None
        await anyio.sleep(outage_seconds)
        began, read = anyio.current_time(), len(registry.calls)
        registry.forced = None
        registry.restart(empty=kind == "empty")
        heard: set[int] = set()
        with anyio.fail_after(120):
            while len(heard) < size or fleet.present < size:
                await anyio.sleep(0.25)
                heard |= {call.droplet_id for call in registry.calls[read:] if call.status == 200}
                read = len(registry.calls)
        seconds = anyio.current_time() - began
        return Return(seconds, peak_per_second(registry.attempted_at(began), window=10.0) / size)


def main(sizes: Sequence[int]) -> None:
    backend, options = virtual_time()
    for size in sizes:
        for kind in KINDS:
            for outage in OUTAGES:
                found = anyio.run(returned, size, outage, kind, backend=backend, backend_options=options)
                print(
                    f"{size:5} droplets, {kind:12} for {outage:4.0f} s: "
                    f"back after {found.seconds:5.1f} s, at most {100 * found.peak:4.1f} % a second register"
                )


if __name__ == "__main__":
    main([int(each) for each in (sys.argv[1] if len(sys.argv) > 1 else "3,50,1000").split(",")])
