"""Who may import what: the layers of `docs/explanation/design.md`, and the homes of other people's packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.architecture.source import Import, Module, SourceTree, ancestors

LAYERS: dict[str, int] = {
    # L0 ground: the standard library only
    "udc.errors": 0, "udc.errors.*": 0, "udc.lifecycle": 0, "udc._drafts": 0, "udc._frozen": 0,
    "udc._ids": 0, "udc._types": 0,
    # L1 protocol
    "udc.messages": 1, "udc.models": 1, "udc.models.*": 1, "udc.wire": 1, "udc.wire.*": 1,
    "udc.config": 1, "udc.config.*": 1,
    # L2 policy: no I/O. A package that spans layers has its `__init__` in the lowest, for every import runs it.
    "udc.dispatch": 2, "udc.dispatch.*": 2, "udc.context": 2, "udc.context.*": 2, "udc.retry": 2,
    "udc.instrument": 2, "udc.instrument.*": 2, "udc._clock": 2, "udc.rings": 2,
    "udc.transports": 2, "udc.transports._base": 2, "udc.identity": 2, "udc.identity.claims": 2,
    "udc.identity._base": 2, "udc.surface": 2, "udc.surface._base": 2,
    "udc.surface._query": 2,
    # L3 clients
    "udc._http": 3, "udc._http.*": 3, "udc.clients": 3, "udc.clients.*": 3, "udc.discovery": 3, "udc.discovery.*": 3,
    "udc._sqlite": 3, "udc._database": 3, "udc.datadir": 3, "udc.transports.*": 3, "udc.directory": 3,
    "udc.messenger": 3, "udc.messenger.*": 3, "udc.identity.*": 3,
    # L4 core
    "udc.services": 4, "udc.services.*": 4, "udc.stats": 4, "udc._process": 4, "udc.surface.*": 4,
    "udc.tasks": 4, "udc.tasks.*": 4, "udc._runtime": 4,
    # L5 adapters
    "udc.asgi": 5, "udc._bodies": 5, "udc._foreign_server": 5, "udc._serve": 5, "udc._serve.*": 5,
    "udc._host": 5, "udc._attachment": 5, "udc.starlette": 5, "udc.fastapi": 5,
    "udc.aiohttp": 5, "udc.aiohttp.*": 5,
    # L6 façade
    "udc.droplet": 6, "udc._wiring": 6, "udc._wiring.*": 6, "udc": 6,
    # L7 products
    "udc.testing": 7, "udc.testing.*": 7, "udc.mesh": 8, "udc.mesh.*": 8, "udc.cli": 9, "udc.cli.*": 9,
    "udc.__main__": 9,
}  # fmt: skip

TYPING_ONLY_UPWARD: dict[tuple[str, str], str] = {}
"""(module, target) → reason: upward imports under TYPE_CHECKING that are accepted."""

LAZY: dict[tuple[str, str], str] = {
    ("udc.droplet", "udc._wiring"): "what a running droplet needs costs start-up time",
    ("udc._process", "psutil"): "likewise, and Linux does without",
    ("udc._http.client", "udc._http.lines"): "a droplet that calls nobody does without it",
    ("udc._database", "udc._sqlite"): "likewise, and without a disk of its own",
    ("udc.services._disk", "sqlite3"): "likewise",
    ("udc.clients.choose", "udc.clients"): "only one style of Registry is spoken",
    ("udc._wiring.reporting", "udc._wiring.polled"): "only one style of Orchestrator is spoken",
    ("udc._wiring.reporting", "udc.clients.orchestrator"): "and none where there is no Orchestrator",
    ("udc.directory", "difflib"): "only who wrote a name wrong needs it",
    ("udc.config.names", "difflib"): "likewise",
    ("udc.retry", "tenacity"): "likewise, for a call that is never repeated",
    ("udc.wire.plain", "udc.wire._by_msgspec"): "msgspec is optional",
    ("udc.wire._scalars", "msgspec"): "likewise",
    ("udc.wire.plain", "udc.wire._by_pydantic"): "where that is there, its schema is not needed",
    ("udc.dispatch.deadlines", "anyio"): "a droplet on Trio never needs anyio's other half",
    ("udc.cli.__main__", "udc.cli.app"): "typer is optional",
    ("udc.cli.app", "udc.cli"): "each command loads what it needs, for start-up time",
    ("udc.cli.app", "udc.messages"): "likewise",
    ("udc.cli.tasks", "udc.cli"): "likewise",
    ("udc.cli.running", "udc.cli.meshing"): "a droplet alone does without the core droplets",
    ("udc.cli.tasks", "udc._ids"): "likewise",
    ("udc.cli.tasks", "udc.clients"): "likewise",
    ("udc.cli.output", "rich"): "likewise",
    ("udc.cli.reloading", "watchfiles"): "likewise, and it is optional",
    ("udc._wiring.program", "udc._serve"): "uvicorn is optional",
    ("udc._wiring.program", "udc._wiring.hosting"): "likewise",
}
"""(module, package or module of ours) → reason: imports inside functions that are accepted, with all below them."""

FROM_LAYER = {"pydantic": 1, "pydantic_core": 1, "anyio": 2}
"""Package → the lowest layer that may import it."""

TYPING_ONLY_FOREIGN = frozenset({"typing_extensions"})
"""Packages that are no dependency of ours; type checkers have them, and nobody else reads them."""

HOMES: dict[str, tuple[str, ...]] = {
    "httpx2": ("udc._http",),
    "jwt": ("udc.identity", "udc.testing"),
    "cryptography": ("udc.identity", "udc.testing"),
    "psutil": ("udc._process",),
    "tenacity": ("udc.retry", "udc.messenger"),
    "msgspec": ("udc.wire._by_msgspec", "udc.wire._scalars"),
    "fastapi": ("udc.fastapi",),
    "starlette": ("udc.starlette", "udc.fastapi"),
    "aiohttp": ("udc.aiohttp",),
    "uvicorn": ("udc._serve",),
    "watchfiles": ("udc.cli.reloading",),
    "typer": ("udc.cli",),
    "rich": ("udc.cli",),
    "pytest": ("udc.testing",),
}
"""Package → the modules (and what lies below them) that may import it."""


def layer(name: str) -> int | None:
    """A module's layer; `None` = it has no place in the table."""
    for key in (name, *(f"{package}.*" for package in reversed(ancestors(name)))):
        if key in LAYERS:
            return LAYERS[key]
    return None


def _within(name: str, homes: tuple[str, ...]) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def every_module_has_a_layer(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        if layer(module.name) is None:
            yield f"{module.name} has no layer: give it one in LAYERS and in docs/explanation/design.md"


def _reached(tree: SourceTree, module: Module, found: Import) -> Iterator[str]:
    """Our own modules that an import runs: the target and its packages, but for those that are running."""
    running = {module.name, *ancestors(module.name)}
    for name in (found.target, *ancestors(found.target)):
        # `from udc import X` inside of `udc` reaches for a half-made root, so a named target always counts.
        if name in tree.modules and (name not in running or name == found.target != module.name):
            yield name


def imports_go_down(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        own = layer(module.name)
        for found in tree.imports(module):
            if found.typing_only and (module.name, found.target) in TYPING_ONLY_UPWARD:
                continue
            for target in _reached(tree, module, found):
                other = layer(target)
                if own is not None and other is not None and other > own:
                    yield f"{module.name}:{found.line} (L{own}) imports {target} (L{other}), which lies above it"


def no_import_cycles(tree: SourceTree) -> Iterator[str]:
    edges = {
        module.name: {
            target
            for found in tree.imports(module)
            if not found.lazy and not found.typing_only
            for target in _reached(tree, module, found)
        }
        for module in tree
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield "import cycle: " + " -> ".join((*path[path.index(name) :], name))
        elif name not in done:
            for target in sorted(edges[name]):
                yield from visit(target, (*path, name))
            done.add(name)

    for start in edges:
        yield from visit(start, ())


def foreign_packages_stay_at_home(tree: SourceTree) -> Iterator[str]:
    own = tree.package.name
    for module in tree:
        for found in tree.imports(module):
            top = found.target.split(".")[0]
            known = {own, *sys.stdlib_module_names, *(TYPING_ONLY_FOREIGN if found.typing_only else ())}
            reason = None if top in known else _foreign(module.name, top)
            if reason:
                yield f"{module.name}:{found.line} imports {top}: {reason}"


def _foreign(name: str, top: str) -> str | None:
    own = layer(name)
    if top in FROM_LAYER:
        return None if own is not None and own >= FROM_LAYER[top] else f"allowed from L{FROM_LAYER[top]} up"
    if top not in HOMES:
        return "not a dependency of udc"
    if own is not None and own >= 3 and _within(name, HOMES[top]):
        return None
    # retry is policy, and tenacity does no I/O; nor does what reads and writes JSON.
    if (top, name) == ("tenacity", "udc.retry") or (top == "msgspec" and name in HOMES[top]):
        return None
    return f"its home is {' and '.join(HOMES[top])}, from L3 up"


def imports_stand_at_the_top(tree: SourceTree) -> Iterator[str]:
    for module in tree:
        for found in tree.imports(module):
            top = found.target.split(".")[0]
            name = found.target if top == tree.package.name else top
            accepted = any((module.name, package) in LAZY for package in (name, *ancestors(name)))
            if found.lazy and not accepted:
                yield f"{module.name}:{found.line} imports {name} inside a function: move it up, or list it in LAZY"


def own_modules_exist(tree: SourceTree) -> Iterator[str]:
    """An import of ours that resolves to no module would slip through every other check."""
    for module in tree:
        for found in tree.imports(module):
            if found.target.split(".")[0] == tree.package.name and found.target not in tree.modules:
                yield f"{module.name}:{found.line} imports {found.target}, which does not exist"


CHECKS = (
    every_module_has_a_layer,
    imports_go_down,
    no_import_cycles,
    foreign_packages_stay_at_home,
    imports_stand_at_the_top,
    own_modules_exist,
)
