"""Puts together a life: resources, hooks, services, and how the work in flight comes to its end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from udc._runtime import Hook, Plan
from udc._wiring import reporting
from udc._wiring.facts import capture
from udc.services import Service
from udc.services.jobs import Job, ReadyHooks
from udc.stats import ProcessSampler

if TYPE_CHECKING:
    from udc._wiring.compose import Composition


def make_plan(parts: Composition) -> Plan:
    """What is started and stopped, and in which order."""
    hook = parts.dispatcher.run_hook
    return Plan(
        resources=(lambda: capture(parts.logs, parts.settings), lambda: parts.client, parts.storage.open),
        lifespan=parts.definition.lifespan,
        on_start=[*(partial(hook, each) for each in parts.table.hooks("start")), *_listening(parts)],
        on_stop=[partial(hook, each) for each in parts.table.hooks("stop")],
        services=_services(parts),
        drain=partial(_drain, parts),
        cut=partial(_cut, parts),
        leave=parts.membership.leave,
        grace_seconds=lambda: parts.settings.config.limits.grace_seconds,
    )


def _listening(parts: Composition) -> list[Hook]:
    listen = parts.surroundings.listen
    return [] if listen is None else [listen]


def _services(parts: Composition) -> list[Service]:
    keys = [] if parts.keys is None else [parts.keys]
    services: list[Service] = [
        parts.storage,
        parts.storage.receipts,
        parts.storage.tasks,
        *keys,
        parts.token_service,
        parts.directory,
        parts.dependencies,
        *parts.membership.services,
        *reporting.services(parts),
    ]
    if parts.surroundings.sample_process:
        services.append(ProcessSampler(parts.stats))
    services += [
        Job(
            job.name,
            partial(parts.dispatcher.run_job, job),
            seconds=job.spec.seconds,
            first_after_seconds=job.spec.first_after_seconds,
            jitter=job.spec.jitter,
            chance=parts.ambient.chance,
        )
        for job in parts.table.jobs
    ]
    ready = [partial(parts.dispatcher.run_hook, each) for each in parts.table.hooks("ready")]
    return [*services, ReadyHooks(ready)] if ready else services


async def _drain(parts: Composition) -> None:
    await parts.busy.until_idle()
    await parts.dispatcher.in_flight.drained()
    await parts.desk.drained()


async def _cut(parts: Composition) -> None:
    parts.desk.hand_back()
    parts.dispatcher.in_flight.cancel_all()
    await parts.dispatcher.in_flight.drained()
    await parts.desk.last_words()
