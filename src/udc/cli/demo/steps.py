"""What a step of the tour is: a name, what it shows, and the coroutine that does it and checks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import anyio

from udc.cli.demo.processes import Child, Processes
from udc.cli.demo.seen import Seen
from udc.errors import UdcError

_LOOK_SECONDS: Final = 0.05


class StepFailed(UdcError):
    """Something did not happen that the step is there to show."""


def expect(truth: object, otherwise: str) -> None:
    """Go on only if it is true.

    Raises:
        StepFailed: it is not; with the words given.
    """
    if not truth:
        raise StepFailed(otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a step saw.

    Attributes:
        gist: for the closing table.
        facts: what was measured, for programs.
    """

    gist: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])  # Any: JSON values


class Audience(Protocol):
    """Who watches a step."""

    def line(self, text: str) -> None:
        """Something happened."""
        ...

    def waits(self, what: str) -> None:
        """It is waited for this now; "" = for nothing."""
        ...


class Stage:
    """What the steps work with.

    Args:
        mesh: asked from outside.
        droplets: the folder of the demo's droplets.
        audience: is told as it happens.

    Attributes:
        children: the processes that live, by name.
        said: every line that was told.
        waiting_for: what is waited for now, as the end of "waiting for …".
    """

    def __init__(self, *, mesh: Seen, processes: Processes, droplets: Path, audience: Audience) -> None:
        self.mesh: Seen = mesh
        self.processes: Processes = processes
        self.droplets: Path = droplets
        self._audience = audience
        self.children: dict[str, Child] = {}
        self.said: list[str] = []
        self.waiting_for: str = ""

    def say(self, text: str) -> None:
        """Tell what has just happened."""
        self.said.append(text)
        self._audience.line(text)

    def wait_for(self, what: str) -> None:
        """Note what is waited for from now on, for who asks why it takes so long."""
        self.waiting_for = what
        self._audience.waits(what)

    async def until(self, what: str, look: Callable[[], Awaitable[object]]) -> None:
        """Look again and again until it is so. The step's own limit ends it."""
        self.wait_for(what)
        while not await look():  # noqa: ASYNC110 - it happens in another process: only asking tells
            await anyio.sleep(_LOOK_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the tour.

    Attributes:
        name: one word.
        shows: what it is about, for people.
        play: does it, checks it by asking the mesh, and tells.
        seconds: how long it may take.
    """

    name: str
    shows: str
    play: Callable[[Stage], Awaitable[Told]]
    seconds: float = 10.0


def took(seconds: float) -> str:
    """A time as people read it: `34 ms`, `1.25 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
