"""The example of the architecture, verbatim but for the bodies it leaves out."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from udc import Context, Droplet, PeerError, query, task
from udc.testing import mesh


class Balance(BaseModel):
    images: int


class ResizeJob(BaseModel):
    image: str


class Resized(BaseModel):
    image: str


class Resizer(Droplet):
    id, name, steward = 14, "Resizer", "media-team"
    capabilities = ["resize"]  # noqa: RUF012 - verbatim
    needs = ["billing"]  # required; `wants = [...]` are optional  # noqa: RUF012 - verbatim

    @query("quota")
    async def quota(self, steward: str, ctx: Context) -> int:
        """How many images a steward may still resize today."""
        balance = await ctx.query("billing", "balance", {"steward": steward}, returns=Balance)
        return balance.images

    @task("resize")
    async def resize(self, job: ResizeJob, ctx: Context) -> Resized:
        await ctx.progress(50, "half way")
        return Resized(image=job.image)


class FakeBilling(Droplet):
    id, name, steward = 15, "billing", "money-team"

    @query("balance")
    async def balance(self, steward: str) -> Balance:
        return Balance(images=len(steward))


async def test_quota() -> None:
    async with mesh(Resizer(), FakeBilling()) as world:  # fake Registry, Orchestrator, keys; no sockets, virtual time
        assert await world.client.query("Resizer", "quota", {"steward": "ada"}) == 3
        world.faults.crash("billing")
        with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
            await world.client.query("Resizer", "quota", {"steward": "ada"})
