"""Real processes: at a signal the droplet finishes what it has begun, runs its stop hooks, and the process ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.adapters.hosts import free_port
from tests.contract.served import envelope, key, token

ROOT = Path(__file__).parents[3]
PROGRAMS = [("asgi", "granian"), ("fastapi", "httptools"), ("starlette", "h11"), ("aiohttp", "aiohttp")]


@dataclass
class Program:
    process: subprocess.Popen[str]
    port: int

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=8)

    def until_open(self) -> None:
        ends = time.monotonic() + 8
        while True:
            try:
                self.connect().close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < ends, "its port never opened"
                time.sleep(0.02)


@contextmanager
def running(adapter: str, server: str) -> Iterator[Program]:
    port = free_port()
    command = [sys.executable, "-m", "tests.contract.adapters.program", adapter, server, str(port)]
    environ = {**os.environ, "PUBLIC_KEY": key().public_pem}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    program = Program(process, port)
    try:
        assert program.line() == "started"
        program.until_open()
        yield program
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def request(path: str, body: bytes = b"") -> bytes:
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token('write')}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("adapter", "server", "number"),
    [
        *((*program, signal.SIGTERM) for program in PROGRAMS),
        ("fastapi", "httptools", signal.SIGINT),
        ("aiohttp", "aiohttp", signal.SIGINT),
    ],
)
def test_a_signal_ends_it_gracefully(adapter: str, server: str, number: signal.Signals) -> None:
    slow = json.dumps(envelope("pause", {}, message_type="command")).encode()
    with running(adapter, server) as program:
        with program.connect() as idle, program.connect() as busy:
            idle.sendall(request("/livez").replace(b"Connection: close\r\n", b""))
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            busy.sendall(request("/message", slow))
            assert program.line() == "pausing"
            program.process.send_signal(number)
            answer = b"".join(iter(lambda: busy.recv(65536), b""))
        assert b'"data":"paused"' in answer
        assert program.line() == "stopped"
        assert program.process.wait(10) in (0, -number)
