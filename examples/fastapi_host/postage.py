"""Postage says what it costs to send a parcel."""

from __future__ import annotations

import udc.asgi
from udc import Droplet, query


class Postage(Droplet):
    id, name, steward = 62, "Postage", "parcel-team"
    capabilities = ("postage",)

    @query("postage")
    async def postage(self, grams: int) -> int:
        """Cents for a parcel of this weight."""
        return 250 if grams <= 500 else 490


app = udc.asgi.app(Postage())
