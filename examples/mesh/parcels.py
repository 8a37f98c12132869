"""Parcels tells what postage costs, and keeps a list of what is to be packed."""

from __future__ import annotations

from pydantic import BaseModel

from udc import BusinessError, Context, Droplet, PeerError, event, query


class Weight(BaseModel):
    """What Parcels reads of Stock's answer."""

    grams: int


class Parcels(Droplet):
    id, name, steward = 43, "Parcels", "post-room"
    capabilities = ("postage",)
    needs = ("Stock",)

    def __init__(self) -> None:
        super().__init__()
        self._to_pack: list[str] = []

    @query("quote")
    async def quote(self, item: str, ctx: Context, count: int = 1) -> int:
        """What it costs to send so many of them, in cents."""
        try:
            article = await ctx.query("Stock", "article", {"item": item}, returns=Weight)
        except PeerError as error:
            if error.code == "NO_SUCH_ARTICLE":
                raise BusinessError(error.code, error.message, status=error.status) from error
            raise
        return 250 + article.grams * count // 10

    @event("ordered")
    async def ordered(self, item: str, count: int) -> None:
        """Somebody has ordered something."""
        self._to_pack.append(f"{count} x {item}")

    @query("to_pack")
    async def to_pack(self) -> list[str]:
        """What is to be packed."""
        return self._to_pack
