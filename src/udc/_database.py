"""How a droplet opens a database of its own. What does it, SQLite, is loaded when somebody opens one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from udc._sqlite import Database


class OpenDatabase(Protocol):
    """Opens a database; `open_database` is one."""

    def __call__(
        self, path: Path | str, migrations: Sequence[str], *, threads: bool = True
    ) -> AbstractAsyncContextManager[Database]:
        """See `udc._sqlite.Database.open`."""
        ...


def open_database(
    path: Path | str, migrations: Sequence[str], *, threads: bool = True
) -> AbstractAsyncContextManager[Database]:
    """See `udc._sqlite.Database.open`."""
    from udc._sqlite import Database

    return Database.open(path, migrations, threads=threads)
