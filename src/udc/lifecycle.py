"""A droplet's phases, which may follow which, and the status word they show (contract section 1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from udc.errors import LifecycleError


class Phase(StrEnum):
    """Where a droplet stands in its life. Ours; sent on the wire beside `status` as `phase`."""

    UNKNOWN = "unknown"
    REGISTERING = "registering"
    INITIALIZING = "initializing"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Status(StrEnum):
    """The contract's three status words."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    ERROR = "error"


LEGAL: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.UNKNOWN: frozenset({Phase.REGISTERING, Phase.INITIALIZING, Phase.FAILED}),
    Phase.REGISTERING: frozenset({Phase.INITIALIZING, Phase.STARTING, Phase.STOPPING, Phase.FAILED}),
    Phase.INITIALIZING: frozenset({Phase.REGISTERING, Phase.STARTING, Phase.STOPPING, Phase.FAILED}),
    Phase.STARTING: frozenset({Phase.REGISTERING, Phase.READY, Phase.DEGRADED, Phase.STOPPING, Phase.FAILED}),
    Phase.READY: frozenset({Phase.DEGRADED, Phase.STOPPING, Phase.FAILED}),
    Phase.DEGRADED: frozenset({Phase.READY, Phase.STOPPING, Phase.FAILED}),
    Phase.STOPPING: frozenset({Phase.STOPPED, Phase.FAILED}),
    Phase.STOPPED: frozenset({Phase.REGISTERING, Phase.INITIALIZING}),
    Phase.FAILED: frozenset({Phase.STOPPING, Phase.REGISTERING, Phase.INITIALIZING}),
}
"""For each phase, those that may follow it: 29 pairs."""

SERVING: Final = frozenset({Phase.READY, Phase.DEGRADED})
"""The phases in which new work is accepted."""


class Lifecycle:
    """The phase a droplet is in. Refuses illegal steps; a step to the present phase is no step.

    Attributes:
        serving: it is in a phase that takes work.
    """

    __slots__ = ("_phase", "serving")

    def __init__(self, phase: Phase = Phase.UNKNOWN) -> None:
        self._phase = phase
        self.serving: bool = phase in SERVING

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self._phase

    def advance(self, to: Phase) -> bool:
        """Step to `to`; true when that changed the phase.

        Raises:
            LifecycleError: the step is not legal.
        """
        if to is self._phase:
            return False
        if to not in LEGAL[self._phase]:
            legal = ", ".join(sorted(LEGAL[self._phase]))
            raise LifecycleError(f"a droplet that is {self._phase} cannot become {to}; it can become: {legal}")
        self._phase = to
        self.serving = to in SERVING
        return True


def status_of(phase: Phase, *, services_healthy: bool) -> Status:
    """The wire status of a phase: `error` also while a background service is down (contract section 1)."""
    if phase is Phase.FAILED or (phase in SERVING and not services_healthy):
        return Status.ERROR
    return Status.ACTIVE if phase in SERVING else Status.INACTIVE
