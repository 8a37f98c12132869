"""Plays the steps in their order, until all are done or one fails."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio

from udc.cli.demo.steps import Audience, Stage, Step, Told
from udc.cli.faults import reader_gone
from udc.errors import UdcError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended: with what it told, or with the reason why it failed."""

    step: Step
    seconds: float
    lines: tuple[str, ...]
    told: Told | None = None
    error: str | None = None


class Teller(Audience, Protocol):
    """Tells the tour: to a person at a terminal, into a file, or to a program."""

    def opening(self, steps: Sequence[Step]) -> None:
        """The tour begins."""
        ...

    def begins(self, number: int, step: Step) -> None:
        """A step begins; numbers are from 1."""
        ...

    def ends(self, outcome: Outcome) -> None:
        """The step is over."""
        ...

    def closing(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """The tour is over, or as far as it got."""
        ...

    def stays(self, commands: Mapping[str, str]) -> None:
        """The mesh goes on; commands to try, each with what it does."""
        ...


async def play(stage: Stage, steps: Sequence[Step], teller: Teller, *, seconds: float) -> bool:
    """Play the steps; whether all of them did what they are there to show.

    Args:
        stage: whose audience is the teller.
        seconds: how long all of them may take together.
    """
    began = anyio.current_time()
    outcomes: list[Outcome] = []
    teller.opening(steps)
    for number, step in enumerate(steps, start=1):
        teller.begins(number, step)
        outcomes.append(await _played(stage, step, began + seconds - anyio.current_time()))
        teller.ends(outcomes[-1])
        if outcomes[-1].error is not None:
            break
    teller.closing(outcomes, anyio.current_time() - began)
    return len(outcomes) == len(steps) and outcomes[-1].error is None


async def _played(stage: Stage, step: Step, left_seconds: float) -> Outcome:
    began, said = anyio.current_time(), len(stage.said)
    told: Told | None = None
    error: str | None = None
    limit = min(step.seconds, left_seconds)
    stage.wait_for("")
    try:
        with anyio.fail_after(limit):
            told = await step.play(stage)
    except TimeoutError:
        error = f"not done within {limit:.0f} s" + (f", waiting for {stage.waiting_for}" * bool(stage.waiting_for))
    except Exception as failure:  # a border: whatever went wrong, the tour ends and says so
        if reader_gone(failure):  # and there is nobody to say it to
            raise
        error = _reason(failure)
    seconds = anyio.current_time() - began
    return Outcome(step=step, seconds=seconds, lines=tuple(stage.said[said:]), told=told, error=error)


def _reason(failure: Exception) -> str:
    """In words; what is no error of ours is a bug, and shown whole."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    if not isinstance(failure, UdcError):
        traceback.print_exception(failure)
    return str(failure) if isinstance(failure, UdcError) else f"{type(failure).__name__}: {failure}"


def facts_of(outcome: Outcome) -> dict[str, Any]:  # Any: JSON values
    """An outcome for programs."""
    return {
        "step": outcome.step.name,
        "ok": outcome.error is None,
        "seconds": round(outcome.seconds, 3),
        "error": outcome.error,
        "gist": outcome.told.gist if outcome.told else None,
        "facts": dict(outcome.told.facts) if outcome.told else {},
        "lines": list(outcome.lines),
    }
