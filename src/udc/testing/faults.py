"""`Faults`: what a test does to the droplets of its mesh and to the network between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from udc.testing.roster import Who
from udc.testing.troubles import Trouble

if TYPE_CHECKING:
    from udc.testing.house import House

__all__ = ["Faults"]


class Faults:
    """Breaks things. Droplets are named by id, name, or themselves; `world.faults` is one.

    A droplet means all its instances; name one of them (`world.instances`) to mean it alone. Each method raises
    `UnknownPeer` for a droplet that the mesh does not have.
    """

    def __init__(self, house: House) -> None:
        self._house = house

    def crash(self, who: Who) -> None:
        """End a droplet as `kill -9` would, as far as anybody else can tell.

        Connections are refused, requests in hand break off, and nothing that it still does gets out. Its
        `lifespan` and `@on_stop` hooks are unwound all the same, so that the test leaks nothing.
        """
        for member in self._house.roster.find(who):
            self._house.kill(member)

    async def restart(self, who: Who) -> None:
        """Begin a fresh life of a droplet: at once after a crash, else after a graceful stop. One instance at a time.

        It is a new object where `mesh` was given a class or function, else the same object hosted anew.

        Raises:
            Exception: what the end of the old or the start of the new life raised.
        """
        for member in self._house.roster.find(who):
            await self._house.restart(member)

    def pause(self, who: Who) -> None:
        """Requests to a droplet wait until `heal`."""
        for trouble in self._troubles(who):
            trouble.paused = trouble.paused or anyio.Event()

    def slow(self, who: Who, seconds: float) -> None:
        """Each request to a droplet takes so much longer to get there."""
        for trouble in self._troubles(who):
            trouble.delay_seconds = seconds

    def lose_answers(self, who: Who, times: int = 1, *, path: str | None = "/message") -> None:
        """The droplet does its work, but its next answers are lost: the caller sees the connection break.

        Args:
            times: how many answers, of each instance.
            path: only answers to requests for this path; `None` = all, the probes of its peers included.
        """
        for trouble in self._troubles(who):
            trouble.lost, trouble.lost_path = times, path

    def refuse(self, who: Who) -> None:
        """Connections to a droplet are refused, while it lives on."""
        for trouble in self._troubles(who):
            trouble.refused = True

    def heal(self, who: Who | None = None) -> None:
        """End `pause`, `slow`, `lose_answers` and `refuse` for one droplet, or for all. Brings nobody back to life."""
        if who is None:
            self._house.troubles.heal()
            return
        for member in self._house.roster.find(who):
            self._house.troubles.heal(member.endpoint)

    def _troubles(self, who: Who) -> list[Trouble]:
        return [self._house.troubles.at(member.endpoint) for member in self._house.roster.find(who)]
