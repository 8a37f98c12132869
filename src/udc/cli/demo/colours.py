"""The tour for a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from udc.cli.demo.steps import Step, took
from udc.cli.demo.telling import INTRODUCTION, verdict
from udc.cli.demo.tour import Outcome
from udc.cli.output import printable

_GOOD: Final = "green"
_BAD: Final = "bold red"


class Colours:
    """Colours, a spinner while something is awaited, and a table at the end. Implements `Teller`.

    `NO_COLOR` takes the colours away (rich looks for it), a narrow terminal breaks lines.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False, emoji=False, markup=False)
        self._status: Status | None = None
        self._count = 0

    def opening(self, steps: Sequence[Step]) -> None:
        """See `Teller.opening`."""
        self._count = len(steps)
        self._console.print(Text.assemble(("\nudc demo", "bold"), (f"  {INTRODUCTION}", "dim")))

    def begins(self, number: int, step: Step) -> None:
        """See `Teller.begins`."""
        heading = Text.assemble((f"\n{number}", "cyan"), "  ", (step.name, "bold cyan"), "  ", (step.shows, "bold"))
        self._console.print(heading)
        self._status = self._console.status("", spinner="dots", spinner_style="cyan")
        self._status.start()

    def line(self, text: str) -> None:
        """See `Teller.line`."""
        self._console.print(Text.assemble(("   │ ", "dim cyan"), printable(text)))

    def waits(self, what: str) -> None:
        """See `Teller.waits`."""
        if self._status is not None:
            self._status.update(Text(f"waiting for {what}" if what else "", "dim"))

    def ends(self, outcome: Outcome) -> None:
        """See `Teller.ends`."""
        self._still()
        if outcome.error is None:
            self._console.print(Text.assemble(("   ✓ ", _GOOD), (took(outcome.seconds), "dim")))
        else:
            self._console.print(Text(f"   ✗ {printable(outcome.error)}", _BAD))

    def closing(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """See `Teller.closing`."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(no_wrap=True, justify="right", style="cyan")
        table.add_column()
        for each in outcomes:
            mark, style = ("✓", _GOOD) if each.error is None else ("✗", _BAD)
            gist = each.told.gist if each.told else each.error or ""
            table.add_row(Text(mark, style), each.step.name, took(each.seconds), Text(printable(gist)))
        well = len(outcomes) == self._count and all(each.error is None for each in outcomes)
        self._console.print()
        self._console.print(Panel(table, title="what happened", title_align="left", border_style="dim", expand=False))
        self._console.print(Text(verdict(outcomes, self._count, seconds), _GOOD if well else _BAD))

    def stays(self, commands: Mapping[str, str]) -> None:
        """See `Teller.stays`."""
        self._console.print(Text("\nThe mesh goes on until Ctrl+C. In another terminal:", "bold"))
        for command, what in commands.items():
            # Whole on one line, whatever the width: it is there to be copied.
            self._console.print(Text.assemble(("  # ", "dim"), (what, "dim")))
            self._console.print(Text(f"  {command}", "cyan"), soft_wrap=True)

    def _still(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def close(self) -> None:
        """Leave the terminal as it was, whatever was going on."""
        self._still()
