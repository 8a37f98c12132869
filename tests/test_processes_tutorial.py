"""Part three of the tutorial is played word for word, with processes.

Only the ports are any free ones, and the press, which is a slow machine, is less slow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.programs import Programs, request, until
from tests.test_tutorial_mesh import FIRST_PART, SAVED, TUTORIAL, Terminal, commands, stopped

PAGE = (TUTORIAL / "third-tasks.md").read_text("utf-8")
FILES = dict(SAVED.findall(PAGE))
SLOW = "sleep(0.5)"


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    started = Programs(tmp_path)
    assert SLOW in FILES["press.py"]
    for name, text in {**FIRST_PART, **FILES, "press.py": FILES["press.py"].replace(SLOW, "sleep(0.2)")}.items():
        started.write(name, text)
    yield started
    started.end()


class TaskTerminal(Terminal):
    """One that knows which task was created last, and says its id for `ID`."""

    task_id = "ID"

    def created(self) -> str:
        said = self.ask("tasks", "create")
        self.task_id = said.split()[1]
        return said

    def said(self, argument: str) -> str:
        return self.task_id[:8] if argument == "ID" else argument


@pytest.mark.timeout(150)
def test_it_goes_as_the_page_says(programs: Programs) -> None:
    terminal = TaskTerminal(programs, commands(PAGE))
    mesh = terminal.start("mesh", also=("--port-base", "0"))
    notes = terminal.start("run", "notes.py")
    until(lambda: {"Notes", "Orchestrator"} <= terminal.listed())
    terminal.ask("call", "Notes", "add")
    assert terminal.ask("call", "Notes", "add") == "2"

    press = terminal.start("run", "press.py")
    assert terminal.ask("tasks", "create").startswith("6 pages")

    stopped(press)
    assert "is pending" in terminal.created()
    assert re.search(rf"{terminal.task_id[:8]} +print +pending .* for the wall", terminal.ask("tasks", "ls"))
    press = terminal.start("run", "press.py")
    assert terminal.ask("tasks", "watch").splitlines()[-1] == 'completed  "4 pages"'
    assert "completed" in terminal.ask("tasks", "show").partition("AT ")[2]

    terminal.created()
    assert terminal.ask("tasks", "cancel").endswith("cancelled")
    assert terminal.ask("tasks", "watch", code=1).splitlines()[-1] == "cancelled"
    (failed,) = re.findall(r"^```text\n(.*)\n```", PAGE, re.MULTILINE)
    assert terminal.ask("tasks", "create", code=1).endswith(failed)

    wait = terminal.go("tasks", "create")
    until(lambda: "page " in wait.complaint())
    press.kill()
    press = terminal.start("run", "press.py")
    until(lambda: "attempt 2" in wait.complaint())
    assert wait.line() == "8 pages\n"
    assert wait.end()[0] == 0

    diary = terminal.go("run", "diary.py")
    until(lambda: "Diary" in terminal.listed())
    terminal.task_id = terminal.ask("call", "Diary")
    assert terminal.ask("tasks", "watch").splitlines()[-1] == 'completed  "3 pages"'

    librarian = terminal.start("run", "librarian.py", also=("--port", "0", "--json"))
    url = json.loads(librarian._out.seen[0])["url"]
    token = terminal.aside("token", "--droplet-id", "999", "--raw").strip()
    told = [request(url, "/handle-chat", json.loads(body), token=token)[1] for body in BODIES]
    assert [each["response"] for each in told] == ["buy milk", "Nothing more about milk."]
    assert told[0]["context"] == json.loads(BODIES[1])["context"]
    stopped(mesh, notes, press, diary, librarian)


BODIES = re.findall(r"-d '(\{.*\})'", PAGE)
