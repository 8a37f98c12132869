"""Takes tasks, runs each attempt once, and sees every one to its terminal message."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import anyio
from pydantic_core import from_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import Conflict, Forbidden, NotFound, Overloaded
from udc.identity.claims import Principal
from udc.instrument import Instrument, TaskMoved
from udc.tasks.reports import Payload, Reporter
from udc.wire.faults import answer_for

CANCELLED: Final = "CANCELLED"
"""The code of work that was cancelled with its trace."""

_REMEMBERED: Final = 10_000
_LAST_WORDS_SECONDS: Final = 5.0
"""How long a stopping droplet tries to bring its terminal messages home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt at a task, as the Orchestrator gave it."""

    task_id: str
    name: str
    data: Any  # Any: JSON values
    trace_id: str
    attempt: int
    deadline: datetime | None
    principal: Principal


class Worker(Protocol):
    """Runs the handler of an assignment."""

    def knows(self, name: str) -> None:
        """Check that a handler takes tasks of this name.

        Raises:
            NoHandler: none does.
        """
        ...

    async def run(self, assignment: Assignment, progress: Callable[[float, str], Awaitable[None]]) -> bytes:
        """The handler's result as JSON; raises what the handler raised."""
        ...


@dataclass(slots=True)
class _Run:
    assignment: Assignment
    reporter: Reporter
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    why: tuple[str, dict[str, Any]] | None = None  # Any: JSON values


class TaskDesk:
    """The tasks of one droplet (contract section 5).

    Args:
        tell: sends one event payload of a task to the Orchestrator, in the task's trace.
        spawn: runs background work as long as the droplet runs.
        limit: how many tasks may run at once.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        tell: Callable[[Assignment, Payload], Awaitable[object]],
        spawn: Callable[..., None],
        instrument: Instrument,
        ambient: Ambient,
        limit: Callable[[], int],
    ) -> None:
        self._worker = worker
        self._tell = tell
        self._spawn = spawn
        self._instrument = instrument
        self._ambient = ambient
        self._limit = limit
        self._running: dict[str, _Run] = {}
        self._reporting = 0
        self._done: OrderedDict[str, int] = OrderedDict()
        self._changed = anyio.Event()

    @property
    def running(self) -> int:
        """How many tasks are being worked on."""
        return len(self._running)

    def accept(self, assignment: Assignment) -> bool:
        """Take one attempt at a task; whether that begins a run.

        The same attempt again changes nothing; a later one joins the run that goes on.

        Raises:
            NoHandler: no handler takes it.
            Conflict: an attempt older than one already known.
            Overloaded: as many tasks as allowed are running.
        """
        self._worker.knows(assignment.name)
        run = self._running.get(assignment.task_id)
        known = run.assignment.attempt if run else self._done.get(assignment.task_id, 0)
        if assignment.attempt < known:
            raise Conflict(
                f"task {assignment.task_id} is at attempt {known} already",
                details={"task_id": assignment.task_id, "attempt": known},
            )
        if run is not None and assignment.attempt > known:
            run.assignment = assignment
            run.reporter.join(assignment.attempt)
        if run is not None or assignment.attempt == known:
            return False
        if len(self._running) >= self._limit():
            raise Overloaded(f"{len(self._running)} tasks are running already", retry_after_seconds=5)
        self._begin(assignment)
        return True

    def cancel(self, task_id: str, *, by: Principal, orchestrator: DropletId) -> None:
        """Cancel a running task; harmless for one that is done.

        Raises:
            Forbidden: the caller is neither the Orchestrator, nor the giver of the task, nor admin.
            NotFound: this droplet does not know the task.
        """
        run = self._running.get(task_id)
        if run is None:
            if task_id in self._done:
                return
            raise NotFound(f"there is no task {task_id[:64]!r} here")
        if not by.may("admin") and by.droplet_id not in (orchestrator, run.assignment.principal.droplet_id):
            raise Forbidden("only the Orchestrator or an admin cancels a task")
        self._stop(run, "task_cancelled")

    async def drained(self) -> None:
        """Wait until no task runs and every terminal message has arrived."""
        while self._running or self._reporting:
            self._changed = anyio.Event()
            await self._changed.wait()

    def hand_back(self) -> None:
        """Give up what still runs (`task_failed`, DRAINING)."""
        for run in list(self._running.values()):
            self._stop(run, "task_failed", error="DRAINING: the droplet stopped before the task was done")

    async def last_words(self) -> None:
        """Try for 5 s to bring what is left to say home."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            await self.drained()

    def _stop(self, run: _Run, kind: str, **facts: str) -> None:
        run.why = run.why or (kind, facts)
        run.scope.cancel()

    def _begin(self, assignment: Assignment) -> None:
        async def tell(payload: Payload) -> object:
            return await self._tell(assignment, payload)

        reporter = Reporter(tell, task_id=assignment.task_id, attempt=assignment.attempt, ambient=self._ambient)
        run = _Run(assignment, reporter)
        self._running[assignment.task_id] = run
        self._reporting += 1
        self._note(assignment, "accepted")
        self._spawn(lambda: self._work(run), name=f"task {assignment.task_id}")
        self._spawn(lambda: self._report(run), name=f"reports of task {assignment.task_id}")

    async def _work(self, run: _Run) -> None:
        kind, facts = "task_failed", {"error": "DRAINING: the droplet stopped before the task was done"}
        try:
            with run.scope:
                kind, facts = await self._outcome(run)
            if run.why is not None and kind != "task_completed":  # also when the handler made an error of it
                kind, facts = run.why
        finally:
            self._finish(run, kind, facts)

    async def _outcome(self, run: _Run) -> tuple[str, dict[str, Any]]:  # Any: JSON values
        try:
            data = await self._worker.run(run.assignment, run.reporter.progress)
        except Exception as error:  # noqa: BLE001 - a border: whatever a task raises is its result
            fault = answer_for(error)
            if fault.code == CANCELLED:
                return "task_cancelled", {}
            return "task_failed", {"error": f"{fault.code}: {fault.message}"}
        return "task_completed", {"result": from_json(data)}

    def _finish(self, run: _Run, kind: str, facts: dict[str, Any]) -> None:  # Any: JSON values
        task_id = run.assignment.task_id
        run.reporter.end(kind, **facts)
        self._running.pop(task_id, None)
        self._done[task_id] = run.assignment.attempt
        self._done.move_to_end(task_id)
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        self._note(run.assignment, kind.removeprefix("task_"))
        self._changed.set()

    async def _report(self, run: _Run) -> None:
        try:
            await run.reporter.run()
        finally:
            self._reporting -= 1
            self._changed.set()

    def _note(self, assignment: Assignment, state: str) -> None:
        self._instrument.emit(
            TaskMoved(task_id=assignment.task_id, state=state, attempt=assignment.attempt, trace_id=assignment.trace_id)
        )
