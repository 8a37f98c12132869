"""The attempts that have come to their end, so that none is begun again: as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from udc.tasks.attempts import Attempt, Book, Key

REMEMBERED: Final = 10_000
"""How many tasks that are done and told are remembered."""


class Done:
    """Ended attempts: of each task the newest, and all whose terminal message has not been heard.

    Args:
        book: told of what need not be remembered any longer.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._newest: OrderedDict[str, Attempt] = OrderedDict()
        self._untold: dict[Key, Attempt] = {}

    def attempt_at(self, task_id: str) -> int:
        """The newest attempt of the task that has ended; 0 = none is known."""
        newest = self._newest.get(task_id)
        return 0 if newest is None else newest.attempt

    def next_attempt(self, task_id: str) -> int | None:
        """The number after that; `None` while its terminal message has not been heard."""
        newest = self._newest.get(task_id)
        if newest is None:
            return 1
        return newest.attempt + 1 if newest.told else None

    def add(self, attempt: Attempt) -> None:
        """It has ended."""
        if not attempt.told:
            self._untold[attempt.key] = attempt
        before = self._newest.get(attempt.task_id)
        if before is not None and before.attempt > attempt.attempt:
            return
        self._newest[attempt.task_id] = attempt
        self._newest.move_to_end(attempt.task_id)
        if before is not None:
            self._forget(before)
        if len(self._newest) > REMEMBERED:
            self._forget(self._newest.popitem(last=False)[1])

    def told(self, attempt: Attempt) -> None:
        """Its terminal message has been heard."""
        self._untold.pop(attempt.key, None)
        if self._newest.get(attempt.task_id) is attempt:
            self._book.note(attempt)
        else:
            self._book.drop(attempt)

    def __contains__(self, key: Any) -> bool:  # Any: whatever is asked for
        newest = self._newest.get(key[0])
        return key in self._untold or (newest is not None and newest.key == key)

    def __iter__(self) -> Iterator[Attempt]:
        yield from (attempt for attempt in self._newest.values() if attempt.told)
        yield from self._untold.values()

    def _forget(self, attempt: Attempt) -> None:
        if attempt.told:  # else when it has been
            self._book.drop(attempt)
