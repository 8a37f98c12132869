"""Stock knows what lies on the shelf, what it costs and what it weighs."""

from __future__ import annotations

from pydantic import BaseModel

from udc import BusinessError, Droplet, command, query


class Article(BaseModel):
    cents: int
    grams: int
    count: int


class Stock(Droplet):
    id, name, steward = 42, "Stock", "warehouse"

    def __init__(self) -> None:
        super().__init__()
        self._shelf = {"tea": Article(cents=450, grams=100, count=5), "pot": Article(cents=2900, grams=1200, count=1)}

    @query("article")
    async def article(self, item: str) -> Article:
        """What is known of an article."""
        if item not in self._shelf:
            raise BusinessError("NO_SUCH_ARTICLE", f"there is no {item}", status=404)
        return self._shelf[item]

    @command("take")
    async def take(self, item: str, count: int = 1) -> int:
        """Take pieces off the shelf; tells what they cost."""
        article = await self.article(item)
        if count > article.count:
            raise BusinessError("SOLD_OUT", f"{article.count} {item} left, not {count}", status=409)
        article.count -= count
        return article.cents * count
