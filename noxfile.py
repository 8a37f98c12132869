"""Every check by name: `nox -l` lists them, `nox` runs those of a normal day, `.ci/run` needs none of this."""

from __future__ import annotations

import os
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
TRIO_PYTHON = "3.11"

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests-3.11"]
# Interpreters are the machine's own: a download would hide that one is missing.
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")

PYPROJECT = nox.project.load_toml("pyproject.toml")

KILLS = (
    "tests/journeys/test_processes_tasks.py",
    "tests/contract/test_orchestrator_store.py",
    "tests/contract/test_registry_kill.py",
)

EXAMPLE_MESSAGE = """
from datetime import UTC, datetime
import udc.config
from udc.messages import Message, MessageType
message = Message(
    message_type=MessageType.QUERY, payload={"type": "quota"}, action="quota",
    trace_id="7d3a1a4e-3f1c-4a52-9a4e-0c7b5a1f2d3e", timestamp=datetime.now(UTC), target=14,
)
assert (message.action, message.hops) == ("quota", 0)
assert "site-packages" in udc.config.__file__, udc.config.__file__
"""


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite; on Trio as well with one Python (`nox -s tests-3.12 -- -k trio` asks for it elsewhere)."""
    session.install("--editable", ".", *group("test"))
    backends = [] if session.python == TRIO_PYTHON or session.posargs else ["-k", "not trio"]
    session.run("python", "-m", "pytest", *backends, *session.posargs)


@nox.session(python=TRIO_PYTHON)
def coverage(session: nox.Session) -> None:
    """The suite with branch coverage; ground, protocol and policy are held to 100 %."""
    session.install("--editable", ".", *group("test"))
    session.run("coverage", "run", "-m", "pytest", "-n", "0", *session.posargs)  # workers would not be measured
    session.run("coverage", "report", "--show-missing", "--skip-covered")


@nox.session(python=TRIO_PYTHON)
def lowest(session: nox.Session) -> None:
    """The suite with the oldest direct dependencies that `pyproject.toml` admits."""
    session.install("--resolution", "lowest-direct", "--editable", ".", *group("test"))
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS)
def smoke(session: nox.Session) -> None:
    """The built wheel in a bare environment: it imports, and makes a message."""
    wheels = Path(session.create_tmp()) / "dist"
    session.run("uv", "build", "--quiet", "--clear", "--wheel", "--out-dir", str(wheels), external=True)
    (wheel,) = wheels.glob("*.whl")
    session.install("--reinstall", str(wheel))
    with session.chdir(wheels):
        session.run("python", "-c", EXAMPLE_MESSAGE)


@nox.session(python=TRIO_PYTHON)
def lint(session: nox.Session) -> None:
    """Rules and form."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=TRIO_PYTHON)
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, and the public API complete for both."""
    session.install("--editable", ".", *group("test"), *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "udc")


@nox.session(python=TRIO_PYTHON)
def bench(session: nox.Session) -> None:
    """The benchmarks, which print numbers and judge nothing."""
    benchmarks = sorted(Path("tests").glob("bench/bench_*.py"))
    if not benchmarks:
        session.skip("there are no benchmarks yet: tests/bench/bench_*.py")
    session.install("--editable", ".", *group("bench"))
    for benchmark in benchmarks:
        session.run("python", "-m", f"tests.bench.{benchmark.stem}", *session.posargs)


@nox.session(python=TRIO_PYTHON)
def nightly(session: nox.Session) -> None:
    """What takes long: kill -9 in hundreds of rounds. `nox -s nightly -- -k tasks` runs a part of it."""
    session.install("--editable", ".", *group("test"))
    rounds = {"UDC_TEST_TASK_KILL_ROUNDS": "200", "UDC_TEST_KILL_ROUNDS": "100"}
    session.run("python", "-m", "pytest", "-s", "-v", *KILLS, *session.posargs, env=rounds)


@nox.session(python=TRIO_PYTHON)
def build(session: nox.Session) -> None:
    """Wheel and source distribution, in `dist/`."""
    session.run("uv", "build", "--clear", "--out-dir", "dist", external=True)
