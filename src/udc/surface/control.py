"""How a droplet is operated: `/reload-config`, `/shutdown`, `/emergency-stop`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

import anyio
from pydantic_core import to_json

from udc import models
from udc._ids import Ambient
from udc.errors import ConfigError, Forbidden, InvalidRequest
from udc.instrument import ConfigReloaded, Instrument
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface.facts import ProofBook
from udc.surface.messages import require_json

_log = logging.getLogger("udc.surface")
_MAX_REASON: Final = 200


class Reloading(Protocol):
    """Reads the configuration anew and puts into use what can change while the droplet runs."""

    def __call__(self, path: str | None) -> tuple[str, ...]:
        """Returns the names of the values that changed.

        Raises:
            ConfigError: the new configuration is not valid, or would need a restart; nothing has changed.
            PermissionError: the path is outside the configured directory.
        """
        ...


class Control:
    """The handlers of these endpoints.

    Args:
        spawn: runs background work as long as the droplet runs.
        stop: asks for the graceful end.
        exit_process: ends the process at once; `None` where `/emergency-stop` is off.
    """

    def __init__(
        self,
        *,
        reload: Reloading,
        spawn: Callable[..., None],
        stop: Callable[[], None],
        exit_process: Callable[[], None] | None,
        proofs: ProofBook,
        instrument: Instrument,
        ambient: Ambient,
    ) -> None:
        self._reload = reload
        self._spawn = spawn
        self._stop = stop
        self._exit = exit_process
        self._proofs = proofs
        self._instrument = instrument
        self._ambient = ambient

    async def reload_config(self, request: HttpRequest) -> models.ReloadResult:
        """Read the configuration anew; an invalid one changes nothing."""
        require_json(request)
        asked = models.read(models.ReloadRequest, request.body)
        try:
            changed = self._reload(asked.config_path)
        except PermissionError:
            raise Forbidden(
                "config_path is outside the configured directory", details={"field": "config_path"}
            ) from None
        except ConfigError as error:
            raise InvalidRequest(
                "the new configuration is not valid; nothing has changed",
                details={"field": "config_path", "problems": list(error.problems)},
            ) from None
        self._proofs.note("reload-config", trace_id=request.trace_id or self._ambient.new_id())
        self._instrument.emit(ConfigReloaded(changed=changed))
        return models.ReloadResult(reloaded=True, changed=changed, timestamp=self._ambient.now())

    async def shutdown(self, request: HttpRequest) -> models.ShutdownResult:
        """Answer first, then end gracefully."""
        require_json(request)
        asked = models.read(models.ShutdownRequest, request.body)

        async def later() -> None:
            await anyio.sleep(asked.delay_seconds)
            self._stop()

        self._spawn(later, name="shutdown")
        _log.warning(
            "%s asked for the end in %d s: %r",
            request.caller.subject,
            asked.delay_seconds,
            asked.reason[:_MAX_REASON],
            extra={"trace_id": request.trace_id or None},
        )
        return models.ShutdownResult(
            delay_seconds=asked.delay_seconds,
            reason=asked.reason,
            scheduled_at=self._ambient.now() + timedelta(seconds=asked.delay_seconds),
        )

    async def emergency_stop(self, request: HttpRequest) -> HttpResponse:
        """Answer, then end the process without draining."""
        body = to_json({"stopping": True, "trace_id": request.trace_id or self._ambient.new_id()})
        # The end comes from within the answer, once its bytes are handed over. The stated length makes it
        # whole for the caller though nothing closes the stream any more.
        return HttpResponse(body=_LastWords(body, self._exit), headers=(("content-length", str(len(body))),))

    def table(self) -> list[Endpoint]:
        """The rows of these endpoints."""
        rows = [
            Endpoint(
                method="POST",
                path="/reload-config",
                access="admin",
                handler=self.reload_config,
                summary="Read the configuration anew",
                always=True,
                request_model=models.ReloadRequest,
                response_model=models.ReloadResult,
            ),
            Endpoint(
                method="POST",
                path="/shutdown",
                access="admin",
                handler=self.shutdown,
                summary="End gracefully",
                request_model=models.ShutdownRequest,
                response_model=models.ShutdownResult,
            ),
        ]
        if self._exit is not None:
            rows.append(
                Endpoint(
                    method="POST",
                    path="/emergency-stop",
                    access="admin",
                    handler=self.emergency_stop,
                    summary="End the process at once",
                    always=True,  # a stop that hangs is what it is for
                )
            )
        return rows


class _LastWords:
    """A body after which the process ends; also when nobody is left to read it."""

    def __init__(self, body: bytes, then: Callable[[], None] | None) -> None:
        self._parts = iter([body])
        self._then = then

    def __aiter__(self) -> _LastWords:
        return self

    async def __anext__(self) -> bytes:
        part = next(self._parts, None)
        if part is None:
            await self.aclose()
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()


def inside(path: str, directory: Path) -> Path:
    """The path, if it is in the directory; links are followed first.

    Raises:
        PermissionError: it is not.
    """
    try:
        resolved = (directory / path).resolve()
    except (OSError, RuntimeError, ValueError):  # too long, a circle of links, a NUL
        raise PermissionError(path) from None
    if not resolved.is_relative_to(directory.resolve()):
        raise PermissionError(path)
    return resolved
