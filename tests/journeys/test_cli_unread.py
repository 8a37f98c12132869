"""Commands whose stdout nobody reads any more, as after `| head`: quiet ends, and what serves goes on serving."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.processes import free_port
from tests.journeys.programs import SECONDS, SOURCE, STOPPING, Programs, request, until

pytestmark = pytest.mark.timeout(60)

HELLO = """
from udc import Droplet, query

class Hello(Droplet):
    id, name, steward = 21, "Hello", "tests"

    @query("hello")
    async def hello(self, who: str) -> str:
        print("asked by", who, "." * 10_000)
        return f"hello {who}"
"""


@contextmanager
def unread(folder: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The `udc` command with a stdout whose reader has gone; ended at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "udc.cli", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(SOURCE), "PATH": os.environ.get("PATH", ""), **variables},
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def alive(url: str) -> bool:
    try:
        return request(url, "/livez")[0] == 200
    except OSError:
        return False


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said on stderr."""
    complaints = process.communicate(timeout=SECONDS)[1]
    return process.returncode, complaints


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "json"])
def test_a_droplet_goes_on_serving(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    url = f"http://127.0.0.1:{(port := free_port())}"
    open_ = {"UDC_SECURITY__REQUIRE_AUTH": "false"}
    with unread(tmp_path, "run", "hello.py", "--port", str(port), *options, **open_) as process:
        until(lambda: alive(url))
        asked = {"message_type": "query", "payload": {"type": "hello", "data": {"who": "ada"}}}
        answer = request(url, "/message", asked)
        process.send_signal(signal.SIGTERM)
        code, complaints = end(process)

    assert (answer[0], answer[1]["data"]) == (200, "hello ada")
    assert code == 0
    assert complaints.endswith(STOPPING)
    assert "Broken" not in complaints
    assert "Traceback" not in complaints


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "json"])
def test_handlers_may_print_when_the_first_line_was_all_that_was_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    """`udc run hello.py 2>&1 | head -1`."""
    (tmp_path / "hello.py").write_text(HELLO)
    url = f"http://127.0.0.1:{(port := free_port())}"
    reader, writer = os.pipe()
    environ = {"PYTHONPATH": str(SOURCE), "PATH": os.environ.get("PATH", ""), "UDC_SECURITY__REQUIRE_AUTH": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", "udc.cli", "run", "hello.py", "--port", str(port), *options],
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    try:
        os.close(writer)
        assert str(port).encode() in os.read(reader, 1000)
        os.close(reader)
        asked = {"message_type": "query", "payload": {"type": "hello", "data": {"who": "ada"}}}
        until(lambda: request(url, "/message", asked)[0] == 200)  # the end of the reader is noticed a moment later
        answers = [request(url, "/message", asked)[0] for _ in range(5)]
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    finally:
        process.kill()
        process.wait(SECONDS)

    assert (answers, code) == ([200] * 5, 0)


def test_a_mesh_goes_on_and_what_is_asked_of_it_ends_quietly(tmp_path: Path, programs: Programs) -> None:
    port = free_port()
    ports = ("--port-base", "0", "--registry-port", str(port))
    with unread(tmp_path, "mesh", *ports) as mesh:
        until(lambda: alive(f"http://127.0.0.1:{port}"))
        until(lambda: programs.ask("tasks", "ls", "--data", str(tmp_path / ".udc"))[0] == 0)
        for arguments in (("ls",), ("ls", "--json"), ("inspect", "1"), ("tasks", "ls"), ("--help",), ("ls", "--help")):
            with unread(tmp_path, *arguments) as process:
                assert end(process) == (141, ""), arguments
        mesh.send_signal(signal.SIGTERM)

        assert end(mesh) == (0, STOPPING)


def test_following_ends_quietly_at_the_next_line(tmp_path: Path, programs: Programs) -> None:
    mesh = programs.udc("mesh", "--port-base", "0", "--json", "--data", str(tmp_path / ".udc"))
    mesh.first()
    with unread(tmp_path, "tasks", "watch") as process:

        def ended() -> bool:
            programs.ask("tasks", "create", "bake", "--data", str(tmp_path / ".udc"))
            return process.poll() is not None

        until(ended)
        assert end(process) == (141, "")
