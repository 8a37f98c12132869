"""Billing knows how many images each steward has paid for."""

from __future__ import annotations

from pydantic import BaseModel

import udc.asgi
from udc import BusinessError, Droplet, command, query


class Balance(BaseModel):
    steward: str
    images: int


class Billing(Droplet):
    id, name, steward = 15, "Billing", "money-team"
    capabilities = ("billing",)

    def __init__(self) -> None:
        super().__init__()
        self._paid = {"ada": 3}

    @query("balance")
    async def balance(self, steward: str) -> Balance:
        """How many images a steward has left."""
        return Balance(steward=steward, images=self._paid.get(steward, 0))

    @command("charge")
    async def charge(self, steward: str, images: int = 1) -> Balance:
        """Take images off a steward's balance."""
        left = self._paid.get(steward, 0) - images
        if left < 0:
            raise BusinessError("BALANCE_SPENT", f"{steward} has no images left", status=409)
        self._paid[steward] = left
        return Balance(steward=steward, images=left)


app = udc.asgi.app(Billing())
