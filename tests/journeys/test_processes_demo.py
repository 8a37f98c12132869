"""`udc demo` as a user gives it: real processes, every step true or a reason, and nothing left however it ends."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from tests.journeys.processes import until
from tests.journeys.programs import Program, Programs
from udc.cli.app import app
from udc.cli.demo.running import DROPLETS
from udc.cli.demo.story import STEPS

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")

pytestmark = pytest.mark.timeout(60)

STRAYS = {"UDC_SERVER__PORT": "none", "REGISTRY_URL": "none", "DROPLET_ID": "none", "UDC_DATA": "/nowhere", "PORT": "9"}
"""Settings of the caller's own droplets, which are none of the demo's business."""

DEMO = """
import sys
from pathlib import Path
from udc.cli.app import app
from udc.cli.demo.running import demo
from udc.cli.demo.story import STEPS
sys.exit(demo(once={once}, as_json=True, droplets=Path({droplets!r}), steps=STEPS[:{steps}]))
"""


class Tours:
    """Starts demos whose temporary folders lie here."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._temporary = programs.folder / "tmp"
        self._temporary.mkdir()

    def start(self, *arguments: str) -> Program:
        return self._programs.udc("demo", *arguments, TMPDIR=str(self._temporary), **STRAYS)

    def start_part(self, *, once: bool = True, droplets: Path = DROPLETS, steps: int = len(STEPS)) -> Program:
        """A tour of other droplets, or of the first steps only."""
        code = DEMO.format(once=once, droplets=str(droplets), steps=steps)
        return self._programs.python("-c", code, TMPDIR=str(self._temporary), **STRAYS)

    def left(self) -> list[str]:
        """Files and processes of demos."""
        processes = [" ".join(each.cmdline()) for each in _alive() if self._is_ours(each)]
        return [*processes, *map(str, self._temporary.iterdir())]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return str(self._temporary) in " ".join(process.cmdline()) or str(self._temporary) in process.cwd()
        except psutil.Error:
            return False

    def gone(self) -> None:
        until(lambda: not self.left(), why="that nothing is left")


def _alive() -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def tours(programs: Programs) -> Tours:
    programs.write("udc_config.json", json.dumps({"droplet": {"id": 5, "name": "somebody else"}}))
    return Tours(programs)


def ended(program: Program, *, seconds: float) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    until(lambda: not psutil.pid_exists(program.pid) or _is_zombie(program.pid), seconds=seconds)
    code, out, err = program.end()
    return code, out.splitlines(), err


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_once_everything_happens_and_nothing_is_left(tours: Tours) -> None:
    code, lines, err = ended(tours.start("--once", "--json"), seconds=40)

    *steps, whole = map(json.loads, lines)
    assert (code, err) == (0, ""), steps[-1]
    assert whole["ok"], whole
    assert whole["seconds"] < 36
    assert [step["step"] for step in steps] == [step.name for step in STEPS]
    facts = {step["step"]: step["facts"] for step in steps}
    assert facts["query"]["through"] == ["Counter", "Oven", "Pantry"]
    assert facts["query"]["data"]["cents"] == 1200
    assert facts["event"]["after"] == facts["event"]["before"] + 5000
    assert {"Oven", "Pantry"} <= set(facts["broadcast"]["heard_by"])
    assert facts["chat"]["replies"][1].startswith("3 brioche?")
    assert (facts["task"]["status"], facts["task"]["attempt"]) == ("completed", 1)
    assert len(facts["task"]["progress"]) >= 2
    assert facts["kill"]["killed"] == facts["droplets"]["Oven"]["pid"] != facts["kill"]["new"]
    assert (facts["kill"]["status"], facts["kill"]["attempt"]) == ("completed", 2)
    assert facts["kill"]["refused_with"] == "DEPENDENCY_UNAVAILABLE"
    assert facts["restart"]["killed"] == facts["mesh"]["pid"]
    assert (facts["restart"]["status"], facts["restart"]["attempt"]) == ("completed", 1)
    assert tours.left() == []
    assert shape(shown_in_readme()) <= shape([*story_of(steps), *table_of(steps), "..."])


def shown_in_readme() -> list[str]:
    """What the README shows of a tour."""
    (text,) = re.findall(r"^```text\n\.\.\.\n(\d/\d .*?)\n```", README, re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if line]


def story_of(steps: list[dict[str, Any]]) -> list[str]:
    numbered = zip(steps, STEPS, strict=True)
    told = [[f"1/9 {step.name}: {step.shows}", *outcome["lines"], "done in 1 s"] for outcome, step in numbered]
    return [line for lines in told for line in lines]


def table_of(steps: list[dict[str, Any]]) -> list[str]:
    return [*(f"{step['step']} 1 s {step['gist']}" for step in steps), "All 9 steps did what they show, in 1 s."]


def shape(lines: list[str]) -> set[str]:
    """Without what is another in each run: ids, numbers and times, blanks, and why a task was given anew."""
    found = [re.sub(r"[0-9a-f]{8}(?=:)|\d+(\.\d+)?", "N", line) for line in lines]
    found = [re.sub(r"N (ms|s)\b", "T", line).replace("in_progress  droplet", "droplet") for line in found]
    return {" ".join(re.sub(r"pending  .*", "pending", line).split()) for line in found}


def test_it_stays_with_commands_that_work_as_printed(tours: Tours) -> None:
    demo = tours.start_part(once=False, steps=2)
    facts = [json.loads(demo.line()) for _ in range(3)]
    assert facts[-1]["ok"], facts
    said = {}
    for command in json.loads(demo.line())["commands"]:
        udc, *arguments = shlex.split(command)
        assert udc == "udc"
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
        assert result.exit_code == 0, (command, result.stderr)
        said[" ".join(arguments[:2])] = result.stdout

    assert "Oven" in said["ls --data"]
    assert json.loads(said["call Counter"])["ready_in_minutes"] == 25
    assert json.loads(said["tasks create"]) == {"item": "rye", "loaves": 3}
    assert "completed" in said["tasks ls"]
    demo.signal(signal.SIGINT)
    code, _, err = ended(demo, seconds=15)
    assert (code, err) == (0, "udc: stopping all processes of the demo; a second signal ends it at once\n")
    assert tours.left() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_on_the_way_leaves_nothing(tours: Tours, number: int, code: int) -> None:
    demo = tours.start("--json")
    mesh = json.loads(demo.line())
    assert mesh["ok"], mesh
    demo.signal(number)

    assert ended(demo, seconds=15)[0] == code
    assert tours.left() == []


@pytest.mark.parametrize(
    "end", [lambda demo: demo.kill(), lambda demo: [demo.signal(signal.SIGINT) for _ in range(2)]], ids=["-9", "twice"]
)
def test_killed_it_leaves_nothing(tours: Tours, end: Callable[[Program], Any]) -> None:
    demo = tours.start("--json")
    mesh, droplets = json.loads(demo.line()), json.loads(demo.line())
    pids = [mesh["facts"]["pid"], *(each["pid"] for each in droplets["facts"].values())]
    assert all(map(psutil.pid_exists, pids))
    end(demo)

    tours.gone()
    assert not any(psutil.pid_exists(pid) and not _is_zombie(pid) for pid in pids)


@pytest.mark.parametrize(
    ("file", "was", "instead", "step", "reason"),
    [
        pytest.param(
            "pantry.py",
            "return self._grams\n\n    @command",
            "await __import__('anyio').sleep_forever()\n\n    @command",
            "event",
            # Whose clock is first: that of the caller, or Pantry's own.
            r"Pantry (did not answer query 'flour' within 5 s|answered 504 TIMEOUT)",
            id="does not answer",
        ),
        pytest.param(
            "oven.py",
            "import anyio",
            "import nonsense",
            "droplets",
            r"Oven did not start \(exit code 2\)",
            id="no start",
        ),
    ],
)
def test_a_droplet_that_fails_ends_it_with_the_reason(
    tours: Tours, tmp_path: Path, file: str, was: str, instead: str, step: str, reason: str
) -> None:
    folder = tmp_path / "droplets"
    shutil.copytree(DROPLETS, folder)
    source = (folder / file).read_text("utf-8")
    assert was in source
    (folder / file).write_text(source.replace(was, instead, 1), "utf-8")

    code, lines, _ = ended(tours.start_part(droplets=folder), seconds=35)

    *_, failed, whole = map(json.loads, lines)
    assert (code, whole["ok"]) == (1, False)
    assert failed["step"] == step
    assert re.search(reason, failed["error"])
    assert tours.left() == []
