"""The tour: in order, until one step fails, and every failure with its reason."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

from tests.conftest import virtual_time
from udc.cli.demo.colours import Colours
from udc.cli.demo.processes import Processes
from udc.cli.demo.running import demo
from udc.cli.demo.steps import Stage, Step, StepFailed, Told, took
from udc.cli.demo.story import STEPS
from udc.cli.demo.telling import JsonLines, PlainLines
from udc.cli.demo.tour import Teller, play

Play = Callable[[Stage], Awaitable[Told]]


async def well(stage: Stage) -> Told:
    stage.say("the sun rose")
    return Told(gist="sun", facts={"degrees": 20})


async def refused(stage: Stage) -> Told:
    raise StepFailed("Pantry has no flour")


async def grouped(stage: Stage) -> Told:
    raise ExceptionGroup("several", [ExceptionGroup("inner", [StepFailed("Oven did not start")])])


async def hangs(stage: Stage) -> Told:
    stage.wait_for("Godot")
    await anyio.sleep_forever()
    raise AssertionError


async def hangs_unsaid(stage: Stage) -> Told:
    await anyio.sleep_forever()
    raise AssertionError


async def broken(stage: Stage) -> Told:
    raise KeyError("cents")


def steps_of(*plays: Play) -> list[Step]:
    return [Step(name=each.__name__, shows=f"how it {each.__name__}", play=each, seconds=10) for each in plays]


async def toured(teller: Teller, steps: Sequence[Step], *, seconds: float = 60) -> bool:
    # The steps of these tests look at no mesh.
    mesh: Any = None
    stage = Stage(mesh=mesh, processes=Processes(Path(), {}), droplets=Path(), audience=teller)
    return await play(stage, steps, teller, seconds=seconds)


@virtual_time
async def test_what_happened_is_told_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert await toured(JsonLines(), steps_of(well, well))

    first, _, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "step": "well",
        "ok": True,
        "seconds": 0.0,
        "error": None,
        "gist": "sun",
        "facts": {"degrees": 20},
        "lines": ["the sun rose"],
    }
    assert whole == {"ok": True, "done": 2, "steps": 2, "seconds": 0.0}


@virtual_time
@pytest.mark.parametrize(
    ("failing", "seconds", "reason"),
    [
        pytest.param(refused, 60, "Pantry has no flour", id="the step says no"),
        pytest.param(grouped, 60, "Oven did not start", id="one of several at once says no"),
        pytest.param(hangs, 60, "not done within 10 s, waiting for Godot", id="it takes too long"),
        pytest.param(hangs_unsaid, 60, "not done within 10 s", id="nobody says what is waited for"),
        pytest.param(hangs, 4, "not done within 4 s, waiting for Godot", id="the tour takes too long"),
        pytest.param(broken, 60, "KeyError: 'cents'", id="a bug"),
    ],
)
async def test_a_failure_ends_the_tour_with_its_reason(
    capsys: pytest.CaptureFixture[str], failing: Play, seconds: float, reason: str
) -> None:
    assert not await toured(JsonLines(), steps_of(well, failing, well), seconds=seconds)

    told = capsys.readouterr()
    _, failed, whole = map(json.loads, told.out.splitlines())
    assert (failed["ok"], failed["error"]) == (False, reason)
    assert (whole["ok"], whole["done"]) == (False, 1)
    assert ("Traceback" in told.err) == (failing is broken)


class Unread(io.StringIO):
    """A pipe whose reader has gone after some lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines = lines

    def write(self, text: str, /) -> int:
        if self.getvalue().count("\n") >= self.lines:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


async def well_in_a_group(stage: Stage) -> Told:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(well, stage)
    return await well(stage)


@pytest.mark.parametrize("lines", range(5))
def test_when_nobody_reads_it_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    """As with `udc demo | head`; the command line ends quietly at this error, as it does for all commands."""
    monkeypatch.setattr("sys.stdout", Unread(lines))

    with pytest.raises(BrokenPipeError):
        demo(once=True, as_json=False, steps=steps_of(well_in_a_group))

    assert capsys.readouterr().err == ""


@virtual_time
async def test_plain_lines_are_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    assert await toured(PlainLines(), steps_of(well))
    assert not await toured(PlainLines(), steps_of(refused))

    out = capsys.readouterr().out
    assert out.isascii()
    for line in (
        "1/1 well: how it well",
        "    the sun rose",
        "    done in 0 ms",
        "All 1 steps did what they show, in 0 ms.",
        "    FAILED: Pantry has no flour",
        "The tour ended at 'refused' after 0 ms: Pantry has no flour",
    ):
        assert line in out.splitlines()


@virtual_time
@pytest.mark.parametrize("colours", [True, False])
async def test_colours_are_for_terminals_that_want_them(colours: bool) -> None:
    out = io.StringIO()
    environ = {"TERM": "xterm-256color", **({} if colours else {"NO_COLOR": "1"})}
    console = Console(file=out, force_terminal=True, width=100, _environ=environ, highlight=False)
    teller = Colours(console)

    assert await toured(teller, steps_of(well))
    assert not await toured(teller, steps_of(hangs))
    teller.stays({"udc ls --data '/tmp/a b'": "who is there"})
    teller.close()

    told = out.getvalue()
    assert ("\x1b[32m" in told or "\x1b[1;31m" in told) == colours
    for text in ("the sun rose", "sun", "✗ not done within 10 s, waiting for Godot", "udc ls --data '/tmp/a b'"):
        assert text in told


@virtual_time
async def test_what_droplets_say_does_not_drive_the_terminal() -> None:
    async def rude(stage: Stage) -> Told:
        stage.say("\x1b[2Jgone")
        return Told(gist="\x1b[2Jgone")

    out = io.StringIO()
    await toured(Colours(Console(file=out, width=100)), steps_of(rude))

    assert "\x1b[2J" not in out.getvalue()


def test_times_are_told_as_people_read_them() -> None:
    assert [took(0.0004), took(0.034), took(1.2345), took(61)] == ["0 ms", "34 ms", "1.23 s", "61.00 s"]


def test_the_story_is_told_with_one_word_each() -> None:
    names = [step.name for step in STEPS]

    assert len(set(names)) == len(names)
    assert all(name.isalpha() for name in names)
    assert {"query", "event", "broadcast", "chat", "kill", "restart"} <= set(names)
