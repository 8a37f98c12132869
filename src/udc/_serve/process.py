"""The droplets of one process: started in order, stopped in reverse, and all of them when one ends.

At the first SIGTERM or SIGINT, or when a droplet is asked to stop, each droplet in turn takes no new work,
finishes what is in flight, leaves the Registry, runs its stop hooks; only then its sockets are closed (contract
section 8). A droplet that crashes ends the process too: nothing answers for what no longer runs.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from udc import asgi
from udc._serve.ending import Watchdog
from udc._serve.server import Server
from udc._serve.signals import Signals
from udc._serve.sockets import Bound, not_to_be_had

_LINGER_SECONDS: Final = 2
"""What answers and streams still open get once their droplet has stopped; never more than its grace."""
_SPARE_SECONDS: Final = 5.0

Listen = Callable[[], Awaitable[None]]
"""Called by a droplet when it wants its port open; returns when it is."""


class Hosted(asgi.Hosted, Protocol):
    """A droplet ready for one life, run by us."""

    @property
    def longest_stop_seconds(self) -> float:
        """How long its stop may take when everything of it takes as long as it may."""
        ...

    @property
    def trusted_proxies(self) -> Sequence[str]:
        """Whose word is taken about where a request comes from."""
        ...

    async def until_stopping(self) -> None:
        """Return when it has been asked to stop, by whomever."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One droplet of the process.

    Attributes:
        bound: where it will listen; closed at the end.
        host: makes it ready for one life. May raise ConfigError and DefinitionError.
        on_serving: called once it serves.
    """

    bound: Bound
    host: Callable[[Listen], Hosted]
    on_serving: Callable[[], None] = lambda: None


async def serve(parts: Sequence[Part], *, signals: Signals, watchdog: Watchdog) -> None:
    """Run them until the first signal, or until one of them ends.

    Raises:
        ConfigError, DefinitionError: one of them cannot be made, or its port cannot be opened.
        Exception: what one of them raised in its start, life or stop; several as an `ExceptionGroup`.
    """
    process = _Process(parts, watchdog)
    await process.run(signals)
    errors = [each.error for each in process.running if each.error is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("several droplets of this process failed", errors)


class _Process:
    def __init__(self, parts: Sequence[Part], watchdog: Watchdog) -> None:
        self._stop = anyio.Event()
        self._watchdog = watchdog
        self._parts = parts
        self.running: list[_Running] = []

    async def run(self, signals: Signals) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear, signals)
            for part in self._parts:
                each = _Running(part, self._stop)
                self.running.append(each)
                tasks.start_soon(each.run)
                await each.settled.wait()
                self._watchdog.seconds = sum(each.longest_stop_seconds for each in self.running) + _SPARE_SECONDS
                if self._stop.is_set():
                    break
            await self._stop.wait()
            self._watchdog.start()
            for each in reversed(self.running):
                each.stop()
                await each.ended.wait()
            tasks.cancel_scope.cancel()

    async def _hear(self, signals: Signals) -> None:
        await signals.first()
        self._stop.set()
        for each in self.running:
            if not each.settled.is_set():
                each.stop()


class _Running:
    """One part while it runs.

    Attributes:
        settled: it serves, or has failed to.
        ended: nothing of it is left.
        error: why it ended, if not because it was asked to.
    """

    def __init__(self, part: Part, stop: anyio.Event) -> None:
        self._part = part
        self._stop = stop
        self._scope = anyio.CancelScope()
        self._wants_port = anyio.Event()
        self._closed = anyio.Event()
        self._hosted: Hosted | None = None
        self._serves = False
        self._leave_by = 0.0
        self.settled = anyio.Event()
        self.ended = anyio.Event()
        self.error: Exception | None = None

    @property
    def longest_stop_seconds(self) -> float:
        return _LINGER_SECONDS + (self._hosted.longest_stop_seconds if self._hosted is not None else 0.0)

    def stop(self) -> None:
        """Ask for the graceful end; what has not started yet is given up."""
        if self._serves and self._hosted is not None:
            self._hosted.request_stop()
        elif not self.ended.is_set():
            self._scope.cancel()

    async def run(self) -> None:
        try:
            with self._scope:
                self._hosted = self._part.host(self._listen)
                self._server = Server(asgi.App.of(self._hosted), trusted_proxies=self._hosted.trusted_proxies)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._answer)
                    tasks.start_soon(self._notice_stopping, self._hosted)
                    await self._live(self._hosted)
                    await self._close_server(self._hosted)
                    tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - the border of one droplet: told when all have ended
            self.error = _single(error)
        finally:
            self._part.bound.close()
            self._stop.set()
            self.settled.set()
            self.ended.set()

    async def _live(self, hosted: Hosted) -> None:
        try:
            await hosted.serve(task_status=_Started(self._on_serving))
        except Exception as error:  # noqa: BLE001 - likewise; its answers still go out first
            self.error = error

    def _on_serving(self) -> None:
        self._serves = True
        self._part.on_serving()
        self.settled.set()

    async def _listen(self) -> None:
        self._wants_port.set()
        await self._server.listening.wait()

    async def _answer(self) -> None:
        await self._wants_port.wait()
        bound = self._part.bound
        try:
            await self._server.serve(sockets=[bound.socket])
            self._closed.set()
        except OSError as error:
            raise not_to_be_had(bound.host, bound.port, error) from error

    async def _notice_stopping(self, hosted: Hosted) -> None:
        await hosted.until_stopping()
        self._server.leaving = True
        if self._part.bound.kept and self._server.listening.is_set():
            self._server.stop_accepting()
        self._leave_by = anyio.current_time() + hosted.grace_seconds
        self._stop.set()

    async def _close_server(self, hosted: Hosted) -> None:
        """Sockets are closed last, when nothing is in flight any more but what callers have not read yet."""
        if self._server.listening.is_set():
            left = min(self._leave_by - anyio.current_time(), hosted.grace_seconds, _LINGER_SECONDS)
            self._server.leave(within_seconds=max(1, math.ceil(left)))
            await self._closed.wait()


class _Started(TaskStatus[None]):
    """Calls a function when a droplet says that it serves."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def started(self, value: None = None) -> None:
        self._then()


def _single(error: Exception) -> Exception:
    """The error inside of groups that hold only one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
