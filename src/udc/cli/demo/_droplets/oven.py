"""Oven bakes: it offers the capability `bake`, and takes tasks of that name."""

from __future__ import annotations

import anyio
from pydantic import BaseModel

from udc import Context, Droplet, event, query, task

SECONDS_A_LOAF = 0.4
COLD, HOT = 20, 230


class Recipe(BaseModel):
    """What Oven reads of Pantry's answer."""

    grams: int
    minutes: int


class Batch(BaseModel):
    """What a task has made."""

    item: str
    loaves: int


class Oven(Droplet):
    """Droplet 73."""

    id, name, steward = 73, "Oven", "the bakery"
    capabilities = ("bake",)
    needs = ("Pantry",)

    def __init__(self) -> None:
        super().__init__()
        self._degrees = COLD
        self._baked = 0

    @query("baking_time")
    async def baking_time(self, item: str, ctx: Context) -> int:
        """Minutes until a loaf of it is out."""
        recipe = await ctx.query("Pantry", "recipe", {"item": item}, returns=Recipe)
        ctx.log.info("%s takes %d minutes", item, recipe.minutes)
        return recipe.minutes

    @task("bake")
    async def bake(self, item: str, ctx: Context, loaves: int = 1) -> Batch:
        """Bake loaves one after the other, and tell how far it is."""
        recipe = await ctx.query("Pantry", "recipe", {"item": item}, returns=Recipe)
        # A task whose oven died is begun anew elsewhere: under the task's own id Pantry gives the flour only once.
        flour = {"grams": recipe.grams * loaves}
        await ctx.command("Pantry", "take", flour, message_id=ctx.message.message_id)
        for loaf in range(1, loaves + 1):
            await anyio.sleep(SECONDS_A_LOAF)  # cancelled here when the task is
            self._baked += 1
            await ctx.progress(100 * loaf / loaves, f"{loaf} of {loaves} {item} are out")
        return Batch(item=item, loaves=loaves)

    @query("baked")
    async def baked(self) -> int:
        """Loaves that came out of this very process."""
        return self._baked

    @event("doors_open")
    async def doors_open(self) -> None:
        """Heats up."""
        self._degrees = HOT

    @query("degrees")
    async def degrees(self) -> int:
        """How hot it is."""
        return self._degrees
