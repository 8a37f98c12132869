"""`udc tasks`: what the Orchestrator is asked for, and which task is meant."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

from udc._ids import system
from udc.cli.connection import Operator, speak
from udc.cli.faults import Usage, say
from udc.cli.place import Place
from udc.clients.orchestrator import OrchestratorClient, orchestrator_at
from udc.clients.orchestrator_records import NewTask, TaskPage, TaskRecord, TaskState
from udc.clients.peer_http import PeerHttp
from udc.errors import UdcError, UnknownPeer
from udc.messages import Peer
from udc.wire import json_text

T = TypeVar("T")

SHORT: Final = 8
"""How much of an id people are shown; that much is enough to name a task."""

_WHOLE: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PAGE: Final = 500
_SEARCHED: Final = 20_000
"""So many tasks are looked through for the beginning of an id."""


class NoSuchTask(UdcError):
    """No task has an id that begins so."""


def ask(place: Place, what: Callable[[OrchestratorClient], Awaitable[T]], *, seconds: float) -> T:
    """Ask the mesh's Orchestrator something."""

    async def asked(operator: Operator) -> T:
        return await what(await orchestrator(operator))

    return speak(place, asked, seconds=seconds)


async def orchestrator(operator: Operator) -> OrchestratorClient:
    """The mesh's Orchestrator: the configured one, else the one that the Registry lists.

    Raises:
        UnknownPeer, PeerError, DeliveryError: the Registry lists none, says no, or cannot be reached.
    """
    http = PeerHttp(
        operator.client, operator.tokens, audience_of=operator.audience_of, insecure_hosts=operator.insecure_hosts
    )
    return OrchestratorClient(http, await _whereabouts(operator), ambient=system(), timeout_seconds=operator.seconds)


async def _whereabouts(operator: Operator) -> Peer:
    section = operator.place.config.orchestrator
    if section.url is not None:
        return orchestrator_at(section.url, section.id)
    try:
        return await (await operator.directory()).resolve(section.id)
    except UnknownPeer as error:
        raise UnknownPeer(
            f"the Registry at {operator.place.registry} knows no Orchestrator (droplet {section.id}); "
            "'udc mesh' runs one, and orchestrator.id or ORCHESTRATOR_URL name another",
            peer=section.id,
        ) from error


async def create(client: OrchestratorClient, task: NewTask) -> TaskRecord:
    """Give the task, and say on stderr when there is nobody who could do it, as after a slip in its type."""
    made = await client.create(task)
    wanted = task.required_capability or task.task_type
    if made.status == TaskState.PENDING and not await _is_offered(client, wanted):
        say(f"no droplet offers {wanted!r} now; the task waits for one that does")
    return made


async def _is_offered(client: OrchestratorClient, capability: str) -> bool:
    try:
        workers = (await client.queue()).get("workers")
    except UdcError:  # the task is given, which was the point; and a foreign Orchestrator may not know this call
        return True
    if not isinstance(workers, list):
        return True
    rows = map(json_text.as_mapping, cast("list[object]", workers))
    return any(capability in (row.get("capabilities") or ()) for row in rows)


async def page(client: OrchestratorClient, *, status: str | None, task_type: str | None, limit: int) -> TaskPage:
    """So many of the tasks that match, in the Orchestrator's order."""
    tasks: list[TaskRecord] = []
    while True:
        wanted = min(_PAGE, limit - len(tasks))
        found = await client.list(status=status, task_type=task_type, limit=wanted, offset=len(tasks))
        tasks += found.tasks
        if not found.tasks or len(tasks) >= min(limit, found.total):
            return TaskPage(tasks=tuple(tasks), total=found.total)


async def find(client: OrchestratorClient, wanted: str) -> str:
    """The whole id of the task whose id is, or begins with, what is wanted.

    Raises:
        NoSuchTask: there is none.
        Usage: there are several; lists some.
    """
    if _WHOLE.fullmatch(wanted):
        return wanted
    known = (await page(client, status=None, task_type=None, limit=_SEARCHED)).tasks
    found = [task.task_id for task in known if task.task_id.startswith(wanted)]
    if wanted in found:
        return wanted
    if not found:
        raise NoSuchTask(f"no task's id begins with {wanted!r}; 'udc tasks ls' lists them")
    if len(found) > 1:
        some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise Usage(f"{len(found)} tasks have ids that begin with {wanted!r}: {some}; write more of it")
    return found[0]


async def one(client: OrchestratorClient, wanted: str) -> TaskRecord:
    """A task with its history."""
    return await client.get(await find(client, wanted))


async def cancel(client: OrchestratorClient, wanted: str) -> TaskRecord:
    """Cancel a task."""
    return await client.cancel(await find(client, wanted))


def payload_of(data: Any) -> dict[str, Any]:  # Any: JSON values
    """The payload of a task.

    Raises:
        Usage: it is no object.
    """
    if not isinstance(data, dict):
        raise Usage('--body: a task\'s payload is a JSON object, like {"image": "cat.png"}')
    return data


def moment_of(text: str, now: datetime) -> datetime:
    """What `90s`, `10m`, `2h`, `1d` or an ISO time stands for; a time without offset is UTC.

    Raises:
        Usage: it is none of these.
    """
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            return now + timedelta(seconds=float(span[1]) * _UNITS[span[2]])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Usage(
            f"--deadline: {text!r}; wanted a span like 90s, 10m, 2h or 1d, or a time like 2030-01-31T12:00:00Z"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
