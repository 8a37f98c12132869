"""A bookshop in FastAPI, with a lifespan, a middleware, an exception handler and routes of its own.

One line makes it a droplet too: under `/stock` other droplets ask what is left, and reserve copies. What was there
works as before. The droplet starts when the shop's lifespan has opened the database, and stops before it is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import udc.fastapi
from examples.fastapi_host.shelf import Shelf, SoldOut
from udc import BusinessError, Context, Droplet, command, query
from udc.identity.claims import Principal

CENTS, GRAMS = 1100, 400


class Delivery(BaseModel):
    title: str
    left: int
    brought_by: int | str | None


class Order(BaseModel):
    title: str
    left: int
    cents: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with closing(sqlite3.connect(":memory:")) as database:
        app.state.shelf = Shelf(database)
        yield


def shelf_of(app: FastAPI) -> Shelf:
    shelf: Shelf = app.state.shelf
    return shelf


def on_shelf(request: Request) -> Shelf:
    return shelf_of(request.app)


class Stock(Droplet):
    """What other droplets see of the shop."""

    id, name, steward = 61, "Stock", "shop-team"
    capabilities = ("books",)
    needs = ("Postage",)

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self._app = app

    @query("left")
    async def left(self, title: str) -> int:
        """How many copies are left."""
        return shelf_of(self._app).left(title)

    @command("reserve")
    async def reserve(self, title: str) -> int:
        """Lay one copy aside."""
        try:
            return shelf_of(self._app).take(title)
        except SoldOut as error:
            raise BusinessError("SOLD_OUT", str(error), status=409) from error


app = FastAPI(title="Bookshop", lifespan=lifespan)
udc.fastapi.attach(app, Stock(app), prefix="/stock")


@app.middleware("http")
async def greet(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Passed by the shop's own routes only: nothing of the shop stands between two droplets."""
    response = await call_next(request)
    response.headers["X-Shop"] = "The Worm"
    return response


@app.exception_handler(SoldOut)
async def sorry(_: Request, error: SoldOut) -> JSONResponse:
    return JSONResponse({"sorry": str(error)}, status_code=410)


@app.get("/books")
async def books(shelf: Annotated[Shelf, Depends(on_shelf)]) -> dict[str, int]:
    return shelf.all()


@app.post("/books/{title}")
async def bring(
    title: str,
    shelf: Annotated[Shelf, Depends(on_shelf)],
    caller: Annotated[Principal, Depends(udc.fastapi.principal("write"))],
    copies: int = 1,
) -> Delivery:
    """For who has a token of the mesh with the permission `write`."""
    return Delivery(title=title, left=shelf.add(title, copies), brought_by=caller.droplet_id)


@app.post("/orders/{title}")
async def order(
    title: str, shelf: Annotated[Shelf, Depends(on_shelf)], mesh: Annotated[Context, Depends(udc.fastapi.mesh())]
) -> Order:
    """For everybody. Asks a droplet what sending costs, before anything is taken."""
    postage = await mesh.query("Postage", "postage", {"grams": GRAMS}, returns=int)
    return Order(title=title, left=shelf.take(title), cents=CENTS + postage)
