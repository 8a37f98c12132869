"""Servers in processes of their own on one core, the load on the other, and what /proc says of them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from udc.identity.keys import SigningKey

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
_TICK: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_NAMED: Final = (
    *("uvicorn", "uvloop", "httptools", "anyio", "pydantic", "msgspec", "pyjwt", "cryptography"),
    *("fastapi", "starlette", "aiohttp", "fastmcp", "a2a-sdk", "python-jose"),
)


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """CPU time of the process up to now, user and system; NaN where /proc is not."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / _TICK

    def rss_mib(self) -> float:
        """Resident memory now."""
        import psutil

        return float(psutil.Process(self.pid).memory_info().rss) / 2**20


def take_load_cpu() -> None:
    """Keep this process off the servers' core."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {LOAD_CPU})


@contextmanager
def served(name: str, key: SigningKey) -> Iterator[Served]:
    """The server of that name, until the end of the block."""
    environment = {**os.environ, "UDC_SECURITY__PUBLIC_KEY": key.public_pem}
    cpu = SERVER_CPU if (os.cpu_count() or 1) > 1 else -1
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.servers", name, str(cpu)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(pid=process.pid, port=json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()


def versions() -> str:
    """What was measured with, as one line."""
    found = [f"Python {platform.python_version()}"]
    for name in _NAMED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
