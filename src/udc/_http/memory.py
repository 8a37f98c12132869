"""HTTP without sockets: a transport of the client library over any function that answers requests.

`HttpClient(transport_factory=lambda: FunctionTransport(network.exchange))` sends every request to the function,
through the client's own pools, limits and error mapping.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import httpx2

from udc._http.answer import HttpAnswer

Exchange: TypeAlias = Callable[[str, str, tuple[tuple[str, str], ...], bytes], Awaitable[HttpAnswer]]
"""Takes method, URL, headers and body.

Raises `ConnectionRefusedError` for "nobody listens there" and `ConnectionResetError` for "the connection broke
after the request went out", as a socket would.
"""


class FunctionTransport(httpx2.AsyncBaseTransport):
    """Answers each request by calling a function."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Call the function; the error of a refused or broken connection is the library's own."""
        body = await request.aread()
        headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
        )
        try:
            answer = await self._exchange(request.method, str(request.url), headers, body)
        except ConnectionRefusedError as error:
            raise httpx2.ConnectError(str(error)) from error
        except ConnectionResetError as error:
            raise httpx2.ReadError(str(error)) from error
        return httpx2.Response(answer.status, headers=dict(answer.headers), content=answer.body)
