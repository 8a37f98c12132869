"""Shrinker makes pictures small: a task that tells how far it is, and tidies up when it is cancelled."""

from __future__ import annotations

import anyio

from udc import Context, Droplet, query, task

SECONDS_A_PICTURE = 0.5


class Shrinker(Droplet):
    id, name, steward = 52, "Shrinker", "media-team"
    capabilities = ("shrink",)  # the Orchestrator gives tasks to droplets that list their type

    def __init__(self) -> None:
        super().__init__()
        self._thrown_away = 0

    @task("shrink")
    async def shrink(self, pictures: list[str], ctx: Context) -> list[str]:
        """Make pictures small; its result is what they are called now."""
        small: list[str] = []
        try:
            for picture in pictures:
                await anyio.sleep(SECONDS_A_PICTURE)  # the work; a cancelled task is cancelled at an await
                small.append(f"{picture}-small")
                await ctx.progress(100 * len(small) / len(pictures), f"{picture} is small")
        except anyio.get_cancelled_exc_class():
            self._thrown_away += len(small)  # nobody wants half an album
            raise
        return small

    @query("thrown_away")
    async def thrown_away(self) -> int:
        """How many pictures were made for nothing."""
        return self._thrown_away
