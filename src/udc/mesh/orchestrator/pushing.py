"""Brings tasks to droplets: `POST {endpoint}/task`, and the command that cancels one (contract section 5)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from pydantic_core import from_json

from udc._ids import Ambient, iso_utc
from udc.context import Context
from udc.discovery import Discovery
from udc.errors import DeliveryError, PeerError, TokenError
from udc.mesh.orchestrator.records import iso
from udc.mesh.orchestrator.task import Holder, Task

_log = logging.getLogger("udc.orchestrator")

_TRY_SECONDS: Final = 5.0
_AVOID_SECONDS: Final = 2.0
_AVOID_UNFIT_SECONDS: Final = 60.0
_UNCERTAIN: Final = frozenset({"TIMEOUT", "INTERNAL_ERROR", "DEPENDENCY_UNAVAILABLE"})
_STOP_SECONDS: Final = 60.0
_STOP_PAUSE_SECONDS: Final = 1.0


class Refusal(Exception):
    """The droplet has certainly not taken the task.

    Attributes:
        avoid_seconds: how long it should not be asked again.
        outdated: it knows a later attempt than it was asked to take (of a store that was put back, say).
    """

    def __init__(self, text: str, *, avoid_seconds: float, outdated: bool = False) -> None:
        super().__init__(text)
        self.avoid_seconds: float = avoid_seconds
        self.outdated: bool = outdated


class Unclear(Exception):
    """The droplet may have taken the task."""


class Pushing:
    """Speaks to droplets about tasks (implements `Pushes`).

    Args:
        mesh: the way to peers; asked for at each use.
        payload: a task's payload as JSON text.
    """

    def __init__(
        self,
        mesh: Callable[[], Context],
        directory: Discovery,
        *,
        payload: Callable[[str], Awaitable[str]],
        ambient: Ambient,
        clock: Callable[[], float],
    ) -> None:
        self._mesh, self._directory, self._payload = mesh, directory, payload
        self._ambient, self._clock = ambient, clock

    async def give(self, task: Task, holder: Holder) -> None:
        """See `Pushes.give`."""
        body: dict[str, Any] = {  # Any: JSON values
            "task_id": task.task_id,
            "id": task.task_id,
            "task_type": task.task_type,
            "type": task.task_type,
            "title": task.title,
            "payload": from_json(await self._payload(task.task_id)),
            "priority": task.priority,
            "trace_id": task.trace_id,
            "attempt": holder.attempt,
        }
        if task.deadline is not None:
            body["deadline"] = iso(task.deadline)
        try:
            await self._mesh().request(
                holder.droplet_id,
                "POST",
                "/task",
                body,
                instance_id=holder.instance_id,
                timeout_seconds=_TRY_SECONDS,
            )
        except PeerError as error:
            if error.status >= 500 and error.code in _UNCERTAIN:
                raise Unclear(str(error)) from error
            unfit = error.status < 500 and not error.retryable
            pause = _AVOID_UNFIT_SECONDS if unfit else error.retry_after_seconds or _AVOID_SECONDS
            raise Refusal(str(error), avoid_seconds=pause, outdated=error.code == "CONFLICT") from error
        except TokenError as error:
            raise Refusal(str(error), avoid_seconds=_AVOID_SECONDS) from error
        except DeliveryError as error:
            if error.may_have_run:
                raise Unclear(str(error)) from error
            raise Refusal(str(error), avoid_seconds=_AVOID_SECONDS) from error

    async def stop(self, task: Task, holder: Holder) -> None:
        """See `Pushes.stop`: tried for a minute, as long as the instance is there."""
        by = self._clock() + _STOP_SECONDS
        while not holder.polls and self._clock() < by:
            try:
                await self._cancel(task, holder)
            except PeerError as error:
                # It does not know the task, so there is nothing to cancel; unless it is only asked too often.
                if error.status < 500 and not error.retryable:
                    return
            except (DeliveryError, TokenError) as error:
                _log.info("cancel_task not delivered", extra={"task_id": task.task_id, "error": str(error)})
                if not self._is_there(holder):
                    return
            else:
                return
            await anyio.sleep(_STOP_PAUSE_SECONDS * (0.5 + self._ambient.chance()))

    async def _cancel(self, task: Task, holder: Holder) -> None:
        payload = {"type": "cancel_task", "task_id": task.task_id}
        known = self._directory.find(holder.droplet_id)
        if known is not None and not known.peer.ours:
            await self._mesh().send(holder.droplet_id, "command", payload, timeout_seconds=_TRY_SECONDS)
            return
        envelope = {
            "trace_id": task.trace_id,
            "target": holder.droplet_id,
            "message_type": "command",
            "payload": payload,
            "timestamp": iso_utc(self._ambient.now()),
        }
        # To that instance: another one of the same droplet knows nothing of the task.
        await self._mesh().request(
            holder.droplet_id,
            "POST",
            "/message",
            envelope,
            instance_id=holder.instance_id,
            timeout_seconds=_TRY_SECONDS,
        )

    def _is_there(self, holder: Holder) -> bool:
        known = self._directory.find(holder.droplet_id)
        if known is None:
            return False
        return any(holder.instance_id in (None, each.peer.instance_id) for each in known.instances)
