"""What every test shares: the backends, our own pytest plugin, and how the suite is spread over the processors.

The whole suite runs in two to four worker processes where pytest-xdist is installed, and a part of it in this one,
where it starts at once and a debugger works. `-n 0` and `-n 2` say it otherwise. Tests that start programs are one
after the other in one worker: side by side they would take each other's time.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from udc.testing import plugin
from udc.testing import virtual_time as virtual

VIRTUAL = ["asyncio-virtual", "trio-virtual"]
"""Backends whose clock leaps to the next timer: `pytestmark = virtual_time` in a module asks for them."""

virtual_time = pytest.mark.parametrize("anyio_backend", VIRTUAL, indirect=True)


TESTS = Path(__file__).parent
MOST_WORKERS = 4

STARTS_PROGRAMS = (
    "test_processes_",
    "test_cli_",
    "test_examples",
    "test_tutorial",
    "test_plugin",
    "test_registry_kill",
    "test_orchestrator_store",
)
"""How the names of modules begin whose tests start programs."""


def workers(args: Sequence[str], *, processors: int | None) -> int:
    """How many workers run what these arguments name; 0 = none, the tests run here."""
    whole = any(Path(arg).resolve() in (TESTS, TESTS.parent) for arg in args)
    return min(processors, MOST_WORKERS) if whole and processors and processors > 1 else 0


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask for workers, unless somebody has said how many or wants to look into the run."""
    if hasattr(config, "workerinput"):  # one of the workers: they have none of their own
        return
    option = config.option
    looked_into = option.usepdb or option.collectonly or option.capture == "no"
    if getattr(option, "numprocesses", 0) is None and option.dist == "no" and not looked_into:
        option.numprocesses = workers(
            config.args, processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those that start programs in one worker."""
    if config.pluginmanager.has_plugin("xdist"):
        for item in items:
            if item.path.name.startswith(STARTS_PROGRAMS):
                item.add_marker(pytest.mark.xdist_group("programs"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell out what is no text in captured output (lone surrogates): a worker could not send such a report."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report


def pytest_configure(config: pytest.Config) -> None:
    """The plugin is there even where the installed distribution is older than its entry point."""
    if not config.pluginmanager.has_plugin("udc"):
        config.pluginmanager.register(plugin, "udc")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Core tests run on both backends."""
    backend, _, clock = request.param.partition("-")
    return virtual(backend) if clock else (backend, {})
