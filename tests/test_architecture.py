"""The house keeps its shape: layers, homes, sizes, names. `tests/architecture` holds the checks, and sees each fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.architecture import imports, shape, statements
from tests.architecture.source import SourceTree

PACKAGE = Path(__file__).parents[1] / "src" / "udc"
DESIGN = Path(__file__).parents[1] / "docs" / "explanation" / "design.md"
CHECKS = (*imports.CHECKS, *statements.CHECKS, *shape.CHECKS)

STATEMENT = "from udc import Droplet"
HEAVY = ("fastapi", "aiohttp", "jwt", "psutil", "uvicorn", "asyncio", "ssl", "udc.instrument", "udc.dispatch.run")
IMPORT_MILLISECONDS = 150


@pytest.fixture(scope="module")
def tree() -> SourceTree:
    return SourceTree(PACKAGE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_source_keeps(check: Callable[[SourceTree], Iterator[str]], tree: SourceTree) -> None:
    assert list(check(tree)) == []


def test_the_tree_is_the_real_one(tree: SourceTree) -> None:
    assert {"udc", "udc.errors", "udc.surface._base"} <= set(tree.modules)


def test_the_page_names_every_room() -> None:
    """The table in the design page is the one that is checked."""
    rows = [line for line in DESIGN.read_text(encoding="utf-8").splitlines() if line.startswith("| L")]
    for name, number in imports.LAYERS.items():
        row = next(line for line in rows if line.startswith(f"| L{number} "))
        room = name.removeprefix("udc.").removesuffix(".*").split(".")[0] if name != "udc" else "__init__"
        assert room in row, f"{name} is in L{number} here, but not on the page"


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=8).stdout


def test_importing_a_droplet_loads_nothing_heavy() -> None:
    loaded = set(_python(f"import sys; {STATEMENT}; print(*sys.modules)").split())

    assert "udc" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.timeout(60)
def test_importing_a_droplet_is_quick() -> None:
    """CPU time, best of fifteen: other programs on the machine can only make it more."""
    code = f"import time; start = time.process_time(); {STATEMENT}; print(time.process_time() - start)"
    measured: list[float] = []
    while len(measured) < 15 and min(measured, default=1e9) > IMPORT_MILLISECONDS:
        measured.append(float(_python(code)) * 1000)

    assert min(measured) <= IMPORT_MILLISECONDS, f"'{STATEMENT}' took {measured} ms of CPU"
