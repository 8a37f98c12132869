"""Which path leads where: the contract's endpoints, and aliases of the other style (contract section 7, dialects)."""

from __future__ import annotations

from udc.mesh.orchestrator import bodies, watching
from udc.mesh.orchestrator.asking import Asking
from udc.mesh.orchestrator.bodies import NewTask, Poller, Report, TaskChange
from udc.mesh.orchestrator.polling import Pollers
from udc.mesh.orchestrator.reports import Reports
from udc.mesh.orchestrator.watching import Watching
from udc.surface._base import Endpoint


def table(asking: Asking, reports: Reports, pollers: Pollers, watched: Watching) -> list[Endpoint]:
    """The rows of the Orchestrator's own endpoints."""
    return [
        Endpoint(
            method="POST",
            path="/tasks",
            access="write",
            handler=asking.create,
            summary="Create a task",
            request_model=NewTask,
        ),
        Endpoint(
            method="GET",
            path="/tasks",
            access="read",
            handler=asking.list,
            summary="Tasks, newest first",
            query=bodies.PAGE,
        ),
        Endpoint(
            method="GET",
            path="/tasks/events",
            access="read",
            handler=watched.events,
            summary="Every change of a task, as server-sent events",
            query=watching.QUERY,
        ),
        Endpoint(method="GET", path="/tasks/{id}", access="read", handler=asking.one, summary="One task"),
        Endpoint(
            method="PATCH",
            path="/tasks/{id}",
            access="write",
            handler=asking.change,
            summary="Say how a task goes, by the droplet it is assigned to",
            request_model=TaskChange,
        ),
        Endpoint(method="DELETE", path="/tasks/{id}", access="write", handler=asking.cancel, summary="Cancel a task"),
        Endpoint(
            method="POST",
            path="/heartbeat",
            access="write",
            handler=reports.take,
            summary="Report how a droplet does",
            request_model=Report,
        ),
        Endpoint(
            method="GET", path="/reports", access="read", handler=reports.list, summary="The newest report of each"
        ),
        Endpoint(method="GET", path="/queue", access="read", handler=asking.queue, summary="How much there is to do"),
        *_polling(pollers),
    ]


def _polling(pollers: Pollers) -> list[Endpoint]:
    return [
        Endpoint(
            method="POST",
            path="/droplets/register",
            access="write",
            handler=pollers.register,
            summary="Register as a droplet that fetches its tasks",
            request_model=Poller,
        ),
        Endpoint(
            method="POST",
            path="/droplets/{id}/heartbeat",
            access="write",
            handler=pollers.beat,
            summary="A sign of life of one",
            request_model=Report,
        ),
    ]
