"""Reads a request's body from an ASGI server: within its size, and within its time.

A body that has arrived already, as nearly all have, is taken without a timer, which would cost more than the reading:
the server's `receive` is begun by hand, and only where it has to wait is the rest of it awaited under a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from types import CoroutineType
from typing import Any, TypeAlias

import anyio

Event: TypeAlias = MutableMapping[str, Any]  # Any: ASGI's own
Receive: TypeAlias = Callable[[], Awaitable[Event]]


class CallerLeft(Exception):
    """The caller went away before the end of its request."""


class TooLarge(Exception):
    """The body is over the limit."""


class TooLate(Exception):
    """The body has not arrived in its time."""


def may_begin() -> bool:
    """Whether the loop that runs lets an awaitable be gone through by hand, as asyncio's do.

    Trio insists that time limits nest, and `receive` may have begun one of its own.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def begin(receive: Receive, *, by_hand: bool | None = None) -> Event | Awaitable[Event]:
    """The server's next event, if it is there without waiting; else what to await for it, once.

    Args:
        by_hand: what `may_begin` says, for who has asked it once: in Python 3.11 it asks the kernel each time.
    """
    waiting = receive()
    if type(waiting) is not CoroutineType or not (may_begin() if by_hand is None else by_hand):
        return waiting  # also a server's own kind of awaitable, which cannot be gone through by hand
    try:
        asked = waiting.send(None)
    except StopIteration as done:
        event: Event = done.value
        return event
    return _Rest(waiting, asked)


def whole(begun: Event | Awaitable[Event], limit: int) -> bytes | None:
    """The body, if that event is all of it; `None` = there is more to wait for.

    Raises:
        TooLarge: it is over the limit.
    """
    if not isinstance(begun, dict) or begun["type"] != "http.request" or begun.get("more_body", False):
        return None
    body: bytes = begun.get("body", b"")
    if len(body) > limit:
        raise TooLarge
    return body


async def read(begun: Event | Awaitable[Event], receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The whole body, of which the first event was begun.

    Raises:
        TooLarge: it is over the limit; the rest is left unread.
        TooLate: it did not arrive in that time.
        CallerLeft: it will not arrive.
    """
    try:
        async with _within(begun, seconds):
            return await _all(begun, receive, limit)
    except TimeoutError:
        raise TooLate from None


async def abandon(begun: Event | Awaitable[Event]) -> None:
    """Wait for the event no more. What was begun must be ended by the event loop, which has noted who waits."""
    if isinstance(begun, Awaitable):
        with suppress(TimeoutError):
            async with _within(begun, 0.0):
                await begun


@asynccontextmanager
async def _within(begun: Event | Awaitable[Event], seconds: float) -> AsyncGenerator[None]:
    """Raises `TimeoutError` when it takes longer."""
    if isinstance(begun, _Rest):
        # What was begun may be inside of a cancel scope already, in which one of anyio's would not nest.
        async with asyncio.timeout(seconds):
            yield
    else:
        with anyio.fail_after(seconds):
            yield


async def _all(begun: Event | Awaitable[Event], receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    event = await begun if isinstance(begun, Awaitable) else begun
    while event["type"] == "http.request":
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
        if not event.get("more_body", False):
            return b"".join(parts)
        event = await receive()
    raise CallerLeft


class _Rest:
    """What is left of an awaitable whose first step was made by hand: that step again, and then all that follow."""

    __slots__ = ("_asked", "_begun", "_steps")

    def __init__(self, steps: CoroutineType[Any, Any, Event], asked: object) -> None:
        self._steps = steps
        self._asked = asked
        self._begun = False

    def __await__(self) -> Any:  # Any: an iterator of whatever the event loop understands
        return self

    def __iter__(self) -> _Rest:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def send(self, told: object) -> object:
        """Hand the event loop's answer to the steps; returns what they ask for next."""
        if self._begun:
            return self._steps.send(told)
        self._begun = True
        return self._asked

    def throw(self, *error: Any) -> object:  # Any: what the event loop throws in, cancellation above all
        """Let the steps see it."""
        return self._steps.throw(*error)

    def close(self) -> None:
        """Nobody awaits it any more."""
        self._steps.close()
