"""Every ```python block of `docs/**/*.md` and `README.md` is run.

How a page is read:

- All its blocks share one namespace and run in order, so later blocks build on earlier ones. The page is executed
  as a module of its own, whose `__name__` is not `__main__`: `MyDroplet().run()` below the usual `if` does not run.
- A block that begins with `def test_…` or `async def test_…` (decorators and comments may stand before it) holds
  tests: each of its `test_…` functions runs as a pytest test, with fixtures by its parameters' names, after all
  blocks of the page that stand before it. Async tests run on asyncio and trio.
- An HTML comment on the line before a block changes how it is run:
  `<!-- virtual time -->`: its tests run in virtual time.
  `<!-- not run: reason -->`: it is only compiled. Give the reason.
- Blocks of other languages are not run.

A page without tests runs as one test, named after the page.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import virtual_time

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
FENCE = re.compile(r"^```python[^\n]*\n(.*?)^```\s*$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--\s*(virtual time|not run: .+?)\s*-->\s*\Z")
VIRTUAL = "virtual time"


@dataclass(frozen=True)
class Block:
    line: int
    text: str
    comment: str

    @property
    def runs(self) -> bool:
        return not self.comment.startswith("not run")

    def tree(self, page: Path) -> ast.Module:
        """Parsed with the page's own line numbers, so that a traceback points into the page."""
        return ast.parse("\n" * self.line + self.text, filename=str(page))

    def tests(self, page: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        body = self.tree(page).body
        first = body[0] if body else None
        if not self.runs or not isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef):
            return []
        if not first.name.startswith("test_"):
            return []
        functions = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        return [node for node in functions if node.name.startswith("test_")]


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        before = COMMENT.search(text[: match.start()])
        line = text.count("\n", 0, match.start(1))
        found.append(Block(line, match[1], before[1] if before else ""))
    return found


def run(page: Path, blocks: list[Block]) -> ModuleType:
    """A fresh module with the blocks run in it; registered, because types are looked up by module."""
    name = "docs_" + re.sub(r"\W", "_", str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name)
    module = sys.modules[name] = ModuleType(name)
    for block in blocks:
        code = compile(block.tree(page), str(page), "exec")
        if block.runs:
            exec(code, module.__dict__)
    return module


def _test_of(page: Path, blocks: list[Block], node: ast.FunctionDef | ast.AsyncFunctionDef) -> Callable[..., Any]:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]

    if isinstance(node, ast.AsyncFunctionDef):

        async def test(**fixtures: Any) -> None:
            await getattr(run(page, blocks), node.name)(**fixtures)
    else:

        def test(**fixtures: Any) -> None:  # type: ignore[misc]  # the sync twin of the one above
            getattr(run(page, blocks), node.name)(**fixtures)

    keyword = inspect.Parameter.KEYWORD_ONLY
    test.__signature__ = inspect.Signature([inspect.Parameter(name, keyword) for name in names])  # type: ignore[attr-defined]  # functions take it
    return test


def page_tests(page: Path, text: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The tests of a page, by name."""
    blocks = blocks_of(text)
    stem = re.sub(r"\W+", "_", page.stem).strip("_").lower()
    found = False
    for number, block in enumerate(blocks):
        for node in block.tests(page):
            found = True
            test = _test_of(page, blocks[: number + 1], node)
            test = virtual_time(test) if block.comment == VIRTUAL else test
            yield f"test_{stem}_{node.name.removeprefix('test_')}", test
    if blocks and not found:

        def whole() -> None:
            run(page, blocks)

        yield f"test_{stem}", whole


for _page in PAGES:
    for _name, _test in page_tests(_page, _page.read_text(encoding="utf-8")):
        assert _name not in globals(), f"{_page}: two tests are called {_name}"
        globals()[_name] = _test


PAGE = """# A page
```python
ONE = 1
```
<!-- not run: it shows a mistake -->
```python
raise RuntimeError
```
```sh
not python
```
```python
async def test_adds(tmp_path):
    assert ONE + 1 == 2
    assert tmp_path.exists()

def test_fails():
    raise ValueError(ONE)
```
<!-- virtual time -->
```python
def helper(): pass
```
"""


def test_the_reader_finds_blocks_and_tests(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    tests = dict(page_tests(page, PAGE))

    assert [(block.line, block.comment) for block in blocks_of(PAGE)] == [
        (2, ""),
        (6, "not run: it shows a mistake"),
        (12, ""),
        (21, VIRTUAL),
    ]
    assert list(tests) == ["test_page_adds", "test_page_fails"]
    assert list(inspect.signature(tests["test_page_adds"]).parameters) == ["tmp_path"]
    with pytest.raises(ValueError, match="1") as caught:
        tests["test_page_fails"]()
    assert caught.traceback[-1].lineno + 1 == 18, "the traceback points into the page"


def test_a_page_without_tests_is_one_test(tmp_path: Path) -> None:
    broken = dict(page_tests(tmp_path / "a-page.md", "```python\nONE = 1\n```\n```python\nONE / 0\n```\n"))
    assert list(broken) == ["test_a_page"]
    with pytest.raises(ZeroDivisionError):
        broken["test_a_page"]()
