"""From an aiohttp request to what the droplet answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import anyio
from aiohttp import hdrs, web
from aiohttp.typedefs import LooseHeaders

from udc._attachment import Attachment, Hosted
from udc.asgi import Until, close_stream, request_of
from udc.errors import InvalidRequest
from udc.surface._base import HttpRequest, HttpResponse, Standing, Surface
from udc.surface.messages import packed

_LOOK_SECONDS: Final = 0.25
"""How soon a caller that has left is noticed while nothing is sent: aiohttp 3 tells nobody."""


def request_in(request: web.Request, path: str) -> HttpRequest:
    """What aiohttp has read, without its body, as a request for a path of the droplet's."""
    return request_of(
        {
            "method": request.method,
            "path": path,
            "headers": request.raw_headers,
            "query_string": request.rel_url.raw_query_string.encode("latin-1"),
            "client": (request.remote, 0) if request.remote else None,
            "scheme": request.scheme,
        }
    )


async def droplets_answer(attachment: Attachment, request: web.Request, path: str) -> web.StreamResponse:
    """What the droplet answers."""
    hosted = attachment.hosted
    if hosted is None:
        return whole_answer(attachment.refuse_unbegun(request_in(request, path)))
    surface = hosted.surface
    express, body = surface.express, None
    if express is not None and path == "/message" and (token := _usual(request, surface.max_body_bytes)) is not None:
        body = request.content.read_nowait()
        answer = await express.answer(token, body, request.scheme)
        if isinstance(answer, bytes):
            return web.Response(body=answer, headers=express.standing(request.scheme).form(_of_receipts))
        if answer is not None:
            return whole_answer(answer)
    return await _answered(hosted, request, request_in(request, path), body)


def _usual(request: web.Request, max_body_bytes: int) -> bytes | None:
    """The token of a message that comes as most do, for the surface's shorter way; `None` for all others."""
    headers, content = request.headers, request.content
    given = headers.getall(hdrs.AUTHORIZATION, ())
    if (
        len(given) != 1
        or not given[0].startswith("Bearer ")
        or request.method != "POST"
        or headers.getall(hdrs.CONTENT_TYPE, ()) != ["application/json"]
        or hdrs.CONTENT_ENCODING in headers
        or not content.is_eof()
        or content.exception() is not None
        or content.total_bytes > max_body_bytes
    ):
        return None
    return given[0][7:].encode("utf-8", "surrogateescape")  # as aiohttp reads headers


def _of_receipts(standing: Standing) -> LooseHeaders:
    """The headers of a receipt, in the form from which aiohttp copies them quickest."""
    return web.StreamResponse(headers=[*standing, ("content-type", "application/json")]).headers


async def _answered(hosted: Hosted, request: web.Request, asked: HttpRequest, body: bytes | None) -> web.StreamResponse:
    surface = hosted.surface
    if body is None:
        read = await _given(hosted, request, asked)
        if not isinstance(read, bytes):
            return read
        body = read
    asked.body = body
    asked.disconnected = lambda: _until_left(request)
    response = await surface.handle(asked)
    return await _sent(response, request, hosted.over)


async def _given(hosted: Hosted, request: web.Request, asked: HttpRequest) -> bytes | web.StreamResponse:
    """The body, or the answer to a request that gets none."""
    surface = hosted.surface
    if not request.content.is_eof() and (refusal := surface.turned_away(asked)) is not None:
        return whole_answer(refusal)
    try:
        body = await _body(request, surface)
    except TimeoutError:
        late = whole_answer(surface.refuse_late(asked))
        late.force_close()
        return late
    except web.RequestPayloadError:  # a `ConnectionError` is aiohttp's to end: nobody would read the answer
        coding = asked.headers.get("content-encoding")
        error = packed(coding) if coding else InvalidRequest("the body does not arrive as its headers say")
        return whole_answer(surface.turned_away(asked) or surface.refuse_unread(error, asked))
    if body is None:
        return whole_answer(surface.turned_away(asked) or surface.refuse_body(asked))
    return body


async def _body(request: web.Request, surface: Surface) -> bytes | None:
    """The whole body; `None` when it is over the limit.

    Raises:
        TimeoutError: it did not arrive in its time.
    """
    limit = surface.max_body_bytes
    if request.content.is_eof():
        return await _read(request, limit)  # all of it is there: a timer would cost more than the reading
    with anyio.fail_after(surface.body_timeout_seconds):
        return await _read(request, limit)


async def _read(request: web.Request, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    content = request.content
    while not content.at_eof():
        part = await content.readany()
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _sent(response: HttpResponse, request: web.Request, over: Until) -> web.StreamResponse:
    if isinstance(response.body, bytes):
        return whole_answer(response)
    answer = web.StreamResponse(status=response.status, headers=headers_of(response))
    try:
        await answer.prepare(request)
        if request.method != "HEAD":
            await _stream(response.body, answer, request, over)
        await answer.write_eof()
    except ConnectionError:
        pass  # the caller has left
    finally:
        await close_stream(response.body)
    return answer


async def _stream(body: AsyncIterator[bytes], answer: web.StreamResponse, request: web.Request, over: Until) -> None:
    """Send the parts as they come, until the end, until the caller leaves, or until the droplet's work is over."""
    async with anyio.create_task_group() as tasks:

        async def watch(until: Until) -> None:
            await until()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch, lambda: _until_left(request))
        tasks.start_soon(watch, over)
        async for part in body:
            await answer.write(part)
        tasks.cancel_scope.cancel()


async def _until_left(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(_LOOK_SECONDS)


def headers_of(response: HttpResponse) -> list[tuple[str, str]]:
    headers = list(response.headers)
    if response.media_type is not None and response.status != HTTPStatus.NO_CONTENT:
        headers.append(("content-type", response.media_type))
    return headers


def content_of(response: HttpResponse) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def whole_answer(response: HttpResponse) -> web.Response:
    return web.Response(status=response.status, headers=headers_of(response), body=content_of(response))
