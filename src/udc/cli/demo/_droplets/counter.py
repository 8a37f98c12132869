"""Counter sells: it asks Pantry by its name, whoever can `bake` by that capability, and talks to customers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from udc import BusinessError, ChatReply, Context, Droplet, PeerError, chat, command, query

CENTS_PER_GRAM = 1.2


class Recipe(BaseModel):
    """What Counter reads of Pantry's answer."""

    grams: int


class Offer(BaseModel):
    """What Counter offers a customer."""

    item: str
    count: int
    cents: int
    ready_in_minutes: int


class Counter(Droplet):
    """Droplet 71."""

    id, name, steward = 71, "Counter", "the bakery"
    needs = ("Pantry", "bake")

    @query("offer")
    async def offer(self, item: str, ctx: Context, count: int = 1) -> Offer:
        """What so many cost, and when they are ready."""
        try:
            recipe = await ctx.query("Pantry", "recipe", {"item": item}, returns=Recipe)  # the droplet of that name
            minutes = await ctx.query("bake", "baking_time", {"item": item}, returns=int)  # whoever can do that
        except PeerError as error:
            if error.code == "NO_SUCH_RECIPE":  # our customer's matter; anything else is not
                raise BusinessError(error.code, error.message, status=error.status) from error
            raise
        ctx.log.info("%d %s were offered", count, item)
        cents = round(recipe.grams * CENTS_PER_GRAM) * count
        return Offer(item=item, count=count, cents=cents, ready_in_minutes=minutes)

    @command("open")
    async def open(self, ctx: Context) -> list[str]:
        """Open the doors: tells everybody, and returns who has heard."""
        told = await ctx.broadcast("doors_open")
        return sorted(reply.peer.name for reply in told.replies.values() if reply.handled)

    @chat
    async def talk(self, message: str, ctx: Context, context: dict[str, Any] | None = None) -> ChatReply:
        """Talk to a customer, who may go on about what was spoken of before.

        What is known of the conversation travels in its `context`, so that any instance can go on with it.
        """
        words = [each.strip("?!.,").lower() for each in message.split()]
        flour = await ctx.query("Pantry", "flour", returns=int)
        item = next((each for each in words if each in ("rye", "brioche", "pretzel")), (context or {}).get("item"))
        count = next((int(each) for each in words if each.isdigit()), 1)
        if item is None:
            return ChatReply(response=f"We have {flour / 1000:g} kg of flour. Rye, brioche or pretzel?", confidence=0.5)
        offer = await self.offer(item, ctx, count)
        said = f"{count} {item}? That is {offer.cents / 100:.2f}, in {offer.ready_in_minutes} minutes."
        return ChatReply(response=said, context={"item": item})
