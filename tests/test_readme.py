"""The README's commands, and every link of every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_first_command_ends_in_the_demo_and_ci_runs_both() -> None:
    first, second, *_ = re.findall(r"^```sh\n(.*?)\n```", README, re.DOTALL | re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert first == ('python3 -m venv .venv && .venv/bin/pip install --quiet ".[run]" && .venv/bin/udc demo --once')
    assert f"    {first}\n" in script
    assert f"    {second}\n" in script


def test_nobody_is_told_to_install_the_strangers_package() -> None:
    for path in [*PAGES, *(ROOT / "examples").rglob("*.py")]:
        assert not re.search(r"pip install (?:\S+ )*[\"']?udc(?![-\w])", path.read_text("utf-8")), path


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(found), f"{target}: no such heading"
