"""What no line may do: reach for the machine's clock, chance or environment, print, or swallow everything."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import Module, SourceTree, resolved_base

FORBIDDEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "time.time": ("take Ambient.wall", ("udc._ids",)),
    "time.time_ns": ("take Ambient.wall", ()),
    "time.monotonic": ("take anyio.current_time()", ()),
    "time.monotonic_ns": ("take anyio.current_time()", ()),
    "time.perf_counter": ("take anyio.current_time()", ()),
    "time.perf_counter_ns": ("take anyio.current_time()", ()),
    "time.sleep": ("await anyio.sleep()", ()),
    "asyncio": (
        "use anyio",
        ("udc.testing", "udc._clock", "udc._host", "udc._bodies", "udc._foreign_server", "udc.dispatch.deadlines"),
    ),
    "datetime.datetime.now": ("take Ambient.now()", ()),
    "datetime.datetime.utcnow": ("take Ambient.now()", ()),
    "datetime.datetime.today": ("take Ambient.now()", ()),
    "datetime.date.today": ("take Ambient.now()", ()),
    "uuid.uuid1": ("take Ambient.new_id()", ()),
    "uuid.uuid4": ("take Ambient.new_id()", ("udc._ids",)),
    "random": ("take Ambient.chance()", ("udc._ids",)),
    "os.environ": ("let udc.config read a mapping", ("udc._wiring",)),
    "os.environb": ("let udc.config read a mapping", ()),
    "os.getenv": ("let udc.config read a mapping", ()),
    "print": ("emit an event, or log at a border", ()),
}
"""Dotted name (with all below it) → what to do instead, and the modules that are its home."""


def nothing_forbidden_is_named(tree: SourceTree) -> Iterator[str]:
    """Names count, not only calls: handing `time.time` on is as bad as calling it."""
    for module in tree:
        seen: set[tuple[str, int]] = set()
        for name, line in _names(module):
            rule = next((rule for rule in FORBIDDEN if name == rule or name.startswith(f"{rule}.")), None)
            if rule is None or (rule, line) in seen:
                continue
            seen.add((rule, line))
            instead, homes = FORBIDDEN[rule]
            if not any(module.name == home or module.name.startswith(f"{home}.") for home in homes):
                yield f"{module.name}:{line} uses {rule}: {instead}"


def _names(module: Module) -> Iterator[tuple[str, int]]:
    """Every name the module speaks of, in full: `from time import time as now; now` is `time.time`."""
    known: dict[str, str] = {"print": "print"}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{resolved_base(module, node)}.{alias.name}"
                yield f"{resolved_base(module, node)}.{alias.name}", node.lineno
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, _, rest = _dotted(node).partition(".")
            if first in known:
                yield f"{known[first]}.{rest}".rstrip("."), node.lineno


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def nothing_is_asserted(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert):
                yield f"{module.at(node)} asserts: `python -O` drops it, so raise"


def nothing_swallows_everything(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            if node.type is None:
                yield f"{module.at(node)} has a bare except: name what it catches"
            elif "BaseException" in ast.unparse(node.type) and not _raises(node):
                yield f"{module.at(node)} catches BaseException and does not raise: it swallows cancellation"


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))


CHECKS = (nothing_forbidden_is_named, nothing_is_asserted, nothing_swallows_everything)
