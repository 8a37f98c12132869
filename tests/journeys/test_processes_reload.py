"""`udc run --reload`: a change is served by a new process, on the same port, and no connection is refused meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from tests.journeys.programs import STOPPING, Program, Programs, meeting_point, message, request, until

APP = """
import os, sys
import anyio
from udc import Droplet, command, on_stop, query

class Page(Droplet):
    id, name, steward = 21, "Page", "tests"

    @query("text")
    async def text(self) -> list:
        return ["TEXT", os.getpid()]

    @command("hold")
    async def hold(self, port: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()

    @on_stop
    async def farewell(self) -> None:
        print("stop hook", file=sys.stderr)
"""
OPEN = {
    "UDC_SECURITY__REQUIRE_AUTH": "false",
    "UDC_LIMITS__GRACE_SECONDS": "30",
    "UDC_REGISTRY__AUTO_REGISTER": "false",
}


@dataclass
class Page:
    programs: Programs
    program: Program
    url: str
    pids: set[int] = field(default_factory=set)

    def write(self, text: str) -> None:
        """As an editor does: another file takes its place at once; always within the same second."""
        new, old = self.programs.write("app.py.new", text), self.programs.folder / "app.py"
        os.utime(new, ns=(0, old.stat().st_mtime_ns))
        new.replace(old)

    def shows(self, text: str) -> None:
        self.write(APP.replace("TEXT", text))

    def text(self) -> str:
        """What it answers; every process that did is remembered."""
        status, answer, _ = request(self.url, "/message", message("query", "text"))
        assert status == 200, answer
        text, pid = answer["data"]
        self.pids.add(pid)
        return str(text)

    def complaint_with(self, words: str) -> str:
        while words not in (line := self.program.complaint()):
            pass
        return line

    def gone(self) -> bool:
        """Whether no process of it is left, and its port is free."""
        port = int(self.url.rpartition(":")[2])
        with socket.socket() as other:
            left = [pid for pid in self.pids if psutil.pid_exists(pid)]
            return not left and other.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def page(programs: Programs) -> Iterator[Page]:
    programs.write("app.py", APP.replace("TEXT", "one"))
    program = programs.udc("run", "app.py", "--port", "0", "--json", "--reload", **OPEN)
    made = Page(programs, program, program.first()["url"])
    assert made.text() == "one"
    yield made
    program.kill()
    until(made.gone)


@dataclass
class Visitor:
    """Connects again and again, from a thread of its own."""

    url: str
    failures: list[str] = field(default_factory=list)
    answered: int = 0

    @contextmanager
    def visiting(self) -> Iterator[None]:
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(0.005):
                try:
                    status = request(self.url, "/livez")[0]
                except OSError as error:
                    self.failures.append(repr(error))
                else:
                    self.answered += 1
                    self.failures += [] if status == 200 else [str(status)]

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(8)


@pytest.mark.timeout(60)
def test_a_change_is_served_and_no_connection_is_refused(page: Page) -> None:
    visitor = Visitor(page.url)
    with visitor.visiting():
        for text in ("two", "three"):
            page.shows(text)
            assert page.complaint_with("changed") == "udc: changed: app.py; starting it anew\n"
            assert page.program.first()["url"] == page.url
            assert page.text() == text

    assert len(page.pids) == 3
    assert visitor.failures == []
    assert visitor.answered > 3


@pytest.mark.timeout(60)
def test_a_mistake_is_shown_and_waits_for_the_next_change(page: Page) -> None:
    """Who connects while nothing serves is answered by what serves next."""
    page.write("from udc import Droplet\nclass Page(Droplet:\n")
    for words in ("cannot be imported", 'app.py", line 2', "SyntaxError"):
        page.complaint_with(words)
    assert page.complaint_with("waiting") == "udc: it ended with exit code 2; waiting for a change\n"
    host, port = page.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 8) as early:
        early.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        page.shows("mended")
        assert early.recv(1024).startswith(b"HTTP/1.1 200 ")
    page.program.first()
    assert page.text() == "mended"


def test_ctrl_c_ends_both(page: Page) -> None:
    """A terminal sends it to both of them."""
    (child,) = page.pids
    os.kill(child, signal.SIGINT)
    page.program.signal(signal.SIGINT)
    code, _, err = page.program.end()

    assert (code, err) == (0, f"{STOPPING}stop hook\n")
    assert page.gone()


def test_sigterm_waits_for_work_in_flight_and_a_second_signal_does_not(page: Page) -> None:
    with meeting_point() as server:
        body = message("command", "hold", port=server.getsockname()[1])
        thread = threading.Thread(target=_request_that_breaks, args=(page.url, body), daemon=True)
        thread.start()
        with server.accept()[0]:
            page.program.signal()
            assert page.complaint_with("stopping") == STOPPING
            page.program.signal()
            code, _, err = page.program.end()
        thread.join(8)

    assert (code, err) == (143, "")
    until(page.gone)


def _request_that_breaks(url: str, body: dict[str, Any]) -> None:
    with pytest.raises(OSError, match=r".*"):
        request(url, "/message", body)


def test_a_droplet_whose_reloader_is_killed_ends_too(page: Page) -> None:
    page.program.signal(signal.SIGKILL)

    until(page.gone)


def test_shutdown_ends_both(page: Page) -> None:
    request(page.url, "/shutdown", {"delay_seconds": 0})

    assert page.program.end()[0] == 0
    assert page.gone()


def test_a_mesh_is_run_beside_it(programs: Programs) -> None:
    programs.write("app.py", APP)
    code, out, err = programs.ask("run", "app.py", "--reload", "--with-mesh")

    assert (code, out) == (2, "")
    assert err == "udc: --reload cannot be combined with --with-mesh: run 'udc mesh' beside it, and the droplet joins\n"
