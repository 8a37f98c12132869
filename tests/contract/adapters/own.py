"""Applications with routes, middleware, a lifespan and exception handlers of their own, one for each framework."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from aiohttp import web
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import udc.aiohttp
import udc.fastapi
import udc.starlette
from udc import BusinessError, Context
from udc.identity.claims import Principal


class OwnError(Exception):
    """The application has a handler for it."""


@dataclass
class Own:
    """What an application noted of itself."""

    life: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


SEEN = "x-passed-own-middleware"


async def answers_own_errors(_: Request, error: Exception) -> Response:
    return JSONResponse({"own": str(error)}, 418)


async def answers_nowhere(_: Request, __: Exception) -> Response:
    return JSONResponse({"own": "nowhere"}, 404)


class OwnMiddleware:
    """Pure ASGI; notes the paths and marks the answers."""

    def __init__(self, app: Any, own: Own) -> None:
        self.app = app
        self.own = own

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.own.passed.append(scope["path"])

        async def marking(event: Any) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event["headers"], (SEEN.encode(), b"yes")]
            await send(event)

        await self.app(scope, receive, marking)


def lifespan_of(own: Own) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
        own.life.append("opened")
        yield {"resource": "open"}
        own.life.append("closed")

    return lifespan


def fastapi_application(own: Own, lifespan: Any = None) -> FastAPI:
    app = FastAPI(
        title="Own",
        lifespan=lifespan or lifespan_of(own),
        middleware=[Middleware(OwnMiddleware, own=own)],
        exception_handlers={OwnError: answers_own_errors, 404: answers_nowhere},
    )

    @app.get("/mine")
    async def mine(request: Request) -> dict[str, Any]:
        return {"mine": True, "resource": request.state.resource}

    @app.get("/mine/{number}")
    async def numbered(number: int) -> int:
        return number

    @app.get("/guarded")
    async def guarded(caller: Annotated[Principal, Depends(udc.fastapi.principal("write"))]) -> Any:
        return {"caller": caller.droplet_id}

    @app.get("/scoped")
    async def scoped(caller: Annotated[Principal, Depends(udc.fastapi.principal("admin", scope="own:it"))]) -> Any:
        return {"caller": caller.droplet_id}

    @app.get("/asks")
    async def asks(mesh: Annotated[Context, Depends(udc.fastapi.mesh())]) -> Any:
        return await mesh.query("Other", "echo", {"text": "through"})

    @app.get("/misses")
    async def misses(mesh: Annotated[Context, Depends(udc.fastapi.mesh())]) -> Any:
        return await mesh.query("Dead", "echo", {}, retries=0)

    @app.get("/refuses")
    async def refuses() -> None:
        raise BusinessError("SOLD_OUT", "no more", status=409)

    @app.get("/own-error")
    async def own_error() -> None:
        raise OwnError("mine")

    router = APIRouter(prefix="/nested")

    @router.get("/deep")
    async def deep() -> str:
        return "deep"

    app.include_router(router)
    return app


def starlette_application(own: Own, lifespan: Any = None) -> Starlette:
    async def mine(request: Request) -> Response:
        return JSONResponse({"mine": True, "resource": request.state.resource})

    async def numbered(request: Request) -> Response:
        return JSONResponse(request.path_params["number"])

    async def guarded(request: Request) -> Response:
        return JSONResponse({"caller": (await udc.starlette.principal(request, "write")).droplet_id})

    async def scoped(request: Request) -> Response:
        return JSONResponse({"caller": (await udc.starlette.principal(request, "admin", scope="own:it")).droplet_id})

    async def asks(request: Request) -> Response:
        return JSONResponse(await udc.starlette.mesh(request).query("Other", "echo", {"text": "through"}))

    async def misses(request: Request) -> Response:
        return JSONResponse(await udc.starlette.mesh(request).query("Dead", "echo", {}, retries=0))

    async def refuses(_: Request) -> Response:
        raise BusinessError("SOLD_OUT", "no more", status=409)

    async def own_error(_: Request) -> Response:
        raise OwnError("mine")

    async def deep(_: Request) -> Response:
        return JSONResponse("deep")

    return Starlette(
        routes=[
            Route("/mine", mine),
            Route("/mine/{number:int}", numbered),
            Route("/guarded", guarded),
            Route("/scoped", scoped),
            Route("/asks", asks),
            Route("/misses", misses),
            Route("/refuses", refuses),
            Route("/own-error", own_error),
            Mount("/nested", routes=[Route("/deep", deep)]),
        ],
        middleware=[Middleware(OwnMiddleware, own=own)],
        lifespan=lifespan or lifespan_of(own),
        exception_handlers={OwnError: answers_own_errors, 404: answers_nowhere},
    )


def aiohttp_application(own: Own, lifespan: Any = None) -> web.Application:
    resource = web.AppKey("resource", str)

    @web.middleware
    async def own_middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        own.passed.append(request.path)
        try:
            answer = await handler(request)
        except OwnError as error:
            answer = web.json_response({"own": str(error)}, status=418)
        except web.HTTPNotFound:
            answer = web.json_response({"own": "nowhere"}, status=404)
        except web.HTTPException as error:
            error.headers[SEEN] = "yes"
            raise
        answer.headers[SEEN] = "yes"
        return answer

    async def mine(request: web.Request) -> web.Response:
        return web.json_response({"mine": True, "resource": request.app[resource]})

    async def numbered(request: web.Request) -> web.Response:
        return web.json_response(int(request.match_info["number"]))

    async def guarded(request: web.Request) -> web.Response:
        return web.json_response({"caller": (await udc.aiohttp.principal(request, "write")).droplet_id})

    async def scoped(request: web.Request) -> web.Response:
        caller = await udc.aiohttp.principal(request, "admin", scope="own:it")
        return web.json_response({"caller": caller.droplet_id})

    async def asks(request: web.Request) -> web.Response:
        return web.json_response(await udc.aiohttp.mesh(request).query("Other", "echo", {"text": "through"}))

    async def misses(request: web.Request) -> web.Response:
        return web.json_response(await udc.aiohttp.mesh(request).query("Dead", "echo", {}, retries=0))

    async def refuses(_: web.Request) -> web.Response:
        raise BusinessError("SOLD_OUT", "no more", status=409)

    async def own_error(_: web.Request) -> web.Response:
        raise OwnError("mine")

    async def deep(_: web.Request) -> web.Response:
        return web.json_response("deep")

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with (lifespan or lifespan_of(own))(app):
            app[resource] = "open"
            yield

    app = web.Application(middlewares=[own_middleware])
    app.router.add_get("/mine", mine)
    app.router.add_get(r"/mine/{number:\d+}", numbered)
    app.router.add_get("/guarded", guarded)
    app.router.add_get("/scoped", scoped)
    app.router.add_get("/asks", asks)
    app.router.add_get("/misses", misses)
    app.router.add_get("/refuses", refuses)
    app.router.add_get("/own-error", own_error)
    nested = web.Application()
    nested.router.add_get("/deep", deep)
    app.add_subapp("/nested", nested)
    app.cleanup_ctx.append(context)
    return app


APPLICATIONS: dict[str, Callable[..., Any]] = {
    "fastapi": fastapi_application,
    "starlette": starlette_application,
    "aiohttp": aiohttp_application,
}
ATTACH: dict[str, Callable[..., Any]] = {
    "fastapi": udc.fastapi.attach,
    "starlette": udc.starlette.attach,
    "aiohttp": udc.aiohttp.attach,
}
