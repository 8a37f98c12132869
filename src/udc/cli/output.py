"""What commands print: tables for people, JSON for machines; nothing else goes to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_UNBROKEN: Final = 10_000


def put(text: str) -> None:
    """A line on stdout, at once: whoever waits for it may be reading a pipe.

    Raises:
        BrokenPipeError: nobody reads it; the command line ends quietly at this.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def put_json(value: Any) -> None:  # Any: JSON values
    """JSON in one line."""
    put(as_line(value))


def as_line(value: Any) -> str:  # Any: JSON values
    """A value as JSON in one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def put_data(value: Any) -> None:  # Any: JSON values
    """A value for people: a text as it is, anything else as JSON over several lines."""
    put(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str))


def put_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, header: bool = True) -> None:
    """A table; only its last column is broken where the terminal is too narrow."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for number, column in enumerate(columns, start=1):
        table.add_column(column, overflow="fold", no_wrap=number < len(columns))
    for row in rows:
        table.add_row(*(_cell(each) for each in row))
    # Into a pipe or file each row goes on one line, whatever its length.
    width = None if sys.stdout.isatty() else _UNBROKEN
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)
    with console.capture() as captured:  # rich would end the process itself when nobody reads
        console.print(table)
    put(captured.get().removesuffix("\n"))


def put_facts(facts: Mapping[str, Any]) -> None:  # Any: JSON values
    """Names and values, one to a line."""
    put_table(("", ""), list(facts.items()), header=False)


def _cell(value: object) -> str:
    if value is None or value in ("", {}):
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value) or "-"
    return printable(json.dumps(value, ensure_ascii=False, default=str))


def printable(text: str) -> str:
    """Without control characters: a name that a peer chose must not drive the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)
