"""Part two of the tutorial is played word for word, with processes; only the mesh's port is any free one."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.programs import Program, Programs, request, until
from udc.datadir import DataDirectory

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial"
PAGE = (TUTORIAL / "second-mesh.md").read_text("utf-8")
SAVED = re.compile(r"as `(\w+\.py)`[^\n]*:\n\n(?:<!--[^\n]*-->\n)?```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FIRST_PART = dict(SAVED.findall((TUTORIAL / "first-droplet.md").read_text("utf-8")))
FILES = dict(SAVED.findall(PAGE))


def commands(page: str) -> list[list[str]]:
    """What a page has its reader type."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.partition("  #")[0]) for line in lines]


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    started = Programs(tmp_path)
    for name, text in FIRST_PART.items():
        started.write(name, text)
    yield started
    started.end()


class Terminal:
    """Gives a page's commands, in its order: each once."""

    def __init__(self, programs: Programs, commands: list[list[str]]) -> None:
        self._programs = programs
        self._left = list(commands)
        self._data = DataDirectory(programs.folder / ".udc")
        self._tokens: dict[str, str] = {}

    def said(self, argument: str) -> str:
        """What stands for an argument of the page."""
        return argument

    def _next(self, *words: str) -> list[str]:
        while self._left:
            name, *arguments = self._left.pop(0)
            if name == "udc":
                assert arguments[: len(words)] == list(words), f"the page says {arguments}"
                return [self.said(each) for each in arguments]
        raise AssertionError(f"the page does not say {words}")

    def start(self, *words: str, also: tuple[str, ...] = ()) -> Program:
        """A command of the page that stays."""
        program = self.go(*words, also=also)
        program.line()
        return program

    def go(self, *words: str, also: tuple[str, ...] = ()) -> Program:
        """The same; what it says is yet to be read."""
        return self._programs.udc(*self._next(*words), *also, **ELSEWHERE)

    def again(self, *words: str, also: tuple[str, ...] = ()) -> Program:
        """One that the page told before."""
        program = self._programs.udc(*words, *also, **ELSEWHERE)
        program.line()
        return program

    def ask(self, *words: str, code: int = 0) -> str:
        """A command of the page that ends; what it says, and complains of."""
        ended, out, err = self._programs.ask(*self._next(*words), **ELSEWHERE)
        assert ended == code, err
        return (out + err).strip()

    def aside(self, *words: str) -> str:
        """A command that the page does not tell; what it puts."""
        return self._programs.ask(*words, **ELSEWHERE)[1]

    def listed(self) -> set[str]:
        """Who is in the mesh, as its Registry itself says."""
        mesh = self._data.read_mesh()
        if mesh is None or mesh.registry is None:
            return set()
        return {row["name"] for row in request(mesh.registry, "/droplets", token=self._token(mesh.registry))[1]}

    def _token(self, registry: str) -> str:
        if registry not in self._tokens:
            body = {"droplet_id": 999, "secret": self._data.secret()}
            self._tokens[registry] = request(registry, "/auth/token", body)[1]["token"]
        return self._tokens[registry]


def stopped(*programs: Program) -> None:
    """All of them at once, each in good order."""
    for program in programs:
        program.signal()
    assert [program.end()[0] for program in programs] == [0] * len(programs)


ELSEWHERE = {"HOME": "/nonexistent"}


@pytest.mark.timeout(120)
def test_it_goes_as_the_page_says(programs: Programs) -> None:
    terminal = Terminal(programs, commands(PAGE))
    mesh = terminal.start("mesh", also=("--port-base", "0"))
    notes = terminal.start("run", "notes.py")
    until(lambda: "Notes" in terminal.listed())
    assert "Notes" in terminal.ask("ls")
    assert terminal.ask("call", "Notes", "add") == "1"
    assert json.loads(terminal.ask("call", "Notes", "find")) == ["buy milk"]
    assert "Keep a note; tells how many there are." in terminal.ask("inspect", "Notes")

    diary = terminal.start("run", "diary.py")
    until(lambda: "Diary" in terminal.listed())
    assert terminal.ask("call", "Diary") == "2"
    assert json.loads(terminal.ask("call", "Notes", "find")) == ["today: first mesh"]

    stopped(notes)
    assert "Notes" not in terminal.listed()
    assert terminal.ask("call", "Diary", code=1).startswith(told("udc: Diary answered"))
    notes = terminal.again("run", "notes.py")
    until(lambda: "Notes" in terminal.listed())
    for beginning in re.findall(r"^- `(.+)`$", PAGE, re.MULTILINE)[:3]:
        assert f"udc: {beginning}" in terminal.ask("call", "Notse" if "Notse" in beginning else "Notes", code=1)

    for name, text in FILES.items():
        programs.write(name, text)
    stopped(diary)
    words, diary = terminal.go("run", "words.py"), terminal.go("run", "diary.py")
    until(lambda: {"Words", "Diary"} <= terminal.listed())
    assert "Words" in terminal.ask("ls", "--capability")
    assert terminal.ask("call", "Diary") == "4 words, heard by Words"
    assert terminal.ask("call", "Words", "total") == "4"

    stopped(mesh)
    assert terminal.ask("ls", code=2).startswith(told("udc: no mesh"))
    mesh = terminal.again("mesh", also=("--port-base", "0"))
    until(lambda: {"Notes", "Diary", "Words"} <= terminal.listed())
    stopped(mesh, notes, diary, words)


def told(beginning: str) -> str:
    """What the page shows."""
    shown = re.findall(r"^```text\n(.*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    found: str = next(text for text in shown if text.startswith(beginning))
    return found


def test_diary_is_as_part_one_left_it() -> None:
    (shown,) = re.findall(r"Diary is still as you left it.*?```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

    assert shown in FIRST_PART["diary.py"]
