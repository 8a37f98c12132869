"""What the commands do without: it would take start-up time of each of them, and memory of those that stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.programs import Programs
from udc.datadir import DataDirectory

ECHO = """
from udc import Droplet, query

class Echo(Droplet):
    id, name, steward = 21, "Echo", "tests"

    @query("echo")
    async def echo(self, text: str) -> str:
        return text
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    started = Programs(tmp_path)
    yield started
    started.end()


def loaded(complaints: str) -> set[str]:
    """The modules that Python says it has imported (`-X importtime`)."""
    return set(re.findall(r"^import time: *\d+ \| *\d+ \| *(\S+)$", complaints, re.MULTILINE))


@pytest.mark.parametrize(
    "command",
    [("ls",), ("call", "Echo", "echo", "text=a"), ("tasks", "ls")],
    ids=lambda command: command[0],
)
def test_who_asks_a_mesh_loads_nothing_that_checks_tokens(programs: Programs, command: tuple[str, ...]) -> None:
    DataDirectory(programs.folder / ".udc").make_secret()
    asked = programs.python("-X", "importtime", "-m", "udc.cli", *command, "--registry", "http://127.0.0.1:9")
    code, _, complaints = asked.end()
    assert code != 0, "nobody listens there"
    modules = loaded(complaints)
    assert {"httpx2", "udc.cli.connection"} <= modules
    for unused in ("jwt", "cryptography", "sqlite3", "uvicorn", "udc.mesh", "udc.testing", "udc._wiring.compose"):
        assert unused not in modules


def test_a_droplet_alone_loads_no_core_droplets(programs: Programs) -> None:
    programs.write("echo.py", ECHO)
    running = programs.python("-X", "importtime", "-m", "udc.cli", "run", "echo.py", "--port", "0")
    running.line()
    code, _, complaints = running.stop()
    assert code == 0
    modules = loaded(complaints)
    assert {"uvicorn", "jwt", "udc._wiring.compose"} <= modules
    for unused in ("httpx2", "sqlite3", "udc.mesh", "udc.cli.meshing", "udc.testing", "rich", "trio"):
        assert unused not in modules
