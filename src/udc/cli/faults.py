"""What went wrong, told in a line or two on stderr, and the exit code that says so.

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | the peer or the Registry said no or could not be reached; a droplet failed while it ran |
| 2 | the command, its target or the configuration cannot work: nothing was done |
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import typer

from udc.errors import ConfigError, DefinitionError, PeerError, UdcError

SAID_NO: Final = 1
USAGE: Final = 2


class Usage(UdcError):
    """The command line asks for something that cannot be; says what to write instead."""


@contextmanager
def told() -> Generator[None]:
    """Turn our errors into a message and an exit code; others are bugs, and are shown whole."""
    try:
        yield
    except (Usage, ConfigError, DefinitionError) as error:
        say(str(error))
        raise typer.Exit(USAGE) from None
    except UdcError as error:
        say(str(error))
        if isinstance(error, PeerError) and error.hint:
            say(error.hint)
        for note in getattr(error, "__notes__", ()):
            say(note)
        raise typer.Exit(SAID_NO) from None


def say(text: str) -> None:
    """Tell on stderr."""
    sys.stderr.write(f"udc: {text}\n")
    sys.stderr.flush()
