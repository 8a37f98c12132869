"""The tasks that wait for a droplet, in lines: a round looks at those that it gives out, not at all that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Final, TypeAlias

from udc.mesh.orchestrator.task import Task
from udc.mesh.orchestrator.times import Times

_STALE: Final = 64

_Entry: TypeAlias = tuple[int, float, str, int]
"""Priority, age, id, version."""


class _Line:
    """Tasks that any of the same droplets can do: most urgent first, then oldest."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self._order: list[_Entry] = []

    def put(self, task: Task) -> None:
        self.tasks[task.task_id] = task
        heappush(self._order, _entry(task))
        if len(self._order) > 2 * len(self.tasks) + _STALE:
            self._order = [_entry(each) for each in self.tasks.values()]
            heapify(self._order)

    def first(self) -> _Entry | None:
        """The place of its first task; what has left meanwhile is cleared away."""
        while self._order:
            *_, task_id, version = entry = self._order[0]
            task = self.tasks.get(task_id)
            if task is not None and task.version == version:
                return entry
            heappop(self._order)
        return None

    def step_out(self) -> Task:
        """Its first task, which is looked at no more until it steps in again."""
        return self.tasks[heappop(self._order)[2]]

    def step_in(self, task: Task) -> None:
        heappush(self._order, _entry(task))


class Waiting:
    """A line for each capability and task type, and those that must not be given out yet."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, _Line]] = {}
        self._pausing: dict[str, Task] = {}
        self._pauses = Times()

    def put(self, task: Task) -> None:
        """Take in a task, or its next version."""
        if task.not_before:
            self._pausing[task.task_id] = task
            self._pauses.set(task.task_id, task.not_before)
        else:
            self._line_up(task)

    def drop(self, task: Task) -> None:
        """It waits no more; harmless when it did not."""
        self._pausing.pop(task.task_id, None)
        self._pauses.drop(task.task_id)
        lines = self._lines.get(task.capability, {})
        line = lines.get(task.task_type)
        if line is not None and line.tasks.pop(task.task_id, None) is not None and not line.tasks:
            del lines[task.task_type]
            if not lines:
                del self._lines[task.capability]

    def next_pause(self) -> float | None:
        """When the next pause ends, in seconds since the epoch."""
        return self._pauses.next()

    def end_pauses(self, wall: float) -> None:
        """Line up those whose pause is over."""
        while (task_id := self._pauses.due(wall)) is not None:
            self._pauses.drop(task_id)
            self._line_up(self._pausing.pop(task_id))

    @property
    def wanted(self) -> Iterable[str]:
        """The capabilities that tasks in a line need."""
        return tuple(self._lines)

    def give(
        self,
        capabilities: Iterable[str],
        *,
        to_somebody: Callable[[Task], bool],
        passing: Callable[[Task], bool],
        most: int,
    ) -> None:
        """Give out tasks that need these, most urgent first, then oldest. They stay here until they are dropped.

        Args:
            to_somebody: finds who takes a task; false = nobody does, nor any other of its line.
            passing: whether a task is not to be given now.
            most: how many are given.
        """
        lines = [line for capability in capabilities for line in self._lines.get(capability, {}).values()]
        heads = [(*entry, number, line) for number, line in enumerate(lines) if (entry := line.first()) is not None]
        heapify(heads)
        aside: list[tuple[_Line, Task]] = []
        given = 0
        try:
            while heads and given < most:
                *_, number, line = heappop(heads)
                task = line.step_out()
                aside.append((line, task))
                if not passing(task):
                    if not to_somebody(task):
                        continue
                    given += 1
                entry = line.first()
                if entry is not None:
                    heappush(heads, (*entry, number, line))
        finally:  # whatever happens: who is not in the line again is never looked at
            for line, task in aside:
                line.step_in(task)

    def _line_up(self, task: Task) -> None:
        self._lines.setdefault(task.capability, {}).setdefault(task.task_type, _Line()).put(task)


def _entry(task: Task) -> _Entry:
    return task.priority, task.created_at, task.task_id, task.version
