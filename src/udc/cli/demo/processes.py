"""The processes of the demo: `udc` commands that are started, killed and stopped, and never left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from udc.config.names import ALIASES, IDENTITY_ALIASES
from udc.errors import UdcError

MESH: Final = "mesh"
"""What the process of the core droplets is called here."""

LEASE_SECONDS: Final = 3.0
"""Short, so that the mesh notices a death while one watches."""

_GRACE_SECONDS: Final = 2.0
_STOP_SECONDS: Final = 4.0
_KILL_SECONDS: Final = 2.0
_LONGEST_LINE: Final = 65536
_TOLD_LINES: Final = 5


class NotStarted(UdcError):
    """A process of the demo ended before it served; with the last that it said."""


class Child:
    """One `udc` command as a process of its own.

    Attributes:
        name: what the demo calls it.
        facts: the JSON of its first line on stdout, once it serves.
    """

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name: str = name
        self.facts: Mapping[str, Any] = {}  # Any: JSON values
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def serving(self) -> None:
        """Wait until it says that it serves.

        Raises:
            NotStarted: it ended instead.
        """
        lines = BufferedByteReceiveStream(_stdout_of(self._process))
        try:
            self.facts = json.loads(await lines.receive_until(b"\n", _LONGEST_LINE))
        except (anyio.IncompleteRead, ValueError):
            code = await self._process.wait()
            raise NotStarted(f"{self.name} did not start (exit code {code}): {self._last_words()}") from None

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return " / ".join(lines[-_TOLD_LINES:]) or "it said nothing"

    async def kill(self) -> None:
        """SIGKILL, and wait until it is no more."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._process.aclose()

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; returns the exit code."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(_STOP_SECONDS):
            await self._process.wait()
        if self._process.returncode is None:
            await self.kill()
        await self._process.aclose()
        return await self._process.wait()


class Processes:
    """Starts the demo's processes in one folder; `close` leaves none of them.

    Args:
        folder: what belongs to the demo alone: data directory and logs.
        environ: the variables of this process. Settings of droplets among them are not meant for ours.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder.resolve()
        self.data: Path = self._folder / "data"
        self._environ = {**_without_settings(environ), **self._settings()}
        self._children: list[Child] = []

    def _settings(self) -> dict[str, str]:
        return {
            "UDC_DATA": str(self.data),
            "UDC_REGISTRY__LEASE_SECONDS": str(LEASE_SECONDS),
            "UDC_LIMITS__GRACE_SECONDS": str(_GRACE_SECONDS),
        }

    async def start(self, name: str, *arguments: str) -> Child:
        """Start a `udc` command, and return when it serves.

        Raises:
            NotStarted: it ended instead; says why.
        """
        log = self._folder / f"{len(self._children):02}-{name}.log"
        command = [sys.executable, "-m", "udc.cli.demo.child", str(self._folder), *arguments, "--json"]
        with log.open("wb") as stderr:
            # A session of its own: Ctrl+C in the terminal is ours to hear, and ours to pass on.
            process = await anyio.open_process(
                command,
                stdin=subprocess.PIPE,
                stderr=stderr,
                cwd=self._folder,
                env=self._environ,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        await child.serving()
        return child

    async def close(self) -> None:
        """Stop all that still run and wait for them; takes some seconds at most."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _STOP_SECONDS + _KILL_SECONDS):
            # Droplets before their Registry, which they tell.
            await _stopped([each for each in self._children if each.name != MESH])
            await _stopped([each for each in self._children if each.name == MESH])


async def _stopped(children: Sequence[Child]) -> None:
    async with anyio.create_task_group() as tasks:
        for child in children:
            tasks.start_soon(child.stop)


def _stdout_of(process: Process) -> ByteReceiveStream:
    if process.stdout is None:
        raise TypeError("the process was started without a pipe to read from")
    return process.stdout


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as a program elsewhere would have it; paths in it hold from the demo's folder too."""
    names = {*ALIASES, *IDENTITY_ALIASES}
    kept = {name: value for name, value in environ.items() if not name.startswith("UDC_") and name not in names}
    if kept.get("PYTHONPATH"):
        kept["PYTHONPATH"] = ":".join(str(Path(each).resolve()) for each in kept["PYTHONPATH"].split(":"))
    return kept
