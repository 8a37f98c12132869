"""Resizer makes images smaller, for stewards who have paid for it: it asks Billing."""

from __future__ import annotations

from pydantic import BaseModel

import udc.asgi
from udc import Context, Droplet, command, query


class Balance(BaseModel):
    """What Resizer reads of Billing's answer; whatever else is in it does not matter here."""

    images: int


class Resized(BaseModel):
    image: str
    images_left: int


class Resizer(Droplet):
    id, name, steward = 14, "Resizer", "media-team"
    capabilities = ("resize",)
    needs = ("Billing",)

    @query("quota")
    async def quota(self, steward: str, ctx: Context) -> int:
        """How many images a steward may still resize."""
        balance = await ctx.query("Billing", "balance", {"steward": steward}, returns=Balance)
        return balance.images

    @command("resize")
    async def resize(self, image: str, steward: str, ctx: Context) -> Resized:
        """Resize an image, and have the steward charged for it."""
        balance = await ctx.command("Billing", "charge", {"steward": steward}, returns=Balance)
        return Resized(image=f"small-{image}", images_left=balance.images)


app = udc.asgi.app(Resizer())
