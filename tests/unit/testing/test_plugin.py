"""The pytest plugin, and what it costs those who do not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from udc.testing import virtual_time

ROOT = Path(__file__).parents[3]
HEAVY = {"jwt", "cryptography", "httpx2", "psutil", "looptime", "trio", "uvicorn", "tenacity"}
SUITE = """
import pytest
from udc import Droplet, query
from udc.testing import Keys, World, mesh

class Echo(Droplet):
    id, name, steward = 14, "Echo", "tests"

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_factory(udc_mesh):
    world = await udc_mesh(Echo())
    other = await udc_mesh(Echo(), seed=5)
    assert await world.client.query("Echo", "echo", {"text": "a"}) == "a"
    assert await other.client.query("Echo", "echo", {"text": "b"}) == "b"

@pytest.mark.anyio
async def test_mesh_in_a_fixture(echo):
    assert await echo.client.query("Echo", "echo", {"text": "a"}) == "a"

@pytest.fixture
async def echo(anyio_backend):
    async with mesh(Echo()) as world:
        yield world

def test_keys(udc_keys, udc_seed):
    assert udc_keys.token().count(".") == 2
    assert udc_seed == 0
"""


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))},
        "PYTHONPATH": str(ROOT / "src"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=9, check=False)


def test_its_fixtures_work_with_anyio(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(SUITE)
    done = _run("-m", "pytest", "-q", "-p", "anyio", "-p", "udc.testing.plugin", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_looptime_of_the_extra_breaks_nobodys_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text("def test_any(tmp_path): pass\n")
    plugins = ["-p", "looptime_plugin", "-p", "udc.testing.plugin", "-p", "no:cacheprovider"]
    done = _run("-m", "pytest", "-q", *plugins, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    done = _run("-c", "import sys, udc.testing.plugin; print(*sys.modules)", cwd=tmp_path)
    loaded = set(done.stdout.split())
    assert "udc.testing.plugin" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert not {name for name in loaded if name.startswith("udc.testing.") and name != "udc.testing.plugin"}


def test_it_is_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nudc = "udc.testing.plugin"\n' in text


def test_virtual_time_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "looptime", None)
    with pytest.raises(ImportError, match=r'virtual time needs looptime: pip install "udc-mesh\[testing\]"'):
        virtual_time()
    backend, options = virtual_time("trio")
    assert backend == "trio"
    assert "clock" in options


def test_the_package_has_what_it_says() -> None:
    import udc.testing

    for name in udc.testing.__all__:
        assert getattr(udc.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = udc.testing.nothing  # type: ignore[attr-defined]  # that it has none is what is tested
