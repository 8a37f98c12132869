"""`udc run` and `Droplet.run()`: one process, its signals, its orderly end."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.journeys.programs import STOPPING, Program, Programs, meeting_point, message, request, until

pytestmark = pytest.mark.timeout(60)

WORKER = '''
import asyncio, json, os, sys, time
from contextlib import asynccontextmanager

import anyio
from udc import Droplet, Endpoint, HttpResponse, command, on_start, on_stop, query

print("this module prints while it is imported")

class Worker(Droplet):
    id, name, steward = 21, "Worker", "tests"

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

    @command("hold")
    async def hold(self, port: int, number: int) -> int:
        """Report at the port, and return when the other side has answered."""
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()
        return number

    @command("block")
    async def block(self, port: int) -> None:
        """Block the whole event loop, for ever."""
        stream = await anyio.connect_tcp("127.0.0.1", port)
        time.sleep(60)

    @command("stuck")
    def stuck(self, port: int) -> None:
        """Block a thread, for ever."""
        import socket
        socket.create_connection(("127.0.0.1", port)).recv(1)

    @on_stop
    async def farewell(self) -> None:
        print("stop hook", file=sys.stderr)


async def ticks(request):
    async def parts():
        while True:
            yield b"data: tick\\n\\n"
            await anyio.sleep(0.01)
    return HttpResponse(body=parts(), media_type="text/event-stream")

Worker.endpoints = [Endpoint(method="GET", path="/ticks", access="public", handler=ticks)]

if __name__ == "__main__":
    Worker().run(port=0)
'''
OPEN = {"UDC_SECURITY__REQUIRE_AUTH": "false"}


@pytest.fixture
def worker(programs: Programs) -> tuple[Program, str]:
    programs.write("worker.py", WORKER)
    program = programs.udc("run", "worker.py", "--port", "0", "--json", **OPEN, UDC_LIMITS__GRACE_SECONDS="5")
    return program, program.first()["url"]


def test_the_first_line_says_where_it_serves(programs: Programs) -> None:
    programs.write("worker.py", WORKER)
    program = programs.udc("run", "worker:Worker", "--port", "0", "--json", **OPEN)

    told = program.first()
    health = request(told["url"], "/health")[1]
    alive = request(told["url"], "/livez")[1]
    ready = request(told["url"], "/readyz")
    assert program.complaint() == "this module prints while it is imported\n"
    hint = program.complaint()
    code, out, err = program.stop()

    assert told.keys() == {"url", "droplet_id", "instance_id"}
    assert (told["droplet_id"], told["instance_id"]) == (21, alive["instance_id"])
    assert (health["endpoint"], health["status"], ready[0]) == (told["url"], "active", 200)
    assert hint == "udc: no mesh in sight, it serves alone; start one with 'udc mesh' and it joins\n"
    assert (code, out, err) == (0, "", f"{STOPPING}stop hook\n")


def test_a_default_port_that_is_taken_is_told(programs: Programs) -> None:
    programs.write("worker.py", WORKER)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        # The default is 8000 and the id, and any other program may listen there: so the id is chosen by the port.
        program = programs.udc("run", "worker.py", "--json", UDC_DROPLET__ID=str(taken - 8000), **OPEN)
        port = int(program.first()["url"].rpartition(":")[2])

    assert port != taken
    assert program.complaint() == "this module prints while it is imported\n"
    told = f"udc: 127.0.0.1:{taken} is in use, so Worker listens on any free port: {port}\n"
    assert program.complaint() == told


def test_droplet_run_does_the_same(programs: Programs) -> None:
    program = programs.python(str(programs.write("worker.py", WORKER)), **OPEN)

    assert program.line() == "this module prints while it is imported\n"
    line = program.line()
    assert line.startswith("Worker (droplet 21) serves at http://127.0.0.1:")
    assert program.complaint().startswith("udc: no mesh in sight")
    assert request(line.split()[5], "/health")[0] == 200
    program.signal(signal.SIGINT)
    code, out, err = program.end()

    assert (code, out) == (0, "")
    assert "stop hook" in err


def test_work_in_flight_is_not_lost(worker: tuple[Program, str]) -> None:
    """SIGTERM: not ready and 503 for new work at once; what is in flight ends, then the process."""
    program, url = worker
    count = 20
    with meeting_point() as server, ThreadPoolExecutor(count) as pool:
        port = server.getsockname()[1]
        calls = [
            pool.submit(request, url, "/message", message("command", "hold", port=port, number=number))
            for number in range(count)
        ]
        handlers = [server.accept()[0] for _ in calls]
        program.signal()
        until(lambda: request(url, "/readyz")[0] == 503)
        status, ready, headers = request(url, "/readyz")
        refused = request(url, "/message", message("query", "echo", text="late"))
        for handler in handlers:
            with handler:
                handler.send(b"!")
        answers = [call.result() for call in calls]

    assert (status, ready["phase"], headers["connection"]) == (503, "stopping", "close")
    assert (refused[0], refused[1]["error"]["code"]) == (503, "DRAINING")
    assert [answer[1]["data"] for answer in answers] == list(range(count))
    assert program.end()[0] == 0


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(worker: tuple[Program, str], number: int, expected: int) -> None:
    program, url = worker
    with meeting_point() as server, _calling(url, "hold", port=server.getsockname()[1], number=1):
        with server.accept()[0]:
            program.signal()
            until(lambda: request(url, "/readyz")[0] == 503)
            program.signal(number)
            code, _, err = program.end()

    assert code == expected
    assert "stop hook" not in err


def test_a_second_signal_is_heard_while_the_loop_is_blocked(worker: tuple[Program, str]) -> None:
    program, url = worker
    with meeting_point() as server, _calling(url, "block", port=server.getsockname()[1]):
        with server.accept()[0]:
            program.signal(signal.SIGINT)
            until(lambda: program.complaint() == STOPPING)
            program.signal(signal.SIGTERM)

            assert program.end()[0] == 143


def test_streams_and_hanging_clients_do_not_keep_it(worker: tuple[Program, str]) -> None:
    """An endless stream, half a request, an idle connection: none holds the end up."""
    program, url = worker
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        stream, half, idle = (stack.enter_context(socket.create_connection((host, int(port)), 5)) for _ in range(3))
        stream.send(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in stream.recv(1024)
        half.send(b"POST /message HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        idle.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle.recv(1024)
        begun = time.monotonic()
        code, _, err = program.stop()

    assert code == 0
    assert "stop hook" in err
    assert "Traceback" not in err
    assert time.monotonic() - begun < 5


def test_what_overruns_the_grace_is_given_up(programs: Programs) -> None:
    """A handler that waits and a thread that is stuck; the caller of the first still gets an answer."""
    programs.write("worker.py", WORKER)
    program = programs.udc("run", "worker.py", "--port", "0", "--json", **OPEN, UDC_LIMITS__GRACE_SECONDS="0.2")
    url = program.first()["url"]
    with meeting_point() as server, ThreadPoolExecutor(2) as pool:
        port = server.getsockname()[1]
        calls = [
            pool.submit(request, url, "/message", message("command", "hold", port=port, number=1)),
            pool.submit(request, url, "/message", message("command", "stuck", port=port)),
        ]
        with server.accept()[0], server.accept()[0]:
            code, _, err = program.stop()
            statuses = [call.result()[0] for call in calls]

    assert code == 0
    assert "stop hook" in err
    assert "handlers are stuck in threads" in err
    assert all(status >= 500 for status in statuses)


def test_a_thread_that_a_droplet_leaves_behind_does_not_keep_the_process(programs: Programs) -> None:
    """Python waits for threads that are no daemons, for ever."""
    starts = "    @on_start\n    async def begin(self):\n        import threading\n"
    starts += "        threading.Thread(target=threading.Event().wait, name='left').start()\n\n    @on_stop\n"
    programs.write("worker.py", WORKER.replace("    @on_stop\n", starts))
    program = programs.udc("run", "worker.py", "--port", "0", "--json", **OPEN)
    program.first()
    code, _, err = program.stop()

    assert code == 0
    assert "stop hook" in err
    assert "threads=['left']" in err


def test_shutdown_ends_the_process(worker: tuple[Program, str]) -> None:
    program, url = worker

    status, answer, _ = request(url, "/shutdown", {"delay_seconds": 0, "reason": "test"})

    assert (status, answer["shutdown_scheduled"]) == (200, True)
    assert program.end()[0] == 0


CRASHING = """
import anyio
from contextlib import asynccontextmanager
from udc import Droplet, command, on_start, on_stop

class Crashing(Droplet):
    id, name, steward = 22, "Crashing", "tests"

    @asynccontextmanager
    async def lifespan(self):
        self.crash = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.background)
            yield
            tasks.cancel_scope.cancel()

    async def background(self):
        await self.crash.wait()
        raise RuntimeError("the background task broke")

    @command("crash")
    async def trigger(self) -> None:
        self.crash.set()

class BadStart(Droplet):
    id, name, steward = 23, "BadStart", "tests"

    @on_start
    async def begin(self):
        raise RuntimeError("no database")

class BadStop(Droplet):
    id, name, steward = 24, "BadStop", "tests"

    @on_stop
    async def finish(self):
        raise RuntimeError("cannot flush")

class SlowStart(Droplet):
    id, name, steward = 25, "SlowStart", "tests"

    @on_start
    async def begin(self):
        print("starting", flush=True)
        await anyio.sleep(60)
"""


def test_a_crash_of_the_lifespan_ends_the_process(programs: Programs) -> None:
    """It must not go on answering 200 with nothing behind it."""
    programs.write("crashing.py", CRASHING)
    program = programs.udc("run", "crashing:Crashing", "--port", "0", "--json", **OPEN)
    url = program.first()["url"]

    with contextlib.suppress(OSError):
        request(url, "/message", message("command", "crash"))
    code, _, err = program.end()

    assert code == 1
    assert "RuntimeError: the background task broke" in err


@pytest.mark.parametrize(("name", "served"), [("BadStart", False), ("BadStop", True)])
def test_a_failing_hook_is_told(programs: Programs, name: str, served: bool) -> None:
    programs.write("crashing.py", CRASHING)
    program = programs.udc("run", f"crashing.py:{name}", "--port", "0", "--json", **OPEN)
    if served:
        program.first()
        program.signal()
    code, out, err = program.end()

    assert (code, out) == (1, "")
    assert "RuntimeError: " in err


def test_a_signal_while_it_starts_ends_it(programs: Programs) -> None:
    programs.write("crashing.py", CRASHING)
    program = programs.udc("run", "crashing:SlowStart", "--port", "0")

    assert program.line() == "starting\n"
    assert program.stop()[0] == 0


def test_a_port_in_use_is_one_clear_line(programs: Programs) -> None:
    programs.write("worker.py", WORKER)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, out, err = programs.ask("run", "worker:Worker", "--port", port, "--json")

    assert (code, out) == (2, "")
    _, head, line = err.splitlines()
    assert head == "udc: the configuration has 1 problem:"
    assert line == (
        f"  - server.port: 127.0.0.1:{port} is in use; stop what listens there, or choose another with --port or PORT "
        "(0 = any free one)"
    )


def test_every_problem_of_the_configuration_is_listed(programs: Programs) -> None:
    programs.write("nameless.py", "from udc import Droplet\nclass Nameless(Droplet):\n    id = 30\n")

    code, out, err = programs.ask(
        "run", "nameless.py", "--host", "0.0.0.0", PORT="http", UDC_LIMITS__GRACE_SECONDS="-1"
    )

    assert (code, out) == (2, "")
    assert len(err.splitlines()) >= 6
    for setting in (
        "server.port",
        "limits.grace_seconds",
        "droplet.name",
        "droplet.steward",
        "droplet.url",
        "security",
    ):
        assert f"  - {setting}" in err


@contextlib.contextmanager
def _calling(url: str, action: str, **data: object) -> Iterator[None]:
    """A call that goes on in a thread; what becomes of it does not matter."""

    def call() -> None:
        with contextlib.suppress(OSError, ValueError):
            request(url, "/message", message("command", action, **data))

    thread = threading.Thread(target=call)
    thread.start()
    yield
    thread.join(8)
    assert not thread.is_alive()
