"""Every check is seen to fail: a bug is planted in a small package, and the check must name it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.architecture import imports, shape, statements
from tests.architecture.source import SourceTree
from tests.test_architecture import CHECKS

Check = Callable[[SourceTree], Iterator[str]]
CLEAN = {
    "__init__.py": '"""Root."""\nfrom udc.droplet import Droplet\n__all__ = ["Droplet"]\n',
    "errors.py": '"""Errors."""\nimport re\n\n\nclass UdcError(Exception):\n    """Root."""\n',
    "models.py": '"""Models."""\nimport pydantic\nfrom udc.errors import UdcError\n',
    "droplet.py": '"""The façade."""\nfrom . import models\nfrom udc.errors import UdcError\n\n\n'
    'class Droplet:\n    """One."""\n    id = 1\n    def run(self): pass\n',
}


def planted(tmp_path: Path, files: Mapping[str, str]) -> SourceTree:
    for name, text in {**CLEAN, **files}.items():
        path = tmp_path / "udc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return SourceTree(tmp_path / "udc")


def _long(statement: str, count: int) -> str:
    return f"{statement}\n" * count


def _use(code: str, module: str = "models.py") -> dict[str, str]:
    return {module: f'"""Doc."""\n{code}\n'}


CROWDED = "class Droplet:\n" + "".join(f"    n{i}: int\n" for i in range(11)) + "    def run(self): self.mesh = 1"

BUGS: list[tuple[Check, dict[str, str], str]] = [
    (imports.every_module_has_a_layer, _use("A = 1", "shed.py"), "udc.shed has no layer"),
    (imports.every_module_has_a_layer, _use("A = 1", "shed/tool.py"), "udc.shed.tool has no layer"),
    (imports.imports_go_down, _use("from udc.asgi import app", "errors.py") | _use("app = 1", "asgi.py"), "(L0)"),
    (imports.imports_go_down, _use("import udc.droplet"), "models:2 (L1) imports udc.droplet (L6)"),
    (imports.imports_go_down, _use("from . import droplet"), "imports udc.droplet (L6)"),
    (imports.imports_go_down, _use("from udc import Droplet"), "imports udc (L6)"),
    (imports.imports_go_down, _use("def f():\n    from udc.droplet import Droplet"), "imports udc.droplet (L6)"),
    (
        imports.imports_go_down,
        _use("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from udc.droplet import Droplet"),
        "models:4 (L1) imports udc.droplet (L6)",
    ),
    (
        imports.imports_go_down,
        _use("from udc.identity.verify import V", "context.py") | _use("V = 1", "identity/verify.py"),
        "context:2 (L2) imports udc.identity.verify (L3)",
    ),
    (
        imports.no_import_cycles,
        _use("from udc.messages import M") | _use("from udc.models import N", "messages.py"),
        "udc.models -> udc.messages -> udc.models",
    ),
    (
        imports.no_import_cycles,
        _use("from udc.wire.a import A", "wire/__init__.py")
        | _use("from udc.messages import M", "wire/a.py")
        | _use("import udc.wire.b", "messages.py")
        | _use("B = 1", "wire/b.py"),
        "udc.messages -> udc.wire -> udc.wire.a -> udc.messages",
    ),
    (imports.foreign_packages_stay_at_home, _use("import pydantic", "errors.py"), "pydantic: allowed from L1 up"),
    (imports.foreign_packages_stay_at_home, _use("from anyio.abc import TaskGroup"), "anyio: allowed from L2 up"),
    (imports.foreign_packages_stay_at_home, _use("import httpx2", "messenger.py"), "its home is udc._http"),
    (imports.foreign_packages_stay_at_home, _use("import jwt", "identity/claims.py"), "from L3 up"),
    (imports.foreign_packages_stay_at_home, _use("import cryptography", "asgi.py"), "udc.identity and udc.testing"),
    (imports.foreign_packages_stay_at_home, _use("import psutil", "_runtime.py"), "its home is udc._process"),
    (imports.foreign_packages_stay_at_home, _use("import tenacity", "directory.py"), "its home is udc.retry"),
    (imports.foreign_packages_stay_at_home, _use("import starlette.types", "asgi.py"), "imports starlette"),
    (imports.foreign_packages_stay_at_home, _use("import uvicorn", "droplet.py"), "imports uvicorn"),
    (imports.foreign_packages_stay_at_home, _use("import httpx"), "not a dependency of udc"),
    (imports.foreign_packages_stay_at_home, _use("import typing_extensions"), "not a dependency of udc"),
    (imports.imports_stand_at_the_top, _use("def f():\n    import json"), "imports json inside a function"),
    (imports.own_modules_exist, _use("from udc.nowhere import X"), "imports udc.nowhere, which does not exist"),
    (statements.nothing_forbidden_is_named, _use("import time\ntime.time()"), "models:3 uses time.time"),
    (statements.nothing_forbidden_is_named, _use("from time import time as now"), "uses time.time:"),
    (statements.nothing_forbidden_is_named, _use("import time as t\nclock = t.monotonic"), "uses time.monotonic"),
    (statements.nothing_forbidden_is_named, _use("import time\ntime.sleep(1)"), "uses time.sleep"),
    (statements.nothing_forbidden_is_named, _use("import asyncio\nasyncio.sleep(1)"), "uses asyncio"),
    (statements.nothing_forbidden_is_named, _use("from asyncio import sleep"), "uses asyncio"),
    (
        statements.nothing_forbidden_is_named,
        _use("from datetime import UTC, datetime\nnow = datetime.now(UTC)"),
        "uses datetime.datetime.now",
    ),
    (statements.nothing_forbidden_is_named, _use("import datetime as d\nd.datetime.utcnow()"), "utcnow"),
    (statements.nothing_forbidden_is_named, _use("from uuid import uuid4"), "uses uuid.uuid4"),
    (statements.nothing_forbidden_is_named, _use("import random\nrandom.choice([])"), "uses random"),
    (statements.nothing_forbidden_is_named, _use("import os\nos.environ['A']"), "uses os.environ"),
    (statements.nothing_forbidden_is_named, _use("import os\nos.getenv('A')"), "uses os.getenv"),
    (statements.nothing_forbidden_is_named, _use("print('hello')"), "uses print"),
    (statements.nothing_is_asserted, _use("def f(x):\n    assert x"), "models:3 asserts"),
    (statements.nothing_swallows_everything, _use("try:\n    pass\nexcept:\n    raise"), "bare except"),
    (
        statements.nothing_swallows_everything,
        _use("try:\n    pass\nexcept (ValueError, BaseException):\n    pass"),
        "swallows cancellation",
    ),
    (shape.modules_stay_small, _use(_long("A = 1", 398)), "udc.models has 400 lines"),
    (shape.functions_stay_small, _use("def f():\n" + _long("    a = 1", 59)), "f has 60 lines"),
    (shape.functions_stay_small, _use("class C:\n async def f(self):\n" + _long("  a = 1", 59)), "f has 60 lines"),
    (shape.names_say_something, _use("A = 1", "wire/_helpers.py"), "not '_helpers'"),
    (shape.names_say_something, _use("A = 1", "utils/__init__.py"), "not 'utils'"),
    (shape.names_say_something, _use("class DropletV2: pass"), "'DropletV2' has a version"),
    (shape.names_say_something, _use("A = 1", "wire/codec_v2.py"), "'codec_v2' has a version"),
    (shape.no_module_is_empty, {"models.py": '"""For later."""\n'}, "udc.models holds nothing"),
    (shape.no_module_is_empty, {"wire/__init__.py": ""}, "udc.wire has no docstring"),
    (shape.public_names_are_documented, _use('__all__ = ["f"]\ndef f(): pass'), "udc.models.f is public"),
    (shape.public_names_are_documented, _use('__all__ = ["A"]\nA = 1'), "udc.models.A is public"),
    (
        shape.public_names_are_documented,
        _use('__all__ = ["f"]\nclass C:\n    def f(self): pass\nf = C().f'),
        "udc.models.f is public",
    ),
    (shape.public_names_are_documented, _use('__all__ = ["A"]'), "udc.models.A is public"),
    (
        shape.public_names_are_documented,
        _use('from udc.messages import M\n__all__: list[str] = ["M"]') | _use("class M: pass", "messages.py"),
        "udc.models.M is public",
    ),
    (
        shape.public_names_are_documented,
        _use('if TYPE_CHECKING:\n    from udc.messages import M\n__all__ = ["M"]')
        | _use("class M: pass", "messages.py"),
        "udc.models.M is public",
    ),
    (shape.public_names_are_documented, _use('from json import loads\n__all__ = ["loads"]'), "udc.models.loads"),
    (shape.the_root_stays_small, _use(f"__all__ = {[f'n{i}' for i in range(30)]}", "__init__.py"), "exports 30 names"),
    (shape.the_droplet_stays_small, _use(CROWDED, "droplet.py"), "Droplet has 13 public names, at most 12"),
]


@pytest.mark.parametrize(("check", "files", "expected"), BUGS, ids=[f"{c.__name__}-{e}" for c, _, e in BUGS])
def test_a_planted_bug_is_found(check: Check, files: dict[str, str], expected: str, tmp_path: Path) -> None:
    problems = list(check(planted(tmp_path, files)))

    assert [line for line in problems if expected in line], problems


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_clean_package_passes(check: Check, tmp_path: Path) -> None:
    assert list(check(planted(tmp_path, {}))) == []


def test_no_check_is_left_unplanted() -> None:
    assert set(CHECKS) == {check for check, _, _ in BUGS}


@pytest.mark.parametrize(
    "code",
    [
        "from udc._ids import Ambient\ndef f(ambient: Ambient): return ambient.now()",
        "def uuid_v4(): pass",
        "try:\n    pass\nexcept BaseException:\n    raise",
        '__all__ = ["A"]\nA = 1\n"""Documented."""',
        '__all__ = ["f"]\nclass C:\n    def f(self):\n        """Documented."""\nf = C().f',
        'from typing import overload\n__all__ = ["f"]\n@overload\ndef f(): ...\ndef f():\n    """Documented."""',
        "import time\ntime.gmtime(0)",
        'if TYPE_CHECKING:\n    from udc.errors import UdcError\n__all__ = ["UdcError"]',
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from typing_extensions import TypeForm",
    ],
)
def test_what_only_looks_like_a_bug_passes(code: str, tmp_path: Path) -> None:
    tree = planted(tmp_path, _use(code) | _use("class Ambient: pass", "_ids.py"))

    assert [line for check in CHECKS for line in check(tree)] == []
