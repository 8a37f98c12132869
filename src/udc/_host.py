"""A droplet's life inside somebody else's application: in a task of its own, ended in an orderly way, never fatal.

Frameworks may open their start-up in one task and close it in another, and a task group cannot cross that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from udc import asgi
from udc._foreign_server import heeded

_log = logging.getLogger("udc.host")


class Hosted(asgi.Hosted, Protocol):
    """A droplet ready for one life inside an application."""

    def request_stop(self, *, at_once: bool = False) -> None:
        """Ask for the graceful end; `at_once` leaves the grace out."""
        ...


class Life:
    """One life of a droplet. What goes wrong in it is kept or logged here; nothing of it reaches the application.

    Attributes:
        failure: what its start raised; of a group of one that one.

    Args:
        name: the droplet's, for the log.
    """

    def __init__(self, hosted: Hosted, *, name: str) -> None:
        self._hosted = hosted
        self._name = name
        self._started = False
        self._stopping = False
        self._scope = anyio.CancelScope()
        self._settled = anyio.Event()
        self._ended = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Begin; returns when the droplet is ready, or has failed to be. On asyncio only; `living` is for all."""
        # Our own reference: the loop holds its tasks weakly.
        self._task = asyncio.create_task(self.run(), name=f"droplet {self._name}")
        await self._waited_for(self._settled)

    async def stop(self) -> None:
        """Ask for the graceful end, and wait for it. On cancel it ends without the grace. Twice is harmless."""
        self.request_stop()
        await self._waited_for(self._ended)

    def request_stop(self) -> None:
        """Ask for the graceful end."""
        self._stopping = True
        self._hosted.request_stop()

    async def settled(self) -> None:
        """Returns when the droplet is ready, or has failed to be."""
        await self._settled.wait()

    def check_started(self) -> None:
        """Raise what went wrong in its start."""
        if self.failure is not None:
            raise self.failure

    async def run(self) -> None:
        """Live to the end."""
        try:
            with self._scope, heeded(self._hosted.request_stop, grace_seconds=self._hosted.grace_seconds):
                await self._hosted.serve(task_status=self)
        except Exception as error:  # noqa: BLE001 - the border to the application, which must not go down with it
            self._note(error)
        finally:
            self._ended.set()
            self._settled.set()

    def started(self, value: None = None) -> None:
        """The droplet is ready (anyio's `TaskStatus`)."""
        self._started = True
        self._settled.set()

    def _note(self, error: Exception) -> None:
        if not self._started:
            self.failure = _single(error)
            return
        what = "stopped, but not as it should" if self._stopping else "crashed; the application around it goes on"
        _log.critical("a droplet has %s", what, exc_info=error, extra={"droplet": self._name})

    async def _waited_for(self, event: anyio.Event) -> None:
        try:
            await event.wait()
        except BaseException:
            self._hosted.request_stop(at_once=True)
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            raise


@asynccontextmanager
async def living(life: Life) -> AsyncGenerator[None]:
    """Started at the beginning and stopped at the end; on asyncio these may be in different tasks.

    Raises nothing of the droplet's: see `Life.failure`.
    """
    if _on_asyncio():
        await life.start()
        try:
            yield
        finally:
            await life.stop()
        return
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(life.run)
        await life.settled()
        try:
            yield
        finally:
            life.request_stop()


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _single(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
