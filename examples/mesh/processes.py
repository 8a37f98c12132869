"""Starts the `udc` command as a shell would: as a process of its own, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UDC = (sys.executable, "-m", "udc.cli")
SECONDS = 10


@contextmanager
def started(*arguments: str, directory: Path) -> Iterator[dict[str, Any]]:
    """Run a `udc` command as long as the block does; gives what its `--json` line says once it serves.

    Raises:
        RuntimeError: it did not start, or did not end as it was asked to.
    """
    command = [*UDC, *arguments, "--json"]
    process = subprocess.Popen(command, env=_inherited(), cwd=directory, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"udc {arguments[0]} did not start")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl+C
        try:
            code = process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if code != 0:
        raise RuntimeError(f"udc {arguments[0]} ended with code {code}")


def ask(*arguments: str, directory: Path) -> tuple[int, str, str]:
    """Run a `udc` command to its end: its code, what it printed, what it complained of."""
    done = subprocess.run(
        [*UDC, *arguments],
        env=_inherited(),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def wait_for(names: set[str], *, directory: Path) -> None:
    """Until the Registry lists these droplets."""
    by = time.monotonic() + SECONDS
    while True:
        code, listed, _ = ask("ls", "--json", directory=directory)
        if code == 0 and names <= {row["name"] for row in json.loads(listed)}:
            return
        if time.monotonic() > by:
            raise RuntimeError(f"the Registry does not list {', '.join(sorted(names))} yet; it lists {listed}")


def _inherited() -> dict[str, str]:
    """Our own environment without settings of droplets: those of the caller's shell are not meant for these."""
    ours = ("UDC_", "DROPLET_", "REGISTRY_", "ORCHESTRATOR_", "ENVIRONMENT", "LOG_LEVEL", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
