"""`udc run --reload`: keeps the port, and runs the droplet in a process that is replaced when its sources change."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Any, Final, NoReturn

import anyio
import anyio.lowlevel
from anyio.abc import Process

from udc._serve.ending import end_process
from udc._serve.kept import KeptSocket, receive_socket
from udc._serve.signals import Signals
from udc.cli.faults import Usage, say
from udc.config import FILE_NAME

_PATIENCE_SECONDS: Final = 5.0
"""How long work in flight may hold up a new start; nobody wants to wait for the whole grace at every change."""


def run(target: str, *, host: str | None, port: int | None, data: Path | None, with_mesh: bool, as_json: bool) -> int:
    """Run a droplet, anew at each change, until the first signal; returns the exit code.

    Raises:
        Usage: it cannot be combined with `--with-mesh`, or a package is missing.
    """
    if with_mesh:
        raise Usage("--reload cannot be combined with --with-mesh: run 'udc mesh' beside it, and the droplet joins")
    if find_spec("watchfiles") is None:
        raise Usage('--reload needs one more package: pip install "udc-mesh[run]"')
    asked = {
        "target": target,
        "host": host,
        "port": port,
        "data": None if data is None else str(data),
        "as_json": as_json,
    }
    reloader = _Reloader(asked, _roots(target))
    signals = Signals(reloader.give_up)
    with signals.installed():
        return anyio.run(reloader.run, signals)


def _roots(target: str) -> list[Path]:
    """Where sources are looked for: the current folder, and the file's own."""
    here, place = Path.cwd(), Path(target.partition(":")[0]).resolve()
    elsewhere = place.suffix == ".py" and place.parent.is_dir() and not place.is_relative_to(here)
    return [here, place.parent] if elsewhere else [here]


class _Reloader:
    """Has at most one process at a time.

    Args:
        asked: what the process gets.
        roots: the folders that are watched, with all below them.
    """

    def __init__(self, asked: dict[str, Any], roots: list[Path]) -> None:  # Any: JSON values
        self._asked = asked
        self._roots = roots
        self._kept: KeptSocket | None = None
        self._process: Process | None = None
        self._changes: set[Path] = set()
        self._news = anyio.Event()
        self._stop = False
        self._over = anyio.Event()

    async def run(self, signals: Signals) -> int:
        """Until the first signal, or until the droplet has ended as it was asked to (`/shutdown`)."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            tasks.start_soon(self._hear, signals)
            await anyio.lowlevel.checkpoint()  # the watch is set before anything is imported
            try:
                while not self._stop:
                    code = await self._one_life()
                    if code == 0:
                        break
                    if code is not None and not self._stop:
                        say(f"it ended with exit code {code}; waiting for a change")
                        await self._until_news()
            finally:
                self._over.set()  # a watch that is only cancelled takes seconds to notice
                tasks.cancel_scope.cancel()
                if self._kept is not None:
                    self._kept.close()
        return 0

    def give_up(self, code: int) -> NoReturn:
        """End both processes now."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
        end_process(code)

    async def _one_life(self) -> int | None:
        """Run the droplet until there is news; its exit code when it ended by itself."""
        self._tell_changes()
        self._news = anyio.Event()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._process = process = await self._started(theirs)
            code: int | None = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, ours)

                async def ended() -> None:
                    nonlocal code
                    code = await process.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(ended)
                await self._until_news()
                tasks.cancel_scope.cancel()
            if code is None:
                await self._end(process)
            await process.aclose()
            return code

    async def _started(self, keeper: socket.socket) -> Process:
        kept = self._kept
        asked = {
            **self._asked,
            "keeper": keeper.fileno(),
            "kept": kept and {"socket": kept.socket.fileno(), "host": kept.host, "port": kept.port},
        }
        return await anyio.open_process(
            [sys.executable, "-m", "udc.cli.reloaded", json.dumps(asked)],
            stdin=None,
            stdout=None,
            stderr=None,
            pass_fds=[keeper.fileno(), *([kept.socket.fileno()] if kept else [])],
        )

    async def _keep(self, lodger: socket.socket) -> None:
        """Take the socket that the process has bound, in place of the one before."""
        handed = await receive_socket(lodger)
        if handed is not None:
            if self._kept is not None:
                self._kept.close()
            self._kept = handed

    async def _end(self, process: Process) -> None:
        """Let it finish what it has; not for ever."""
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(None if self._stop else _PATIENCE_SECONDS):
            await process.wait()
            return
        say("work in flight holds it up: it is ended")
        process.kill()
        await process.wait()

    async def _watch(self) -> None:
        from watchfiles import DefaultFilter, awatch

        usual = DefaultFilter()

        def is_source(change: Any, path: str) -> bool:  # Any: watchfiles' own
            return (path.endswith(".py") or Path(path).name == FILE_NAME) and usual(change, path)

        async for changes in awatch(
            *self._roots, watch_filter=is_source, stop_event=self._over, ignore_permission_denied=True
        ):
            self._changes.update(Path(path) for _, path in changes)
            self._news.set()

    async def _hear(self, signals: Signals) -> None:
        await signals.first()
        self._stop = True
        self._news.set()

    async def _until_news(self) -> None:
        """Return when something has changed, or when it is to end."""
        if not self._changes and not self._stop:
            await self._news.wait()

    def _tell_changes(self) -> None:
        if self._changes:
            say(f"changed: {', '.join(sorted(map(os.path.relpath, self._changes)))}; starting it anew")
            _forget_compiled(self._changes)
            self._changes.clear()


def _forget_compiled(sources: Iterable[Path]) -> None:
    """Python knows a compiled file's source by size and whole second only: two quick changes look alike to it."""
    for source in sources:
        if source.suffix == ".py":
            with suppress(OSError):
                Path(cache_from_source(source)).unlink()
