"""What `udc demo` does: the tour in a folder of its own, and nothing left of it afterwards."""

from __future__ import annotations

import errno
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._http import HttpClient
from udc._serve.ending import end_process
from udc._wiring.surroundings import Surroundings
from udc.cli.demo.colours import Colours
from udc.cli.demo.processes import Processes
from udc.cli.demo.seen import Running
from udc.cli.demo.steps import Stage, Step
from udc.cli.demo.story import STEPS
from udc.cli.demo.telling import JsonLines, PlainLines
from udc.cli.demo.tour import Teller, play
from udc.cli.faults import SAID_NO, reader_gone, say

DROPLETS: Final = Path(__file__).parent / "_droplets"
LONGEST_SECONDS: Final = 35.0
"""How long the tour may take in all; stopping comes on top."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNAL_EXIT: Final = 128


def demo(*, once: bool, as_json: bool, droplets: Path = DROPLETS, steps: Sequence[Step] = STEPS) -> int:
    """Take the tour; returns the exit code.

    Args:
        once: end after it, else the mesh goes on until a signal comes.
        as_json: one object for each step on stdout.
        droplets: where the demo's droplets lie.
        steps: the story.

    Raises:
        BrokenPipeError: nobody reads stdout any more; all processes have been stopped.
    """
    teller = _teller(as_json=as_json)
    try:
        return anyio.run(_Demo(teller, once=once, droplets=droplets, steps=steps).run)
    except ExceptionGroup as group:
        if not reader_gone(group):
            raise
        # Alone it is no bug to the command line, but the quiet end of a program in a pipe.
        raise BrokenPipeError(errno.EPIPE, "nobody reads stdout any more") from None
    finally:
        if isinstance(teller, Colours):
            teller.close()


def _teller(*, as_json: bool) -> Teller:
    if as_json:
        return JsonLines()
    fancy = sys.stdout.isatty() and (sys.stdout.encoding or "").lower().startswith("utf")
    return Colours() if fancy else PlainLines()


class _Demo:
    def __init__(self, teller: Teller, *, once: bool, droplets: Path, steps: Sequence[Step]) -> None:
        self._teller = teller
        self._once = once
        self._droplets = droplets
        self._steps = steps
        self._toured = False
        self._code = SAID_NO

    async def run(self) -> int:
        """Returns the exit code, when nothing is left of it all."""
        tour = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._hear, tour)
            # What the children still write while they end must not be in the way.
            with TemporaryDirectory(prefix="udc-demo-", ignore_cleanup_errors=True) as folder:
                processes = Processes(Path(folder), Surroundings.of_process().environ)
                try:
                    with tour:
                        await self._tour(processes)
                finally:
                    await processes.close()
            tasks.cancel_scope.cancel()
        return self._code

    async def _tour(self, processes: Processes) -> None:
        async with HttpClient() as http:
            mesh = Running(processes.data, http)
            stage = Stage(mesh=mesh, processes=processes, droplets=self._droplets, audience=self._teller)
            if not await play(stage, self._steps, self._teller, seconds=LONGEST_SECONDS):
                return
            self._code = 0
            self._toured = True
            if not self._once:
                self._teller.stays(commands(processes.data))
                await anyio.sleep_forever()

    async def _hear(
        self, tour: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """The first signal ends the demo in order; a second one at once: its children see that it has gone."""
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            task_status.started()
            heard = False
            async for number in signals:
                if heard:
                    end_process(_SIGNAL_EXIT + number)
                heard = True
                say("stopping all processes of the demo; a second signal ends it at once")
                self._code = 0 if self._toured else _SIGNAL_EXIT + number
                tour.cancel()


def commands(data: Path) -> Mapping[str, str]:
    """What to try while the mesh goes on: command → what it does."""
    where = f"--data {shlex.quote(str(data))}"
    return {
        f"udc ls {where}": "who is there",
        f"udc inspect Oven {where}": "what Oven can do, and how it fares",
        f"udc call Counter offer item=brioche count:=3 {where}": "ask; Counter asks Pantry and Oven",
        f"udc send Pantry delivered grams:=9000 {where}": "tell Pantry what happened",
        f"udc tasks create bake item=rye loaves:=3 --wait {where}": "have something baked, and wait for it",
        f"udc tasks ls {where}": "all tasks so far",
    }
