"""Programs started as a user starts them, watched with deadlines, and never left behind."""

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
STOPPING = "udc: stopping when the work in flight is done; a second signal ends it at once\n"
"""What a program says at the first signal."""
SECONDS = 25.0
"""How long anything may take before a test gives up: far more than it takes, since machines may be busy."""


class Program:
    """One running command: its first line on stdout, its end, what it wrote."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, variables: dict[str, str]) -> None:
        environment = {
            "PYTHONPATH": str(SOURCE),
            "PATH": os.environ.get("PATH", ""),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            **variables,
        }
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out, self._err = _Lines(self._process.stdout), _Lines(self._process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> str:
        """The next line on stdout."""
        return self._out.next(self)

    def complaint(self) -> str:
        """The next line on stderr."""
        return self._err.next(self)

    def first(self) -> dict[str, Any]:
        """The first line on stdout, which is JSON."""
        found = json.loads(self.line())
        assert isinstance(found, dict)
        return found

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for it: exit code, and what was not read yet of stdout and stderr."""
        code = self._process.wait(SECONDS)
        return code, self._out.rest(), self._err.rest()

    def stop(self) -> tuple[int, str, str]:
        self.signal()
        return self.end()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(SECONDS)
        self._out.rest(), self._err.rest()


class _Lines:
    """Reads a pipe in a thread of its own, so that a line can be waited for with a deadline."""

    def __init__(self, pipe: Any) -> None:
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(pipe,))
        self._thread.start()
        self.seen: list[str] = []

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                self._queue.put(line)
        self._queue.put(None)

    def next(self, program: Program) -> str:
        try:
            line = self._queue.get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"no line within {SECONDS} s; so far: {self.seen}") from None
        if line is None:
            self._queue.put(None)
            raise AssertionError(f"the program ended: {program.end()}")
        self.seen.append(line)
        return line

    def rest(self) -> str:
        self._thread.join(SECONDS)
        lines = []
        while not self._queue.empty():
            line = self._queue.get()
            lines += [line] if line is not None else []
        self._queue.put(None)
        return "".join(lines)


class Programs:
    """Starts programs in one folder, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Program] = []

    def udc(self, *arguments: str, **variables: str) -> Program:
        """The `udc` command."""
        return self.python("-m", "udc.cli", *arguments, **variables)

    def python(self, *arguments: str, **variables: str) -> Program:
        program = Program(arguments, folder=self.folder, variables=variables)
        self._started.append(program)
        return program

    def ask(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """The `udc` command, to its end: exit code, stdout, stderr."""
        return self.udc(*arguments, **variables).end()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def end(self) -> None:
        for program in self._started:
            program.kill()


def request(
    url: str,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    token: str | None = None,
    secret: str | None = None,
    seconds: float = SECONDS,
) -> tuple[int, Any, dict[str, str]]:
    """One HTTP request on a connection of its own: status, JSON, headers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=seconds)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    headers |= {"X-Droplet-Secret": secret} if secret else {}
    with contextlib.closing(connection):
        content = None if body is None else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}


def message(kind: str, action: str, **data: Any) -> dict[str, Any]:
    return {"message_type": kind, "payload": {"type": action, "data": data}}


def until(what: Any) -> Any:
    """Ask again and again until it is true, with a deadline; what it says then."""
    by = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < by, f"not true within {SECONDS} s"
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def meeting_point() -> Iterator[socket.socket]:
    """Where handlers report that they run, and wait to be let go."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        yield server
