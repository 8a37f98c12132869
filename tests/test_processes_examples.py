"""The examples of tasks and chat as their users start them: as processes, in a strange directory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.programs import STOPPING
from tests.test_examples_mesh import ROOT, environment

__all__ = ["environment"]  # a fixture

pytestmark = pytest.mark.timeout(90)


def play(module: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=85, check=False)


@pytest.mark.parametrize(
    ("module", "lines"),
    [
        pytest.param(
            "examples.tasks",
            (
                r'completed  \["cat-small", "dog-small", "owl-small", "bee-small"\]',
                r'  "status": "cancelled",',
                r"cancelled",
                r"\w{8} +shrink +completed +100 % +52 +1 +5 .* 4 pictures *",
            ),
            id="tasks",
        ),
        pytest.param(
            "examples.chat",
            (r"  Concierge:  To Delft at 08:34\.", r"  Concierge:  Nobody is here who knows about weather\."),
            id="chat",
        ),
    ],
)
def test_it_shows_what_it_promises_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, module: str, lines: tuple[str, ...]
) -> None:
    done = play(module, environment, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(done.stderr.splitlines()) == {STOPPING.strip()}, done.stderr
    for line in lines:
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "file", "was", "instead", "told"),
    [
        pytest.param("tasks", "shrinker.py", "-small", "-tiny", "'completed", id="tasks"),
        pytest.param("chat", "trains.py", "08:34", "08:35", "'To Delft at 08:34.' was expected", id="chat"),
    ],
)
def test_it_fails_when_anything_is_otherwise(
    environment: dict[str, str], tmp_path: Path, module: str, file: str, was: str, instead: str, told: str
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = tmp_path / "examples" / module / file
    source = path.read_text("utf-8")
    assert was in source
    path.write_text(source.replace(was, instead, 1), "utf-8")
    done = play(f"examples.{module}", {**environment, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}, tmp_path)

    assert done.returncode != 0
    assert told in done.stderr
