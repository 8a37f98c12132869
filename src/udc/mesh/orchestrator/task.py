"""A task as the Orchestrator knows it: frozen values, and which state may follow which (contract section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from udc._types import DropletId

HISTORY_STEPS: Final = 300
"""How much of a task's history is kept: the first step and the newest ones."""


class Status(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""The states that a task never leaves."""

FOLLOWS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset({Status.ASSIGNED, Status.FAILED, Status.CANCELLED}),
    Status.ASSIGNED: frozenset({Status.IN_PROGRESS, Status.PENDING, Status.FAILED, Status.CANCELLED}),
    Status.IN_PROGRESS: frozenset({Status.COMPLETED, Status.PENDING, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""What may come after each state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whom an attempt was given to.

    Attributes:
        attempt: its number, from 1; a later one has a higher one.
        instance_id: of the process that has it; `None` where droplets know no instances.
        endpoint: where that is.
        polls: it fetches its tasks by itself.
    """

    droplet_id: DropletId
    attempt: int
    instance_id: str | None = None
    endpoint: str = ""
    polls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a task's history; `at` in seconds since the epoch."""

    status: Status
    at: float
    droplet_id: DropletId | None = None
    attempt: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is, as its droplet said."""

    percent: float
    note: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, but for its payload, which lies in the store. Times are seconds since the epoch.

    Attributes:
        capability: what its droplet must offer.
        required_capability: what its creator asked for; `None` = the task type.
        deadline: when it fails, if it has not ended; `None` = never.
        attempt: of the newest assignment; 0 before the first.
        holder: who has that attempt, or had it last; once lost it may still report.
        offer: who is being asked to take the next attempt, so that nobody else is until the answer is known.
        retries: how many attempts have failed so that they count against `max_retries`.
        not_before: when the next attempt may begin.
        result: as JSON text, once it is completed.
        error_message: why it failed; while it goes on, what went wrong last.
        untold: who must still be told that it is over.
        version: counts its changes.
    """

    task_id: str
    trace_id: str
    task_type: str
    title: str
    description: str | None = None
    required_capability: str | None = None
    priority: int = 5
    deadline: float | None = None
    max_retries: int = 3
    created_by: DropletId
    created_at: float
    updated_at: float
    status: Status = Status.PENDING
    attempt: int = 0
    holder: Holder | None = None
    offer: Holder | None = None
    retries: int = 0
    not_before: float = 0.0
    result: str | None = None
    error_message: str | None = None
    progress: Progress | None = None
    untold: Holder | None = None
    version: int = 0
    history: tuple[Step, ...] = ()

    @property
    def capability(self) -> str:
        """What a droplet must offer to be given it."""
        return self.required_capability or self.task_type

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    @property
    def assigned(self) -> Holder | None:
        """Who has it, or had it at its end."""
        return self.holder if self.status is not Status.PENDING else None

    @property
    def at_work(self) -> Holder | None:
        """Who has it now, or is being asked to take it."""
        if self.status in (Status.ASSIGNED, Status.IN_PROGRESS):
            return self.holder
        return self.offer
