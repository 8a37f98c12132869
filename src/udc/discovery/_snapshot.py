"""What is known of the mesh, kept in a file: a droplet that starts while the Registry is away finds its peers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from udc._types import JsonObject
from udc.errors import InvalidRequest
from udc.instrument import Instrument, StorageFailed, StorageRecovered
from udc.wire import json_text

T = TypeVar("T")

State: TypeAlias = tuple[Sequence[JsonObject], str | None]
"""Records, and the revision they stand at."""

FILE: Final = "peers.json"
_SETTLE_SECONDS: Final = 2.0
"""From a change to its writing, so that many are written at once."""
_MAX_BYTES: Final = 256 * 1024 * 1024


class Keeper:
    """Writes the state to a file, atomically, some time after it changed. A disk that fails does no harm.

    Args:
        state: what is to be written.
        threads: false writes in line, for virtual time.
    """

    def __init__(self, state: Callable[[], State], *, instrument: Instrument, threads: bool) -> None:
        self._state = state
        self._instrument = instrument
        self._threads = threads
        self._path: Path | None = None
        self._changed = anyio.Event()
        self._opened = anyio.Event()
        self._fails = False

    def note(self) -> None:
        """The state has changed."""
        self._changed.set()

    async def open(self, directory: Path) -> State | None:
        """Write into this directory from now on; returns what lies there.

        A file that cannot be read is put aside, as `peers.json.unreadable`.
        """
        path = self._path = directory / FILE
        self._opened.set()
        try:
            return await self._away(lambda: _load(path))
        except (OSError, InvalidRequest) as error:
            moved_to = await self._away(lambda: _put_aside(path))
            self._instrument.emit(StorageFailed(what="peers", error=str(error), moved_to=moved_to))
            return None

    async def run(self) -> None:
        """Write what changes until cancelled, and then once more; nothing before there is a directory."""
        await self._opened.wait()
        path = self._path
        if path is None:
            return
        try:
            while True:
                await self._changed.wait()
                await anyio.sleep(_SETTLE_SECONDS)
                await self._save(path)
        finally:
            with anyio.CancelScope(shield=True):
                if self._changed.is_set():
                    await self._save(path)

    async def _save(self, path: Path) -> None:
        self._changed = anyio.Event()
        try:
            records, revision = self._state()
            await self._away(lambda: _write(path, records, revision))
        except OSError as error:
            self._changed.set()
            if not self._fails:
                self._instrument.emit(StorageFailed(what="peers", error=str(error)))
            self._fails = True
        else:
            if self._fails:
                self._instrument.emit(StorageRecovered(what="peers"))
            self._fails = False

    async def _away(self, call: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(call) if self._threads else call()


def _load(path: Path) -> State | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidRequest(f"{path.name} has more than {_MAX_BYTES} bytes")
        found = json_text.parse_object(path.read_bytes(), field=path.name)
    except FileNotFoundError:
        return None
    records, revision = found.get("records"), found.get("revision")
    if not isinstance(records, list) or not isinstance(revision, str | None):
        raise InvalidRequest.field(path.name, "holds no records")
    return [record for record in records if isinstance(record, dict)], revision


def _put_aside(path: Path) -> str | None:
    """Where the file is now; `None` when it could not be moved."""
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        path.replace(aside)
    except OSError:
        return None
    return str(aside)


def _write(path: Path, records: Sequence[JsonObject], revision: str | None) -> None:
    """A reader sees the old file or the new one, whatever happens meanwhile."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json_text.write({"revision": revision, "records": records}))
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
