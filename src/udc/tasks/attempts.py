"""What is remembered of each attempt at a task, and who keeps it over restarts (contract section 5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

from udc._frozen import dataclass
from udc.identity.claims import Principal
from udc.tasks.reports import Payload

Key: TypeAlias = tuple[str, int]
"""A task's id, and the number of the attempt."""

INTERRUPTED: Final = "INTERRUPTED"
"""The code of an attempt that ended with its process: begun anew it may well succeed, and it counts as a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt at a task, as the Orchestrator gave it."""

    task_id: str
    name: str
    data: Any  # Any: JSON values
    trace_id: str
    attempt: int
    deadline: datetime | None
    principal: Principal


@dataclass(slots=True, eq=False, kw_only=True)
class Attempt:
    """What a restart must know of an attempt.

    Attributes:
        accepted_at: wall clock, seconds since the epoch.
        terminal: its terminal message, once there is one, until it has been heard.
        message_id: of the terminal message, the same however often it is sent.
        told: the Orchestrator has heard the terminal message, or will never take it.
    """

    task_id: str
    attempt: int
    name: str
    trace_id: str
    accepted_at: float
    terminal: Payload | None = None
    message_id: str | None = None
    told: bool = False

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.task_id, self.attempt

    def end(self, kind: str, facts: Payload, *, message_id: str) -> None:
        """It has come to its end; what is said of it is decided now, and once."""
        if self.terminal is None and not self.told:
            self.terminal = {"type": kind, "task_id": self.task_id, "attempt": self.attempt, **facts}
            self.message_id = message_id

    def heard(self) -> None:
        """Nothing is left to say; a result may be large, so it is let go of."""
        self.told, self.terminal = True, None


class Book(Protocol):
    """Keeps attempts. None of it raises: where the disk fails, all goes on in memory."""

    @property
    def durable(self) -> bool:
        """Whether what is kept survives the process."""
        ...

    async def keep(self, attempt: Attempt, *, instead_of: Key | None = None) -> None:
        """Return when the attempt, as it is now, is on the disk; at once where there is none."""
        ...

    def note(self, attempt: Attempt) -> None:
        """As `keep`, but soon instead of now."""
        ...

    def drop(self, attempt: Attempt) -> None:
        """It need not be remembered any longer."""
        ...


class MemoryBook:
    """Keeps nothing beyond the process."""

    durable: bool = False

    async def keep(self, attempt: Attempt, *, instead_of: Key | None = None) -> None:
        """Nothing to do."""

    def note(self, attempt: Attempt) -> None:
        """Nothing to do."""

    def drop(self, attempt: Attempt) -> None:
        """Nothing to do."""
