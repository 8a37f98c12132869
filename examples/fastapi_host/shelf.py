"""The books of the shop: its own business, which knows nothing of FastAPI or droplets."""

from __future__ import annotations

import sqlite3


class SoldOut(Exception):
    """The last copy is gone."""

    def __init__(self, title: str) -> None:
        super().__init__(f"{title} is sold out")


class Shelf:
    """Titles and how many copies there are, in a database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE books (title TEXT PRIMARY KEY, copies INTEGER NOT NULL)")
        self.add("dune", 2)

    def all(self) -> dict[str, int]:
        return dict(self._database.execute("SELECT title, copies FROM books ORDER BY title").fetchall())

    def left(self, title: str) -> int:
        return self.all().get(title, 0)

    def add(self, title: str, copies: int) -> int:
        """Put copies there; how many there are then."""
        self._database.execute(
            "INSERT INTO books VALUES (?, ?) ON CONFLICT (title) DO UPDATE SET copies = copies + excluded.copies",
            (title, copies),
        )
        return self.left(title)

    def take(self, title: str) -> int:
        """Take one copy; how many are left.

        Raises:
            SoldOut: there is none.
        """
        if not self.left(title):
            raise SoldOut(title)
        return self.add(title, -1)
