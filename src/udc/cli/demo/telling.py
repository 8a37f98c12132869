"""The tour in plain lines, for pipes and files, and in JSON, for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from udc.cli.demo.steps import Step, took
from udc.cli.demo.tour import Outcome, facts_of
from udc.cli.output import put, put_json

INTRODUCTION = "a bakery of three droplets, and the mesh they live in"


class PlainLines:
    """One line for each thing that happens; ASCII only. Implements `Teller`."""

    def __init__(self) -> None:
        self._count = 0

    def opening(self, steps: Sequence[Step]) -> None:
        """See `Teller.opening`."""
        self._count = len(steps)
        put(f"udc demo: {INTRODUCTION}")

    def begins(self, number: int, step: Step) -> None:
        """See `Teller.begins`."""
        put(f"{number}/{self._count} {step.name}: {step.shows}")

    def line(self, text: str) -> None:
        """See `Teller.line`."""
        put(f"    {text}")

    def waits(self, what: str) -> None:
        """See `Teller.waits`."""

    def ends(self, outcome: Outcome) -> None:
        """See `Teller.ends`."""
        put(f"    FAILED: {outcome.error}" if outcome.error else f"    done in {took(outcome.seconds)}")

    def closing(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """See `Teller.closing`."""
        put("")
        for outcome in outcomes:
            gist = outcome.told.gist if outcome.told else f"FAILED: {outcome.error}"
            put(f"{outcome.step.name:<10}{took(outcome.seconds):>8}  {gist}")
        put(verdict(outcomes, self._count, seconds))

    def stays(self, commands: Mapping[str, str]) -> None:
        """See `Teller.stays`."""
        put("\nThe mesh goes on until Ctrl+C. In another terminal:")
        for command, what in commands.items():
            put(f"    {command}    # {what}")


class JsonLines:
    """One object for each step, and one for the whole, all on stdout. Implements `Teller`."""

    def __init__(self) -> None:
        self._count = 0

    def opening(self, steps: Sequence[Step]) -> None:
        """See `Teller.opening`."""
        self._count = len(steps)

    def begins(self, number: int, step: Step) -> None:
        """See `Teller.begins`."""

    def line(self, text: str) -> None:
        """See `Teller.line`."""

    def waits(self, what: str) -> None:
        """See `Teller.waits`."""

    def ends(self, outcome: Outcome) -> None:
        """See `Teller.ends`."""
        put_json(facts_of(outcome))

    def closing(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """See `Teller.closing`."""
        done = sum(each.error is None for each in outcomes)
        put_json({"ok": done == self._count, "done": done, "steps": self._count, "seconds": round(seconds, 3)})

    def stays(self, commands: Mapping[str, str]) -> None:
        """See `Teller.stays`."""
        put_json({"commands": list(commands)})


def verdict(outcomes: Sequence[Outcome], count: int, seconds: float) -> str:
    """How it went, in a sentence."""
    failed = [each for each in outcomes if each.error is not None]
    if failed:
        return f"The tour ended at '{failed[0].step.name}' after {took(seconds)}: {failed[0].error}"
    return f"All {count} steps did what they show, in {took(seconds)}."
