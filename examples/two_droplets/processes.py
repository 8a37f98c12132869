"""Runs a droplet in a process of its own, as a deployment would: uvicorn, and settings in the environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
STOP_SECONDS = 10


def listen() -> tuple[socket.socket, str]:
    """A port that the system found free, and its URL. Whoever connects waits until the droplet answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def served(app: str, listener: socket.socket, settings: Mapping[str, str], *, directory: Path) -> Iterator[None]:
    """Serve `app` on a listening socket as long as the block runs.

    Raises:
        RuntimeError: the process did not end as it was asked to.
    """
    uvicorn = [sys.executable, "-m", "uvicorn", app, "--app-dir", str(CHECKOUT)]
    quiet = ["--log-level", "warning", "--no-access-log"]
    process = subprocess.Popen(
        [*uvicorn, *quiet, "--fd", str(listener.fileno())],
        env={**_inherited(), **settings},
        cwd=directory,
        pass_fds=[listener.fileno()],
    )
    listener.close()  # the process has its own: if it dies, callers must see a closed port
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    if code not in (0, -signal.SIGTERM):
        raise RuntimeError(f"{app} ended with code {code}")


def _inherited() -> dict[str, str]:
    """Our own environment without settings of droplets: those of the caller's shell are not meant for these."""
    ours = ("UDC_", "DROPLET_", "REGISTRY_", "ORCHESTRATOR_", "ENVIRONMENT", "LOG_LEVEL", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
