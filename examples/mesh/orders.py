"""Orders takes orders: Stock gives the goods, whoever offers `postage` gives a price, and everybody hears of it."""

from __future__ import annotations

from pydantic import BaseModel

from udc import BusinessError, Context, Droplet, PeerError, command


class Confirmation(BaseModel):
    cents: int
    heard_by: list[str]


class Orders(Droplet):
    id, name, steward = 41, "Orders", "shop"
    needs = ("Stock",)

    @command("order")
    async def order(self, item: str, ctx: Context, count: int = 1) -> Confirmation:
        """Order something: tells what it costs with postage, and who has heard of it."""
        what = {"item": item, "count": count}
        try:
            postage = await ctx.query("postage", "quote", what, returns=int)  # whoever can do that
            goods = await ctx.command("Stock", "take", what, returns=int)  # the droplet of that name
        except PeerError as error:
            if error.code in ("NO_SUCH_ARTICLE", "SOLD_OUT"):  # our caller's matter; anything else is not
                raise BusinessError(error.code, error.message, status=error.status) from error
            raise
        told = await ctx.broadcast("ordered", what)  # everybody; each answers, or not, for itself
        heard_by = [reply.peer.name for reply in told.replies.values() if reply.handled]
        return Confirmation(cents=goods + postage, heard_by=heard_by)
