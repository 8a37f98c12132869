"""A mesh of fifty, in real time; how long it takes is measured in CPU time, which other processes change little."""

from __future__ import annotations

import time

from udc import Context, Droplet, query
from udc.testing import mesh

SIZE = 50
HOPS = 15


class Link(Droplet):
    steward = "tests"

    def __init__(self, number: int) -> None:
        super().__init__(config={"droplet.id": 100 + number, "droplet.name": f"Link{number}"})
        self.following = f"Link{(number + 1) % SIZE}"

    @query("around")
    async def around(self, left: int, ctx: Context) -> int:
        return 1 + await ctx.query(self.following, "around", {"left": left - 1}, returns=int) if left else 0


async def test_fifty_droplets_in_a_ring() -> None:
    """A trace may pass 16 droplets, so the ring is walked in parts; every link is used."""
    began = time.process_time()
    async with mesh(*(Link(number) for number in range(SIZE))) as world:
        for start in range(0, SIZE, HOPS):
            assert await world.client.query(f"Link{start}", "around", {"left": HOPS}) == HOPS
    assert time.process_time() - began < 5
