"""The data directory (contract section 6): where a mesh on this machine is, its secret, and droplets' own state."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

from udc._frozen import dataclass
from udc._types import DropletId
from udc.errors import ConfigError

_log = logging.getLogger("udc.datadir")

SECRET_FILE: Final = "secret"  # noqa: S105 - a file name
"""Where the mesh's secret lies in its data directory."""

_SECRET_BYTES: Final = 32
_MAX_NAME: Final = 100
_MAX_SLOTS: Final = 10_000

_MESH: Final = "mesh"
"""Whose slot says that a mesh runs. The ids of droplets that claim slots are numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshFile:
    """What `mesh.json` tells: where the core droplets of the running mesh are.

    Attributes:
        registry, orchestrator, dashboard: base URLs; `None` = that one does not run.
        pid: of the process that runs the mesh; when it is dead there is no mesh.
    """

    registry: str | None = None
    orchestrator: str | None = None
    dashboard: str | None = None
    pid: int


class Slot:
    """One instance's own directory, held under an OS lock until it is closed or the process dies.

    Attributes:
        number: from 0.
        path: the directory.
    """

    def __init__(self, *, number: int, path: Path, lock: int) -> None:
        self.number = number
        self.path = path
        self._locks = [lock]

    def hold(self, lock: int) -> None:
        """Hold this lock as well, from now on and as long."""
        self._locks.append(lock)

    def close(self) -> None:
        """Let go of it; the next instance may take it. May be called twice."""
        # The lock files stay: were they removed, two processes could hold two files of the same name.
        while self._locks:
            os.close(self._locks.pop())

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DataDirectory:
    """The files of one data directory. It is made, with mode 0700, by whatever first writes into it.

    All calls block for a file operation or two. POSIX only: the locks are `flock`s, which end with the process.

    Args:
        root: the directory (`UDC_DATA`, `--data`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._told = False

    def read_mesh(self) -> MeshFile | None:
        """Where the running mesh is; `None` when there is none: no file, an unreadable one, or a dead process.

        A mesh that was killed leaves its file behind, and its process id may be somebody else's by now: where there is
        a mark of `claim_mesh`, somebody must hold it.

        Nor where another user may have written the file: who follows it trusts the keys of the Registry it names.
        """
        path = self.root / "mesh.json"
        try:
            found = json.loads(path.read_bytes())
            _check_ours(self.root, path)
        except (OSError, ValueError):
            return None
        except ConfigError as error:
            if not self._told:
                self._told = True
                _log.warning("the mesh file is left alone: %s", error)
            return None
        if not isinstance(found, dict) or not _alive(found.get("pid")) or _forsaken(self._mark):
            return None
        urls = {name: found.get(name) for name in ("registry", "orchestrator", "dashboard")}
        return MeshFile(pid=found["pid"], **{name: url for name, url in urls.items() if isinstance(url, str)})

    def write_mesh(self, mesh: MeshFile) -> None:
        """Tell where the mesh is, atomically: a reader sees the old file or the new one."""
        self.write_private(self.root / "mesh.json", json.dumps(asdict(mesh)))

    def remove_mesh(self) -> None:
        """Tell that there is no mesh any more. Harmless when there is none."""
        (self.root / "mesh.json").unlink(missing_ok=True)

    def secret(self) -> str:
        """The development secret. A file that others may read is closed to them, with a warning.

        Raises:
            ConfigError: there is none here, or another user may have put it here; says what to do.
        """
        path = self.root / SECRET_FILE
        try:
            text = path.read_text(encoding="utf-8").strip()
            _check_ours(self.root, path)
        except FileNotFoundError:
            raise ConfigError([f"{path}: missing; start the mesh first, or name its data directory"]) from None
        if not text:
            raise ConfigError([f"{path}: empty; remove it and start the mesh anew"])
        _close_to_others(path)
        return text

    def make_secret(self) -> str:
        """The development secret, made now if there is none; of several makers at once all get the same.

        Raises:
            ConfigError: there is one, but it is empty; or another user may change what lies here.
        """
        path = self.directory() / SECRET_FILE
        if path.exists():
            return self.secret()
        scratch = self._scratch(path, secrets.token_urlsafe(_SECRET_BYTES) + "\n")
        try:
            # A link, unlike a rename, never replaces what another maker has already handed out.
            with suppress(FileExistsError):
                os.link(scratch, path)
        finally:
            scratch.unlink()
        return self.secret()

    def key(self, name: str) -> Path:
        """Where a signing key of that name lies; written with `write_private`."""
        return self.root / "keys" / f"{_file_name(name)}.pem"

    def write_private(self, path: Path, text: str) -> None:
        """Write a file of mode 0600 atomically, in a directory of mode 0700; on the disk when it returns."""
        self._scratch(path, text).replace(path)
        _sync_directory(path.parent)

    def directory(self, *parts: str) -> Path:
        """A directory inside, made with mode 0700 where it is missing.

        Raises:
            ConfigError: it cannot be made, or another user may change what lies there.
        """
        path = self.root
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_ours(path)
            for part in parts:
                path /= part
                path.mkdir(mode=0o700, exist_ok=True)
                _check_ours(path)
        except OSError as error:
            problem = f"data: {path} cannot be made a directory: {error.strerror}"
            raise ConfigError([f"{problem}; choose another with --data or UDC_DATA"]) from error
        return path

    def claim_slot(self, droplet_id: DropletId) -> Slot:
        """The lowest slot of the droplet that no living instance holds; what was in it is still there.

        Raises:
            ConfigError: no slot is free.
        """
        for number in range(_MAX_SLOTS):
            path = self.directory(*self._slot(droplet_id, number).relative_to(self.root).parts)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except BaseException:
                os.close(lock)
                raise
            return Slot(number=number, path=path, lock=lock)
        raise ConfigError([f"{self.root}: all {_MAX_SLOTS} slots of droplet {droplet_id} are taken"])

    def claim_mesh(self) -> Slot:
        """The slot of the mesh that runs here: number 0, unless one runs already."""
        slot = self.claim_slot(_MESH)
        if slot.number == 0:
            # A lock of its own, since who looks for a mesh takes it for a moment: that must not keep one from starting.
            mark = os.open(self._mark, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(mark, fcntl.LOCK_EX)
            slot.hold(mark)
            self.remove_mesh()  # of one that was killed: our mark must not vouch for it
        return slot

    @property
    def _mark(self) -> Path:
        return self._slot(_MESH, 0) / "runs"

    def _slot(self, droplet_id: DropletId, number: int) -> Path:
        return self.root / "droplets" / _file_name(str(droplet_id)) / str(number)

    def _scratch(self, path: Path, text: str) -> Path:
        """A new file of mode 0600 beside `path`, with the text on the disk."""
        self.directory(*path.parent.relative_to(self.root).parts)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)


def _alive(pid: Any) -> bool:  # Any: a JSON value
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's, but alive
        return True
    return True


def _forsaken(lock: Path) -> bool:
    """Whether there is such a lock file, and nobody holds it."""
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)  # and with it, the lock
    return True


def _file_name(name: str) -> str:
    """One path segment for any name: a droplet may be called `../..`."""
    safe = quote(name, safe="")
    if len(safe) > _MAX_NAME:
        safe = f"{safe[:_MAX_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


def _check_ours(*paths: Path) -> None:
    """Refuse what another user may have written; links are followed.

    Root takes any owner's files: in containers it works in directories of the host's users.

    Raises:
        ConfigError: it belongs to somebody else, or everybody may write it; says what to do.
    """
    me = os.geteuid()
    for path in paths:
        found = path.stat()
        if found.st_uid not in (me, 0) and me != 0:
            raise ConfigError(
                [f"{path}: belongs to another user; name a data directory of your own (--data, UDC_DATA)"]
            )
        if found.st_mode & stat.S_IWOTH:
            raise ConfigError([f"{path}: everybody may write it; take that right away (chmod o-w)"])


def _close_to_others(path: Path) -> None:
    """Take the rights of group and others away: refusing to start would help nobody, staying silent neither."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        with suppress(PermissionError):
            path.chmod(0o600)
        _log.warning("secret file was readable by others; if they are strangers, make a new one", extra={"path": path})


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
