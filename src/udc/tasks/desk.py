"""Takes tasks, runs each attempt once, and sees every one to its terminal message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
from pydantic_core import from_json

from udc._ids import Ambient
from udc._types import DropletId
from udc.errors import Conflict, Forbidden, NotFound, Overloaded
from udc.identity.claims import Principal
from udc.instrument import Instrument, TaskMoved, TaskReported
from udc.tasks.attempts import INTERRUPTED, Assignment, Attempt, Book, MemoryBook
from udc.tasks.done import Done
from udc.tasks.reports import Payload, Report, Reporter, Tell
from udc.wire.faults import answer_for

CANCELLED: Final = "CANCELLED"
"""The code of work that was cancelled with its trace."""

_HANDED_BACK: Final = "DRAINING: the droplet stopped before the task was done"
_CUT_OFF: Final = f"{INTERRUPTED}: the droplet ended while it worked on the task, and was started again"
_LINES: Final = 16
"""How many reports are on their way at once: after an outage hundreds may be waiting."""

_LAST_WORDS_SECONDS: Final = 5.0
"""How long a stopping droplet tries to bring its terminal messages home."""
_LAST_WRITE_SECONDS: Final = 5.0


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


@dataclass(slots=True, eq=False)
class _Run:
    assignment: Assignment
    attempt: Attempt
    reporter: Reporter
    kept: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    why: tuple[str, Payload] | None = None


class TaskDesk:
    """The tasks of one droplet (contract section 5).

    Args:
        tell: sends one report to the Orchestrator.
        spawn: runs background work as long as the droplet runs.
        limit: how many tasks may run at once.
        book: what keeps them over restarts; by default nothing does.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        tell: Tell,
        spawn: Callable[..., None],
        instrument: Instrument,
        ambient: Ambient,
        limit: Callable[[], int],
        book: Book | None = None,
    ) -> None:
        self._worker = worker
        self._send = tell
        self._spawn = spawn
        self._instrument = instrument
        self._ambient = ambient
        self._limit = limit
        self._book: Book = book or MemoryBook()
        self._running: dict[str, _Run] = {}
        self._done = Done(self._book)
        self._at_work = 0
        self._reporting = 0
        self._lines = anyio.Semaphore(_LINES)
        self._changed = anyio.Event()

    @property
    def running(self) -> int:
        """How many tasks are being worked on."""
        return len(self._running)

    async def accept(self, assignment: Assignment) -> bool:
        """Take one attempt at a task; whether that begins a run. Returns when it is on the disk, where there is one.

        The same attempt again changes nothing, in a later life neither; a later one joins the run that goes on.
        On cancel it may have been taken.

        Raises:
            NoHandler: no handler takes it.
            Conflict: an attempt older than one already known.
            Overloaded: as many tasks as allowed are running.
        """
        self._worker.knows(assignment.name)
        run = self._running.get(assignment.task_id)
        known = run.assignment.attempt if run is not None else self._done.attempt_at(assignment.task_id)
        if assignment.attempt < known:
            raise Conflict(
                f"task {assignment.task_id} is at attempt {known} already",
                details={"task_id": assignment.task_id, "attempt": known},
            )
        begins = run is None and assignment.attempt > known
        if begins:
            run = self._begin(assignment)
        elif run is not None and assignment.attempt > known:
            await self._join(run, assignment)
        if run is not None:
            await run.kept.wait()
        return begins

    def next_attempt(self, task_id: str) -> int | None:
        """The number of an attempt that comes without one; `None` while the last one goes on, or is not told yet."""
        return None if task_id in self._running else self._done.next_attempt(task_id)

    def cancel(self, task_id: str, *, by: Principal, orchestrator: DropletId) -> None:
        """Cancel a running task; harmless for one that is done.

        Raises:
            Forbidden: the caller is neither the Orchestrator, nor the giver of the task, nor admin.
            NotFound: this droplet does not know the task.
        """
        run = self._running.get(task_id)
        if run is None:
            if self._done.attempt_at(task_id):
                return
            raise NotFound(f"there is no task {task_id[:64]!r} here")
        if not by.may("admin") and by.droplet_id not in (orchestrator, run.assignment.principal.droplet_id):
            raise Forbidden("only the Orchestrator or an admin cancels a task")
        self._stop(run, "task_cancelled")

    def restore(self, attempts: Iterable[Attempt]) -> None:
        """Go on with what an earlier life left: tell what was not told, give up what was being worked on."""
        for attempt in attempts:
            run = self._running.get(attempt.task_id)
            if attempt.key in self._done or (run is not None and run.attempt.attempt >= attempt.attempt):
                continue
            if attempt.terminal is None and not attempt.told:
                attempt.end("task_failed", {"error": _CUT_OFF}, message_id=self._ambient.new_id())
                self._note(attempt, "interrupted")
            self._done.add(attempt)
            if not attempt.told:
                self._spawn_report(attempt, self._reporter(attempt))

    def remembered(self) -> Iterable[Attempt]:
        """All that a restart must know of."""
        return [*(run.attempt for run in self._running.values()), *self._done]

    async def drained(self) -> None:
        """Wait until no task runs, and what is left to say is on the disk; where there is none, until it is said."""
        while self._at_work or (self._reporting and not self._book.durable):
            self._changed = anyio.Event()
            await self._changed.wait()

    def hand_back(self) -> None:
        """Give up what still runs (`task_failed`, DRAINING)."""
        for run in list(self._running.values()):
            self._stop(run, "task_failed", error=_HANDED_BACK)

    async def last_words(self) -> None:
        """Try for 5 s to bring what is left to say home."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            while self._at_work or self._reporting:
                self._changed = anyio.Event()
                await self._changed.wait()

    def _stop(self, run: _Run, kind: str, **facts: str) -> None:
        run.why = run.why or (kind, facts)
        run.scope.cancel()

    def _begin(self, assignment: Assignment) -> _Run:
        if len(self._running) >= self._limit():
            raise Overloaded(f"{len(self._running)} tasks are running already", retry_after_seconds=5)
        attempt = self._attempt(assignment)
        run = _Run(assignment, attempt, self._reporter(attempt))
        run.reporter.acknowledged()
        self._running[assignment.task_id] = run
        self._at_work += 1
        self._note(attempt, "accepted")
        # Of the droplet's own, not of the request's: who asked may go away, and the task is taken all the same.
        self._spawn(lambda: self._work(run), name=f"task {assignment.task_id}")
        return run

    async def _join(self, run: _Run, assignment: Assignment) -> None:
        before, run.assignment, run.attempt = run.attempt, assignment, self._attempt(assignment)
        run.reporter.join(assignment.attempt, assignment.trace_id)
        await self._book.keep(run.attempt, instead_of=before.key)

    async def _work(self, run: _Run) -> None:
        kind: str = "task_failed"
        facts: Payload = {"error": _HANDED_BACK}
        try:
            await self._book.keep(run.attempt)
            run.kept.set()
            self._spawn_report(run.attempt, run.reporter, run)
            with run.scope:
                kind, facts = await self._outcome(run)
            if run.why is not None and kind != "task_completed":  # also when the handler made an error of it
                kind, facts = run.why
        finally:
            run.kept.set()
            with anyio.move_on_after(_LAST_WRITE_SECONDS, shield=True):
                await self._finish(run, kind, facts)

    async def _outcome(self, run: _Run) -> tuple[str, Payload]:
        try:
            data = await self._worker.run(run.assignment, run.reporter.progress)
        except Exception as error:  # noqa: BLE001 - a border: whatever a task raises is its result
            fault = answer_for(error)
            if fault.code == CANCELLED:
                return "task_cancelled", {}
            return "task_failed", {"error": f"{fault.code}: {fault.message}"}
        return "task_completed", {"result": from_json(data)}

    async def _finish(self, run: _Run, kind: str, facts: Payload) -> None:
        """Decide the terminal message, write it down, and only then let it be sent."""
        attempt = run.attempt
        attempt.end(kind, facts, message_id=self._ambient.new_id())
        self._running.pop(attempt.task_id, None)
        self._done.add(attempt)
        self._note(attempt, kind.removeprefix("task_"))
        try:
            await self._book.keep(attempt)
        finally:
            if attempt.terminal is not None:
                run.reporter.end(attempt.terminal, message_id=attempt.message_id)
            self._at_work -= 1
            self._changed.set()

    def _spawn_report(self, attempt: Attempt, reporter: Reporter, run: _Run | None = None) -> None:
        self._reporting += 1
        self._spawn(lambda: self._report(attempt, reporter, run), name=f"reports of task {attempt.task_id}")

    async def _report(self, attempt: Attempt, reporter: Reporter, run: _Run | None) -> None:
        try:
            if run is None and attempt.terminal is not None:  # of an earlier life
                await self._book.keep(attempt)
                reporter.end(attempt.terminal, message_id=attempt.message_id)
            await reporter.run()
            self._heard(attempt if run is None else run.attempt)  # which may have been joined by a later one
        finally:
            self._reporting -= 1
            self._changed.set()

    def _heard(self, attempt: Attempt) -> None:
        kind = "" if attempt.terminal is None else str(attempt.terminal["type"])
        attempt.heard()
        self._done.told(attempt)
        self._instrument.emit(
            TaskReported(task_id=attempt.task_id, kind=kind, attempt=attempt.attempt, trace_id=attempt.trace_id)
        )

    async def _tell(self, report: Report) -> object:
        async with self._lines:
            return await self._send(report)

    def _attempt(self, assignment: Assignment) -> Attempt:
        return Attempt(
            task_id=assignment.task_id,
            attempt=assignment.attempt,
            name=assignment.name,
            trace_id=assignment.trace_id,
            accepted_at=self._ambient.wall(),
        )

    def _reporter(self, attempt: Attempt) -> Reporter:
        return Reporter(
            self._tell,
            task_id=attempt.task_id,
            attempt=attempt.attempt,
            trace_id=attempt.trace_id,
            ambient=self._ambient,
        )

    def _note(self, attempt: Attempt, state: str) -> None:
        self._instrument.emit(
            TaskMoved(task_id=attempt.task_id, state=state, attempt=attempt.attempt, trace_id=attempt.trace_id)
        )
