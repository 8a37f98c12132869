"""An answer that is read while it is still being written: server-sent events, long downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, cast

import anyio
import httpx2

from udc._http.faults import FOREIGN, delivery_error
from udc._types import DropletId
from udc.errors import InvalidReply

_CLOSING_SECONDS: Final = 2.0


class HttpStream:
    """The parts of one answer. Use it in `async with`, or call `aclose`: it holds a connection.

    Attributes:
        status: the status code.
        headers: names in lower case.
    """

    def __init__(self, response: httpx2.Response, *, peer: DropletId, origin: str, closed: Callable[[], None]) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._stream = cast("httpx2.AsyncByteStream", response.stream)
        self._parts: AsyncIterator[bytes] = aiter(self._stream)
        self._peer = peer
        self._origin = origin
        self._closed: Callable[[], None] | None = closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def part(self) -> bytes:
        """The next bytes; `b""` at the end. After a cancellation in here the stream is of no more use.

        Raises:
            ConnectionLost: it broke off.
        """
        try:
            async for part in self._parts:
                if part:
                    return part
        except FOREIGN as error:
            raise delivery_error(error, peer=self._peer, origin=self._origin) from error
        return b""

    async def rest(self, *, max_bytes: int) -> bytes:
        """All that is still to come.

        Raises:
            ConnectionLost: it broke off.
            InvalidReply: it is longer than `max_bytes`.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.part():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise InvalidReply(f"{self._peer} answered with more than {max_bytes} bytes", peer=self._peer)
        return b"".join(parts)

    async def aclose(self) -> None:
        """Drop the connection, or give it back when the answer was read to its end. Twice is harmless."""
        if self._closed is None:
            return
        closed, self._closed = self._closed, None
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            await self._stream.aclose()
            # The library's inner generators would be left unfinished; with the connection closed they end.
            with suppress(*FOREIGN):
                async for _ in self._parts:
                    pass
        closed()
