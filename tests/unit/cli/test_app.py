"""The command line itself: help, version, usage errors, the missing extra, and the page that tells of it all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import udc
from udc.cli.app import app

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "cli.md"
CPU_SECONDS = 0.6
TOP: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # typer's own
COMMANDS: Mapping[str, Any] = {
    " ".join(filter(None, (name, sub))): found
    for name, command in TOP.items()
    for sub, found in getattr(command, "commands", {"": command}).items()
}
"""What can be given: `udc ls`, `udc tasks ls`."""


def udc_command(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_the_version() -> None:
    assert udc_command("--version") == (0, f"udc {udc.__version__}\n", "")


def test_the_commands_are_listed_whole() -> None:
    for arguments, commands in (((), TOP), (("tasks",), TOP["tasks"].commands)):
        code, out, _ = udc_command(*arguments, "--help")

        assert code == 0
        assert [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines()] == list(commands)
        assert "..." not in out.partition("Commands:\n")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    code, out, err = udc_command(*command.split(), "--help")

    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: udc {command} ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("ls", "--bogus"),
        ("run",),
        ("token",),
        ("token", "--droplet-id", "0"),
        ("run", "x.py", "--port", "65536"),
        ("call", "x"),
        ("call", "x", "y", "--type", "event"),
        ("mesh", "--port-base", "65534"),
        ("demo", "--bogus"),
        ("tasks", "ls", "--status", "done"),
        ("tasks", "show"),
        ("tasks", "create", "bake", "--priority", "11"),
    ],
    ids=" ".join,
)
def test_usage_errors_are_2_and_on_stderr(arguments: tuple[str, ...]) -> None:
    code, out, err = udc_command(*arguments)

    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.param_type_name == "option" else f"`{parameter.metavar}`"


def test_the_page_tells_every_command_and_option() -> None:
    """Section by section: the rows of a command's table are its parameters, in their order."""
    page = PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `udc ([a-z ]+)`$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))

    assert list(sections) == list(COMMANDS)
    for name, command in COMMANDS.items():
        told = re.findall(r"^\| (`[^|]*`) \|", sections[name], re.MULTILINE)
        assert told == [_row(parameter) for parameter in command.params], name


@pytest.mark.parametrize(
    ("missing", "call"), [("typer", "sys.argv[1:] = ['ls']"), ("uvicorn", "sys.argv[1:] = ['run', 'x']")]
)
def test_a_missing_extra_is_one_line(missing: str, call: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {call}; from udc.cli.__main__ import main; main()"
    ended = _python(code)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == 'udc: the udc command needs more packages: pip install "udc-mesh[run]"\n'


@pytest.mark.parametrize("module", ["udc", "udc.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    ended = _python(
        f"import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module({module!r}, run_name='__main__')"
    )
    without = _python(
        f"import runpy, sys; sys.modules['typer'] = None; sys.argv[1:] = ['ls']; runpy.run_module({module!r}, run_name="
        "'__main__')"
    )

    assert (ended.returncode, ended.stdout) == (0, f"udc {udc.__version__}\n")
    assert (without.returncode, without.stdout) == (2, "")
    assert without.stderr == 'udc: the udc command needs more packages: pip install "udc-mesh[run]"\n'


def test_droplet_run_says_what_to_install() -> None:
    ended = _python("import sys; sys.modules['uvicorn'] = None; from udc import Droplet; Droplet().run()")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == 'udc: running a droplet needs more packages: pip install "udc-mesh[run]"\n'


def test_a_quick_command_starts_quickly(tmp_path: Path) -> None:
    """CPU time, best of five: what other programs do on the machine does not count."""
    code = (
        "import sys, time; sys.argv[1:] = ['ls', '--registry', 'http://127.0.0.1:1', '--data', 'x']\n"
        "sys.modules['trio'] = None  # a library of ours imports it where it is installed; users do not have it\n"
        "from udc.cli.__main__ import main\n"
        "try: main()\n"
        "finally: print(time.process_time())"
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "secret").write_text("some-secret", encoding="utf-8")
    measured: list[float] = []
    while len(measured) < 5 and min(measured, default=1e9) > CPU_SECONDS:
        measured.append(float(_python(code, folder=tmp_path).stdout))

    assert min(measured) <= CPU_SECONDS


def _python(code: str, *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ.get("PATH", "")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=8,
        check=False,
    )
