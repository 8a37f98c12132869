"""In aiohttp a droplet's requests pass the middlewares around its application, and none of its application's own."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import udc.aiohttp
from tests.contract.adapters.droplets import Everything
from tests.contract.adapters.hosts import Kind, Place, serving

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def application(name: str, seen: list[str]) -> web.Application:
    """One whose middleware and signal say that they have seen a request."""

    @web.middleware
    async def noting(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append(name)
        return await handler(request)

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        seen.append(f"{name} prepared")

    app = web.Application(middlewares=[noting])
    app.on_response_prepare.append(prepared)
    return app


@pytest.mark.parametrize("path", ["/health", "/echo/ada", "/no-such"])
@pytest.mark.parametrize("below", [False, True], ids=["alone", "below another"])
async def test_only_those_around_the_application_see_a_droplets_request(path: str, below: bool) -> None:
    seen: list[str] = []
    inner = app = application("inner", seen)
    udc.aiohttp.attach(inner, Place(Everything()), "/shop")
    if below:
        app = application("outer", seen)
        app.add_subapp("/sub", inner)
    async with serving(Kind("aiohttp", "memory"), app) as host:
        answer = await host.client("GET", ("/sub" if below else "") + f"/shop{path}")
    own, around = path != "/no-such", ["outer"] if below else []
    passed = [*around, *([] if own else ["inner"])]
    prepared = [f"{name} prepared" for name in (*around, "inner")]
    assert (answer.status, seen) == (200 if own else 404, [*passed, *prepared])
