"""The examples do what they say: as processes over sockets, from a directory and environment of their own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a shell in a strange directory would give, and settings there that are none of the example's business."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "UDC_DATA": str(tmp_path / "data"),
    }


def run(module: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module], env=environment, cwd=cwd, capture_output=True, text=True, timeout=9, check=False
    )


class TestTwoDroplets:
    def test_it_shows_what_it_promises_and_ends_well(self, environment: dict[str, str], tmp_path: Path) -> None:
        done = run("examples.two_droplets", environment, tmp_path)

        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        for line in (
            r"  Billing  droplet 15  http://127\.0\.0\.1:\d+  active",
            r"   quota  -> 200  3",
            r"   resize -> 200  .*\(duplicate\)",
            r"   quota  -> 200  2",
            r"   quota  -> 401  UNAUTHORIZED: .*",
        ):
            assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout

    def test_it_leaves_no_files_and_no_processes(self, environment: dict[str, str], tmp_path: Path) -> None:
        done = run("examples.two_droplets", environment, tmp_path)

        assert list(tmp_path.iterdir()) == []
        for port in re.findall(r"http://127\.0\.0\.1:(\d+)", done.stdout):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(port))) != 0

    def test_settings_of_the_shell_do_not_reach_it(self, environment: dict[str, str], tmp_path: Path) -> None:
        strays = {"UDC_SERVER__PORT": "none", "DROPLET_ID": "none", "REGISTRY_URL": "none", "PORT": "none"}

        assert run("examples.two_droplets", {**environment, **strays}, tmp_path).returncode == 0


@contextmanager
def hello(environment: dict[str, str], cwd: Path) -> Iterator[httpx2.Client]:
    """Hello as a stranger starts it, on a port of its own; a connection waits until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "examples.hello:app", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            command, env=environment, cwd=cwd, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=8) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=8)


def curl(client: httpx2.Client, docstring: str, token: str) -> Any:
    """Send what the example's docstring has curl send."""
    body = re.search(r"-d '(\{.*\})'", docstring)
    assert body
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return client.post("/message", content=body[1], headers=headers)


class TestHello:
    def test_it_greets_whoever_has_a_token_of_this_machine(self, environment: dict[str, str], tmp_path: Path) -> None:
        source = (ROOT / "examples" / "hello" / "__init__.py").read_text("utf-8")
        with hello(environment, tmp_path) as client:
            assert client.get("/health").json()["name"] == "Hello"
            token = run("examples.hello.token", environment, tmp_path).stdout.strip()
            assert curl(client, source, token).json()["data"] == "Hello, Ada!"
            assert curl(client, source, "").status_code == 401
            elsewhere = {**environment, "UDC_DATA": str(tmp_path / "elsewhere")}
            stranger = run("examples.hello.token", elsewhere, tmp_path).stdout.strip()
            assert curl(client, source, stranger).status_code == 401

    def test_the_key_is_for_its_owner_only_and_stays(self, environment: dict[str, str], tmp_path: Path) -> None:
        run("examples.hello.token", environment, tmp_path)
        key = tmp_path / "data" / "hello.pem"
        made = key.read_bytes()
        run("examples.hello.token", environment, tmp_path)

        assert key.stat().st_mode & 0o777 == 0o600
        assert key.parent.stat().st_mode & 0o777 == 0o700
        assert key.read_bytes() == made
