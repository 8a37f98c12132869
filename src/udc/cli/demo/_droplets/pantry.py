"""Pantry keeps the flour and the recipes. It calls nobody."""

from __future__ import annotations

from pydantic import BaseModel

from udc import BusinessError, Context, Droplet, command, event, query


class Recipe(BaseModel):
    """What a loaf takes."""

    grams: int
    minutes: int


RECIPES = {
    "rye": Recipe(grams=500, minutes=50),
    "brioche": Recipe(grams=300, minutes=25),
    "pretzel": Recipe(grams=80, minutes=15),
}


class Pantry(Droplet):
    """Droplet 72."""

    id, name, steward = 72, "Pantry", "the bakery"

    def __init__(self) -> None:
        super().__init__()
        self._grams = 20_000
        self._unlocked = False

    @query("recipe")
    async def recipe(self, item: str, ctx: Context) -> Recipe:
        """What a loaf of it takes."""
        if item not in RECIPES:
            raise BusinessError("NO_SUCH_RECIPE", f"nobody here bakes {item}; known: {', '.join(RECIPES)}", status=404)
        ctx.log.info("the recipe of %s was looked up", item)
        return RECIPES[item]

    @query("flour")
    async def flour(self) -> int:
        """Grams of flour left."""
        return self._grams

    @command("take")
    async def take(self, grams: int) -> int:
        """Take flour; tells how many grams are left."""
        if grams > self._grams:
            raise BusinessError("NO_FLOUR", f"{self._grams} g of flour left, not {grams} g", status=409)
        self._grams -= grams
        return self._grams

    @event("delivered")
    async def delivered(self, grams: int, ctx: Context) -> None:
        """The miller has been here."""
        self._grams += grams
        ctx.log.info("the miller brought %d g of flour", grams)

    @event("doors_open")
    async def doors_open(self) -> None:
        """The shop is open, so this is too."""
        self._unlocked = True

    @query("unlocked")
    async def unlocked(self) -> bool:
        """Whether one gets in."""
        return self._unlocked
