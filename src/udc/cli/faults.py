"""What went wrong, told in a line or two on stderr, and the exit code that says so.

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | the peer or the Registry said no or could not be reached; a droplet failed while it ran |
| 2 | the command, its target or the configuration cannot work: nothing was done |
| 141 | nobody reads what it prints any more, as after `| head` |
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperGroup

from udc._wiring.program import let_go, tell
from udc.errors import ConfigError, DefinitionError, PeerError, UdcError

SAID_NO: Final = 1
USAGE: Final = 2
UNREAD: Final = 141
"""As shells report a program that SIGPIPE has ended."""


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
    tell(f"udc: {text}", to=sys.stderr)


class Commands(TyperGroup):
    """Commands that end without a word when nobody reads stdout any more; typer knows some such ends only, and as 1."""

    def make_context(self, *args: Any, **extra: Any) -> Any:  # Any: typer's own
        """Read the arguments; `--help` prints here."""
        with _unread():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:  # Any: typer's own
        """Do what the arguments ask for."""
        with _unread():
            return super().invoke(ctx)


@contextmanager
def _unread() -> Generator[None]:
    try:
        yield
    except (BrokenPipeError, BaseExceptionGroup) as error:
        if not reader_gone(error):
            raise
        raise typer.Exit(UNREAD) from None
    finally:
        let_go(sys.stdout)


def reader_gone(failure: BaseException) -> bool:
    """Whether all that failed is that who reads our stdout does so no more, as `head` does after its lines."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split(BrokenPipeError)[1] is None  # a bug beside it must be told
    return isinstance(failure, BrokenPipeError)
