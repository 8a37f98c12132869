"""Which failures are no more than that nobody reads stdout."""

from __future__ import annotations

import pytest
import typer

from udc.cli.faults import UNREAD, Commands, reader_gone

UNREAD_PIPE = BrokenPipeError("nobody reads")
BUG = ValueError("a bug")


@pytest.mark.parametrize(
    ("failure", "gone"),
    [
        (UNREAD_PIPE, True),
        (ExceptionGroup("tasks", [UNREAD_PIPE]), True),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [UNREAD_PIPE, UNREAD_PIPE])]), True),
        (BUG, False),
        (ExceptionGroup("tasks", [BUG]), False),
        (ExceptionGroup("tasks", [UNREAD_PIPE, BUG]), False),
        (ExceptionGroup("tasks", [UNREAD_PIPE, ExceptionGroup("more", [BUG])]), False),
    ],
)
def test_a_bug_beside_an_unread_pipe_is_still_told(failure: Exception, gone: bool) -> None:
    assert reader_gone(failure) is gone


@pytest.mark.parametrize("bug", [False, True])
def test_only_an_unread_pipe_ends_a_command_without_a_word(bug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = ExceptionGroup("tasks", [UNREAD_PIPE, *([BUG] if bug else [])])

    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr(typer.core.TyperGroup, "invoke", fails)
    with pytest.raises(ExceptionGroup if bug else typer.Exit) as raised:
        Commands(name="x").invoke(None)
    assert bug or getattr(raised.value, "exit_code", None) == UNREAD
