"""The tutorial is played word for word: its files are saved, its commands are given, its answers come."""

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

pytestmark = pytest.mark.timeout(60)
"""Whole processes are started here, each of which imports everything: slow where many share a machine."""
PAGE = (ROOT / "docs" / "tutorial" / "first-droplet.md").read_text("utf-8")
FILES = dict(re.findall(r"as `(\w+\.py)`:\n\n(?:<!--[^\n]*-->\n)?```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MESSAGES = re.findall(r"-d '(\{.*\})'", PAGE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@pytest.fixture
def environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p anyio",
    }


def shell(command: str, environment: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], env=environment, cwd=directory, capture_output=True, text=True, timeout=25, check=False
    )


def one_of_the_commands(start: str) -> str:
    found: str = next(line for block in COMMANDS for line in block.splitlines() if line.startswith(start))
    return found


@contextmanager
def served(environment: dict[str, str], directory: Path) -> Iterator[httpx2.Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [*one_of_the_commands("uvicorn ").split(), "--log-level", "error", "--fd", str(listener.fileno())]
        process = subprocess.Popen(command, env=environment, cwd=directory, pass_fds=[listener.fileno()])
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=8) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=8)


def outcome(answer: httpx2.Response) -> Any:
    body = answer.json()
    return f"{body['error']['code']}: {body['error']['message']}" if "error" in body else body["data"]


def test_without_a_key_it_does_not_start_and_says_what_the_page_says(
    environment: dict[str, str], directory: Path
) -> None:
    done = shell(one_of_the_commands("uvicorn ") + " --port 0", environment, directory)

    (told,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert done.returncode == 3
    assert told in done.stderr


def test_with_a_key_it_answers_as_the_page_says(environment: dict[str, str], directory: Path) -> None:
    assert shell(one_of_the_commands("(umask 077"), environment, directory).returncode == 0
    assert (directory / "key.pem").stat().st_mode & 0o777 == 0o600
    name, _, value = one_of_the_commands("export ").removeprefix("export ").partition("=")
    token = shell("python make_token.py", environment, directory).stdout.strip()

    with served({**environment, name: value}, directory) as client:
        authorized = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answers = [
            outcome(client.post("/message", content=body, headers=headers))
            for body, headers in zip(
                MESSAGES,
                (authorized, authorized, {"Content-Type": "application/json"}, authorized, authorized),
                strict=True,
            )
        ]
        assert answers[:2] == [1, ["buy milk"]]
        assert [f"- `{answer}`" for answer in answers[2:]] == [
            line for line in PAGE.splitlines() if re.match("- `[A-Z_]+: ", line)
        ]
        for path in ("/health", "/capabilities", "/state"):
            assert f"curl http://127.0.0.1:8000{path}" in PAGE
            assert client.get(path, headers=authorized).status_code == 200


def test_its_tests_pass(environment: dict[str, str], directory: Path) -> None:
    done = shell("pytest", environment, directory)

    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
