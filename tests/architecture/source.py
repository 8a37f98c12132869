"""A package's source, parsed once: what the checks look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One imported module: where, and in which circumstances."""

    target: str
    line: int
    lazy: bool
    typing_only: bool


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def at(self, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
        return f"{self.name}:{node.lineno}"


class SourceTree:
    """Every module below one package directory."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.modules = {module.name: module for module in map(self._parse, sorted(package.rglob("*.py")))}

    def _parse(self, path: Path) -> Module:
        parts = path.relative_to(self.package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        return Module(name, path, ast.parse(text, str(path)), len(text.splitlines()))

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules.values())

    def imports(self, module: Module) -> list[Import]:
        """All imports of a module; of our own `from a import b` the submodule `a.b` where there is one."""
        found: list[Import] = []
        self._collect(module, module.tree, found, lazy=False, typing_only=False)
        return found

    def _collect(self, module: Module, node: ast.AST, found: list[Import], *, lazy: bool, typing_only: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                found += [Import(target, child.lineno, lazy, typing_only) for target in self._targets(module, child)]
            elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                self._collect(module, ast.Module(child.body, []), found, lazy=lazy, typing_only=True)
                self._collect(module, ast.Module(child.orelse, []), found, lazy=lazy, typing_only=typing_only)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                self._collect(module, child, found, lazy=lazy or inside, typing_only=typing_only)

    def _targets(self, module: Module, node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        base = resolved_base(module, node)
        submodules = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in self.modules else base for name in submodules]


def resolved_base(module: Module, node: ast.ImportFrom) -> str:
    """The absolute name of the module after `from`."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def ancestors(name: str) -> list[str]:
    """The packages that hold a module: importing it runs them too."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
