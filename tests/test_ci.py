"""What the project's own machinery promises: the options of the test-suite work, and CI runs what the README says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import sniffio

from tests.conftest import pytest_cmdline_main, workers

ROOT = Path(__file__).parents[1]


def test_ci_runs_the_readmes_second_command_word_for_word() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^(?:\$ )?(python3 -m venv .*pytest)$", readme, re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert commands or not readme.strip(), "the README does not tell how the tests are run"
    assert all(f"    {command}\n" in script for command in commands)


def test_the_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True, timeout=8)


def test_looptime_does_not_take_over_the_loops(request: pytest.FixtureRequest) -> None:
    assert not request.config.pluginmanager.hasplugin("looptime_plugin")


async def test_async_tests_need_no_marker_and_run_on_the_backend_of_the_fixture(anyio_backend_name: str) -> None:
    await anyio.lowlevel.checkpoint()

    assert sniffio.current_async_library() == anyio_backend_name


def test_no_test_reaches_the_network() -> None:
    with socket.socket() as outside, pytest.raises((RuntimeError, UserWarning), match=r"192\.0\.2\.1"):
        outside.connect(("192.0.2.1", 9))


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_loopback_is_open(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((host, 0))
        server.listen()
        client.connect(server.getsockname()[:2])


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="loud"):
        warnings.warn("loud", stacklevel=1)


def test_a_test_that_hangs_is_ended(request: pytest.FixtureRequest) -> None:
    assert 0 < float(request.config.getini("timeout")) <= 60


@pytest.mark.parametrize(
    ("args", "processors", "expected"),
    [
        ([str(ROOT / "tests")], 2, 2),
        ([str(ROOT)], 16, 4),
        ([str(ROOT / "tests")], 1, 0),
        ([str(ROOT / "tests")], None, 0),
        ([str(ROOT / "tests" / "unit")], 2, 0),
        ([str(ROOT / "tests" / "test_ci.py")], 2, 0),
        ([f"{__file__}::test_a_warning_is_an_error"], 2, 0),
    ],
)
def test_the_whole_suite_is_spread_and_a_part_is_not(args: list[str], processors: int | None, expected: int) -> None:
    assert workers(args, processors=processors) == expected


def asked_for(**changes: Any) -> int | None:
    """How many workers a run of the whole suite is given."""
    option = {"usepdb": False, "collectonly": False, "capture": "fd", "numprocesses": None, "dist": "no"}
    given = SimpleNamespace(**{name: changes.pop(name, value) for name, value in option.items()})
    config: Any = SimpleNamespace(option=given, args=[str(ROOT / "tests")], **changes)
    pytest_cmdline_main(config)
    found: int | None = given.numprocesses
    return found


def test_workers_are_asked_for_once_and_only_where_nobody_minds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)

    assert asked_for() == 2
    assert asked_for(workerinput={}) is None, "a worker has none of its own"
    assert asked_for(numprocesses=0) == 0
    assert asked_for(numprocesses=7) == 7
    assert asked_for(usepdb=True) is None
    assert asked_for(capture="no") is None
