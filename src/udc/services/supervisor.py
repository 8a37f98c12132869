"""Keeps services running: a crash is an event and a restart, never the end of the droplet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc.instrument import Instrument, ServiceCrashed, ServiceRecovered
from udc.services import Service

_log = logging.getLogger("udc.services")
_BASE_SECONDS: Final = 0.5
_CAP_SECONDS: Final = 30.0
_CALM_SECONDS: Final = 60.0
"""A service that stayed up this long starts again from the shortest wait."""


class Supervisor:
    """Runs services and knows which of them are down.

    Args:
        on_change: called whenever a service goes down or comes back.
    """

    def __init__(self, *, ambient: Ambient, instrument: Instrument, on_change: Callable[[], None]) -> None:
        self._ambient = ambient
        self._instrument = instrument
        self._on_change = on_change
        self._down: set[str] = set()

    @property
    def down(self) -> tuple[str, ...]:
        """The names of the services that have crashed and are not back yet."""
        return tuple(sorted(self._down))

    async def run(self, service: Service, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run one service for ever. `task_status` is told once: at its first start, or its first crash."""
        first = _Once(task_status)
        crashes = 0
        while True:
            begun = anyio.current_time()
            try:
                await service.run(task_status=_Started(lambda: self._is_up(service.name, first)))
            except Exception as error:  # noqa: BLE001 - the border of background work: logged, reported, restarted
                crashes = 0 if anyio.current_time() - begun > _CALM_SECONDS else crashes
                wait = self._crashed(service.name, error, crashes)
                crashes += 1
                first()
                await anyio.sleep(wait)
            else:
                self._is_up(service.name, first)
                return

    def _is_up(self, name: str, first: Callable[[], None]) -> None:
        if name in self._down:
            self._down.discard(name)
            self._instrument.emit(ServiceRecovered(service=name))
            self._on_change()
        first()

    def _crashed(self, name: str, error: Exception, crashes: int) -> float:
        wait = self._ambient.chance() * min(_CAP_SECONDS, _BASE_SECONDS * float(2 ** min(crashes, 10)))
        _log.error("background service crashed", exc_info=error, extra={"service": name})
        self._down.add(name)
        self._instrument.emit(
            ServiceCrashed(service=name, error=f"{type(error).__name__}: {error}", restart_in_seconds=wait)
        )
        self._on_change()
        return wait


class _Once:
    """Passes on the first `started()` of a service that may start many times."""

    def __init__(self, task_status: TaskStatus[None]) -> None:
        self._task_status: TaskStatus[None] | None = task_status

    def __call__(self) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None


class _Started(TaskStatus[None]):
    """The `task_status` handed to a service: what to do when it says that it works."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def started(self, value: None = None) -> None:
        self._then()
