"""A mesh of real processes: started as a user starts them, watched with deadlines, and never left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import psutil

from tests.journeys.programs import message, request
from udc.datadir import DataDirectory

SOURCE = Path(__file__).parents[2] / "src"
SECONDS = 25.0
"""How long anything may take before a test gives up: far more than it takes, since machines may be busy."""

SHORT_LEASE = 1.5
"""Of the Registry in `DROPLETS`; droplets beat to it every 0.5 s."""

DROPLETS = '''
import os
from pathlib import Path

import anyio
from udc import Droplet, command, query
from udc.datadir import DataDirectory
from udc.mesh.registry import Registry


class Short(Registry):
    """A Registry whose leases are short, so that tests are."""

    def __init__(self):
        super().__init__(
            DataDirectory(Path(os.environ["UDC_DATA"])),
            lease_seconds=float(os.environ.get("LEASE_SECONDS", "1.5")),
            token_seconds=int(os.environ.get("TOKEN_SECONDS", "3600")),
        )


class Echo(Droplet):
    """Answers, and writes down what it has done."""

    id, name, steward = 21, "Echo", "tests"
    capabilities = ("echo",)

    @query("echo")
    async def echo(self, text: str) -> str:
        return text

    @command("note")
    async def note(self, number: int, seconds: float = 0.0) -> int:
        await anyio.sleep(seconds)
        with Path("done.txt").open("a") as file:
            file.write(f"{number}\\n")
        return number

    @command("meet")
    async def meet(self, port: int) -> None:
        """Report at the port, and return when the other side has answered."""
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.receive()


class Asker(Droplet):
    """Calls Echo by its name."""

    id, name, steward = 22, "Asker", "tests"

    @query("ask")
    async def ask(self, ctx, text: str) -> str:
        return await ctx.query("Echo", "echo", {"text": text})

    @command("order")
    async def order(self, ctx, number: int, seconds: float) -> int:
        return await ctx.command("Echo", "note", {"number": number, "seconds": seconds})
'''


def until(what: Callable[[], Any], *, seconds: float = SECONDS, why: str = "") -> Any:
    """Ask again and again until it is true, with a deadline; what it says then."""
    by = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < by, f"not true within {seconds:g} s {why}; last: {found!r}"
        time.sleep(0.02)
    return found


def seconds_until(what: Callable[[], Any], *, since: float | None = None, seconds: float = SECONDS) -> float:
    """How long it takes to become true, from now or from another moment of the monotonic clock."""
    since = time.monotonic() if since is None else since
    until(what, seconds=seconds)
    return time.monotonic() - since


def free_port() -> int:
    """A port that nobody listens on now, for what must be found there again after a restart."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Process:
    """One running `udc` command: its first line, its end; what it complains of lies in a file.

    Attributes:
        first: the first line on stdout, which is JSON.
    """

    def __init__(self, arguments: tuple[str, ...], *, folder: Path, variables: dict[str, str], log: Path) -> None:
        self.log = log
        self._errors = log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "udc.cli", *arguments],
            cwd=folder,
            env={"PYTHONPATH": str(SOURCE), "PATH": os.environ.get("PATH", ""), "PYTHONUNBUFFERED": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.first: dict[str, Any] = {}

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put("")

    def serving(self, *, seconds: float = SECONDS) -> Process:
        """Wait until it says that it serves."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"nothing on stdout within {seconds} s: {self.log}") from None
        assert line, f"it ended with {self._process.wait(SECONDS)}: {self.log.read_text()}"
        self.first = json.loads(line)
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it serves."""
        return str(self.first.get("url") or self.first["registry"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def instance_id(self) -> str:
        return str(self.first["instance_id"])

    @property
    def presence(self) -> str | None:
        """What `/readyz` says of its standing with the Registry; `None` when it is not ready."""
        status, found, _ = request(self.url, "/readyz")
        return str(found["presence"]) if status == 200 else None

    def has(self, presence: str) -> bool:
        return self.presence == presence

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; returns its exit code."""
        code = self._process.wait(SECONDS)
        self._close()
        return code

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self.signal()
        return self.end()

    def kill(self) -> None:
        """SIGKILL; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self.end()

    def _close(self) -> None:
        self._reader.join(SECONDS)
        self._errors.close()


class Lag:
    """How late a thread wakes at the worst: on a machine that is busy everything is later by as much, and more.

    What a test allows in real time it allows beyond that; the exact bound is held in virtual time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Lag:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            self._over.wait(0.01)
            self.seconds = max(self.seconds, time.monotonic() - before - 0.01)


def served(*processes: Process) -> tuple[Process, ...]:
    """Those that were started side by side, once all of them serve."""
    return tuple(each.serving() for each in processes)


class Measured(Protocol):
    """Takes numbers by name."""

    def __call__(self, **numbers: float) -> None: ...


class House:
    """Starts processes in one folder, and ends them all.

    Attributes:
        folder: theirs, and where the data directory lies.
        secret: the development secret, there before any mesh is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDirectory(folder / "data")
        self.secret = self.data.make_secret()
        (folder / "droplets.py").write_text(DROPLETS, encoding="utf-8")
        self._processes: list[Process] = []

    def udc(self, *arguments: str, **variables: str) -> Process:
        """Start the `udc` command."""
        name = f"{len(self._processes):02}-{'-'.join(arguments[:2]).replace('/', '_')}.err"
        process = Process(
            arguments,
            folder=self.folder,
            variables={"UDC_DATA": str(self.data.root), "UDC_LIMITS__GRACE_SECONDS": "5", **variables},
            log=self.folder / name,
        )
        self._processes.append(process)
        return process

    def mesh(self, *, port: int = 0, **variables: str) -> Process:
        """`udc mesh`, with the leases that users have; the droplets of this folder find it by its data directory."""
        return self.udc("mesh", "--port-base", "0", "--registry-port", str(port), "--json", **variables)

    def registry(self, *, port: int = 0, **variables: str) -> Process:
        """A Registry with short leases; droplets may be started beside it, when its port is known."""
        return self.udc("run", "droplets.py:Short", "--port", str(port), "--json", **variables)

    def droplet(self, name: str, *, registry: str | None = None, port: int = 0, **variables: str) -> Process:
        """A droplet of `DROPLETS`; without a Registry's URL it looks into the data directory."""
        if registry is not None:
            variables = {"REGISTRY_URL": registry, "DROPLET_SECRET": self.secret, **variables}
        return self.udc("run", f"droplets.py:{name}", "--port", str(port), "--json", **variables)

    def ask(self, *arguments: str, **variables: str) -> Any:
        """The `udc` command, to its end; the JSON that it puts."""
        return self.udc(*arguments, **variables).serving().first

    def token(self, registry: str) -> str:
        """One that may do everything, as the operator has it."""
        body = {"droplet_id": 999, "secret": self.secret}
        status, found, _ = request(registry, "/auth/token", body)
        assert status == 200, found
        return str(found["token"])

    def rows(self, registry: str, token: str) -> dict[int, Any]:
        """The Registry's list, by droplet id."""
        status, found, _ = request(registry, "/droplets", token=token)
        assert status == 200, found
        return {row["id"]: row for row in found}

    def done(self) -> list[int]:
        """What Echo has written down."""
        path = self.folder / "done.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def logs(self) -> str:
        """What the processes complained of."""
        texts = ((each.log.name, each.log.read_text(errors="replace")) for each in self._processes)
        return "\n".join(f"--- {name}\n{text[-4000:]}" for name, text in texts if text)

    def close(self) -> None:
        """Kill what still runs; nothing may be left behind, children of children neither."""
        for process in self._processes:
            process.kill()
        found = psutil.process_iter(["cwd"])
        left = [
            each for each in found if each.info["cwd"] == str(self.folder) and each.status() != psutil.STATUS_ZOMBIE
        ]
        assert not left, f"left behind: {left}"


def always(token: str) -> Callable[[], str]:
    """For a caller whose token stays good."""
    return lambda: token


@dataclass
class Failure:
    """A call that its caller saw fail."""

    at: float
    status: int
    answer: Any


@dataclass
class Caller:
    """Calls by name every 50 ms through a droplet, as a user of the mesh does, from a thread of its own.

    A token that is refused is asked for anew, and the call made once more.
    """

    url: str
    token: Callable[[], str]
    action: str = "ask"
    made: int = 0
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0

    def one(self) -> bool:
        """One call; whether it succeeded."""
        self.made += 1
        text, began = f"call {self.made}", time.monotonic()
        try:
            sent = message("query", self.action, text=text)
            status, answer, _ = request(self.url, "/message", sent, token=(shown := self.token()))
            if status == 401 and shown != (renewed := self.token()):
                status, answer, _ = request(self.url, "/message", sent, token=renewed)
        except (OSError, http.client.HTTPException) as error:
            status, answer = 0, repr(error)
        self.slowest = max(self.slowest, time.monotonic() - began)
        good = status == 200 and answer.get("data") == text
        if not good:
            self.failures.append(Failure(began, status, answer))
        return good

    def goes_on(self, count: int) -> None:
        """Wait until so many more calls have been made."""
        before = self.made
        until(lambda: self.made > before + count)

    @contextlib.contextmanager
    def calling(self) -> Iterator[Caller]:
        """Call all the time while this is open."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(0.05):
                self.one()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join(2 * SECONDS)
        assert not thread.is_alive()


Mood: TypeAlias = Literal["well", "slow", 500, 401, 404, 409]
"""How a Registry behaves."""


class Moody:
    """Stands before a Registry at a fixed address and passes calls on, or misbehaves.

    Attributes:
        upstream: the real Registry.
        mood: what calls meet from now on; "slow" passes them on, and the answer comes 5 s later.
    """

    slow_seconds = 5.0

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.mood: Mood = "well"
        self.paths: list[str] = []
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End it, when those that call it have ended."""
        self._over.set()
        self._server.shutdown()
        self._thread.join(SECONDS)
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What a call meets now."""
        self.paths.append(path)
        if isinstance(self.mood, int):
            return self.mood, {"Content-Type": "application/json"}, b'{"detail":"out of order"}'
        if self.mood == "slow":
            found = self._passed_on(method, path, headers, body)
            self._over.wait(self.slow_seconds)
            return found
        return self._passed_on(method, path, headers, body)

    def _passed_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.upstream.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body=body or None, headers=headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                return 502, {}, b""
            return answer.status, dict(answer.getheaders()), content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        moody = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                status, headers, content = moody.answer(self.command, self.path, kept, body)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in headers.items():
                        if name.lower() not in _HOP:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - the names are the base class's

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # who called has gone
                    super().handle()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
                """Say nothing."""

        return Handler


_HOP = frozenset({"connection", "content-length", "transfer-encoding", "host", "date", "server"})
