"""How big things may be, what they may be called, and that what is public is documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.source import Module, SourceTree, resolved_base

MODULE_LINES = 400
FUNCTION_LINES = 60
ROOT_NAMES = 30
DROPLET_NAMES = 12
BANNED = frozenset({"util", "utils", "helper", "helpers", "common", "misc"})
_VERSIONED = re.compile(r"(_v|V)[2-9]$")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


def modules_stay_small(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        if module.lines >= MODULE_LINES:
            yield f"{module.name} has {module.lines} lines: {MODULE_LINES} is too many, split it by ideas"


def functions_stay_small(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        for node in ast.walk(module.tree):
            if isinstance(node, _FUNCTIONS):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= FUNCTION_LINES:
                    yield f"{module.at(node)} {node.name} has {lines} lines: {FUNCTION_LINES} is too many"


def names_say_something(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        last = module.name.split(".")[-1]
        if last.strip("_") in BANNED:
            yield f"{module.name}: a module is called after its idea, not '{last}'"
        defined = [node.name for node in ast.walk(module.tree) if isinstance(node, _DEFINITIONS)]
        for name in (last, *defined):
            if _VERSIONED.search(name) and "uuid" not in name.lower():
                yield f"{module.name}: '{name}' has a version in its name: change the old one instead"


def no_module_is_empty(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        if ast.get_docstring(module.tree) is None:
            yield f"{module.name} has no docstring: its first line names its idea"
        elif len(module.tree.body) == 1 and not module.is_package:
            yield f"{module.name} holds nothing: no empty modules for later"


def _public(module: Module) -> list[str]:
    """The names in `__all__`."""
    for node in module.tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            return [str(name) for name in ast.literal_eval(value)] if value else []
    return []


def public_names_are_documented(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        for name in _public(module):
            if not name.startswith("__") and not _documented(tree, module, name):
                yield f"{module.name}.{name} is public and has no docstring (or is not defined by us)"


def _documented(tree: SourceTree, module: Module, name: str) -> bool:
    body = [*module.tree.body, *_for_type_checkers(module)]
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, _DEFINITIONS) and node.name == name:
            # Of overloads the last, the one that runs, has the docstring.
            return any(_defines(other, name) for other in body)
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _assigned(node):
            if isinstance(node.value, ast.Attribute):  # a method of ours under a shorter name
                return any(_defines(inner, node.value.attr) for inner in ast.walk(module.tree))
            return isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _documented_elsewhere(tree, resolved_base(module, node), alias.name)
    submodule = tree.modules.get(f"{module.name}.{name}")
    return submodule is not None and ast.get_docstring(submodule.tree) is not None


def _defines(node: ast.AST, name: str) -> bool:
    """Whether it defines the name, with a docstring."""
    return isinstance(node, _DEFINITIONS) and node.name == name and ast.get_docstring(node) is not None


def _for_type_checkers(module: Module) -> list[ast.stmt]:
    """What stands under `if TYPE_CHECKING:`, where a package that loads its names lazily imports them."""
    ifs = [node for node in module.tree.body if isinstance(node, ast.If)]
    return [statement for node in ifs if ast.unparse(node.test) == "TYPE_CHECKING" for statement in node.body]


def _documented_elsewhere(tree: SourceTree, base: str, name: str) -> bool:
    submodule = tree.modules.get(f"{base}.{name}")
    if submodule is not None:
        return ast.get_docstring(submodule.tree) is not None
    return base in tree.modules and _documented(tree, tree.modules[base], name)


def _assigned(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def the_root_stays_small(tree: SourceTree) -> Iterator[str]:
    count = len(_public(tree.modules[tree.package.name]))
    if count >= ROOT_NAMES:
        yield f"{tree.package.name} exports {count} names: {ROOT_NAMES} is too many, give them a home below"


def the_droplet_stays_small(tree: SourceTree) -> Iterator[str]:
    module = tree.modules.get(f"{tree.package.name}.droplet")
    for node in module.tree.body if module else []:
        if isinstance(node, ast.ClassDef) and node.name == "Droplet":
            names = sorted(name for name in _members(node) if not name.startswith("_"))
            if len(names) > DROPLET_NAMES:
                yield f"Droplet has {len(names)} public names, at most {DROPLET_NAMES}: {', '.join(names)}"


def _members(droplet: ast.ClassDef) -> set[str]:
    """What a class body defines, and what its methods set on `self`."""
    names = {node.name for node in droplet.body if isinstance(node, _DEFINITIONS)}
    for node in droplet.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names |= _assigned(node)
    for inner in ast.walk(droplet):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and ast.unparse(inner.value) == "self":
            names.add(inner.attr)
    return names


CHECKS = (
    modules_stay_small,
    functions_stay_small,
    names_say_something,
    no_module_is_empty,
    public_names_are_documented,
    the_root_stays_small,
    the_droplet_stays_small,
)
