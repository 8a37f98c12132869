"""Hosts the droplets of a test: configuration, addresses, one network, one task group."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from udc import _ids
from udc._types import DropletId
from udc._wiring.surroundings import Surroundings
from udc.droplet import Droplet
from udc.testing.lives import Arrival, Life, Line
from udc.testing.members import Make, Member
from udc.testing.recorder import Recorder
from udc.testing.registry import FakeRegistry
from udc.testing.roster import Roster
from udc.testing.troubles import Troubles
from udc.testing.virtual import is_virtual
from udc.transports.memory import MemoryNetwork

GRACE_SECONDS: Final = 5.0
"""How long a droplet drains when it is stopped, unless it is configured: a test should not hang for 25 s."""

_STOP_SECONDS: Final = 10.0
_KNOWN_SECONDS: Final = 1.0
"""How long a start waits until the Registry and the others know the droplet; a test may have broken that."""

_log = logging.getLogger("udc")


class House:
    """The droplets of one test.

    Args:
        droplets: instances, or what makes one.
        seed: of every id and chance in the mesh.
        foreign: names or ids of those that the others take for strangers' droplets.
        config: further settings for every droplet.
        epoch: wall time at the beginning, seconds.
        data: the data directory; `None` = all is kept in memory.
    """

    def __init__(
        self,
        droplets: Sequence[Droplet | Make],
        *,
        seed: int,
        foreign: Iterable[DropletId],
        config: Mapping[str, Any],  # Any: values of many types
        epoch: float,
        data: Path | None = None,
    ) -> None:
        self._seed = seed
        self._config = dict(config)
        self._epoch = epoch
        self._data = data
        self._began = anyio.current_time()
        self._virtual = is_virtual()
        self.events: Recorder = Recorder()
        self.troubles: Troubles = Troubles()
        self.network: MemoryNetwork = MemoryNetwork(faults=self.troubles)
        self.roster: Roster = Roster(droplets, foreign)
        self.registry: Member = self.roster.registry
        self.orchestrator: Member = self.roster.orchestrator
        self.troubles.watch(self.registry.endpoint, self._registry_is_down)
        self._tasks: TaskGroup | None = None
        self._log_level = _log.level

    @property
    def fake_registry(self) -> FakeRegistry:
        """The Registry's droplet.

        Raises:
            TypeError: it is another one, whose keys are its own.
        """
        droplet = self.registry.droplet
        if not isinstance(droplet, FakeRegistry):
            raise TypeError(
                f"the Registry of this mesh is a {type(droplet).__name__}, not a FakeRegistry: "
                "it has none of its knobs, and signs tokens for nobody but those who ask it"
            )
        return droplet

    @property
    def secret(self) -> str:
        """What the Registry takes for a token."""
        secret: str = getattr(self.registry.droplet, "secret")  # noqa: B009 - any Registry's, see `Roster`
        return secret

    def wall(self) -> float:
        """Seconds since the epoch: as much later than at the beginning as the event loop's clock says."""
        return self._epoch + anyio.current_time() - self._began

    def ambient(self, who: str) -> _ids.Ambient:
        """Ids and chances of one's own, the same for the same seed."""
        digest = sha256(f"{self._seed}/{who}".encode()).digest()
        return _ids.seeded(int.from_bytes(digest[:8]), self.wall)

    async def open(self, tasks: TaskGroup) -> None:
        """Start everybody in turn: the Registry, the Orchestrator, the others as they were given.

        Raises:
            Exception: what a droplet's start raised; those before it run.
        """
        self._tasks = tasks
        # Each droplet puts back the level that it found, and they do not end in the order in which they began.
        self._log_level = _log.level
        core = (self.registry, self.orchestrator)
        for member in (*core, *(each for each in self.roster.members if each not in core)):
            await self._begin(member)
        await self._acquaint()

    async def add(self, given: Droplet | Make) -> Member:
        """Take in one more and start it.

        Raises:
            ConfigError: it cannot be told from another one.
            Exception: what its start raised; then it is not in the mesh.
        """
        member = self.roster.add(given)
        self._introduce()
        try:
            await self.start(member)
        except BaseException:
            self.roster.drop(member)
            self._introduce()
            raise
        return member

    async def start(self, member: Member) -> None:
        """Begin a life and wait until it is ready, and known to the others where the Registry can tell them.

        Raises:
            Exception: what its start raised.
        """
        if await self._begin(member):
            await self._acquaint()

    async def stop(self, member: Member, *, at_once: bool = False) -> None:
        """End its life gracefully; bounded. Twice is harmless.

        Raises:
            Exception: what its end raised.
        """
        life = member.life
        if life is None:
            return
        life.hosted.request_stop(at_once=at_once or life.killed)
        limit = 2 * self._grace_of(member) + _STOP_SECONDS
        with anyio.move_on_after(limit):
            await life.over.wait()
        if not life.over.is_set():
            life.kill()
            raise TimeoutError(f"{member.label} did not stop within {limit:g} s and was killed")
        member.life = None
        if life.error is not None:
            raise life.error

    def kill(self, member: Member) -> None:
        """End its life at once, as far as the others can tell. Twice is harmless."""
        if member.life is not None:
            member.life.kill()

    async def restart(self, member: Member) -> None:
        """A fresh life, after the end of the one before.

        Raises:
            Exception: what the end of the old or the start of the new one raised.
        """
        await self.stop(member)
        member.droplet = member.make()
        await self.start(member)

    async def stop_all(self, members: Iterable[Member], *, at_once: bool = False) -> list[Exception]:
        """Stop them side by side; returns what went wrong with it."""
        errors: list[Exception] = []

        async def end(member: Member) -> None:
            try:
                await self.stop(member, at_once=at_once)
            except Exception as error:  # noqa: BLE001 - a border: collected, so that all get stopped
                errors.append(error)

        async with anyio.create_task_group() as ending:
            for member in members:
                ending.start_soon(end, member)
        return errors

    async def close(self, *, at_once: bool) -> list[Exception]:
        """Stop everybody, the Orchestrator and the Registry last; returns what went wrong with it."""
        self.troubles.heal()
        last = (self.orchestrator, self.registry)
        errors = await self.stop_all([each for each in self.roster.members if each not in last], at_once=at_once)
        for member in last:
            errors += await self.stop_all([member], at_once=at_once)
        _log.setLevel(self._log_level)
        return errors

    async def _begin(self, member: Member) -> bool:
        """Begin a life; returns, when it is ready, whether the Registry has taken it in."""
        if self._tasks is None:
            raise RuntimeError("this mesh is not open: use it in 'async with'")
        member.lives += 1
        line, arrival = Line(self.network), Arrival()
        hosted = member.droplet._host(self._surroundings(member, line, arrival))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # for us and adapters
        member.facts = hosted.parts.facts
        life = Life(hosted, endpoint=member.endpoint, line=line, network=self.network)
        member.life = life
        self._tasks.start_soon(life.run, name=f"droplet {member.label}")
        await life.started()
        if hosted.parts.membership.registry is None or not hosted.config.registry.auto_register:
            return False
        with anyio.move_on_after(_KNOWN_SECONDS):
            return await arrival.registered()
        return False

    async def _acquaint(self) -> None:
        """Let everybody ask the Registry now who there is, as they do by themselves a moment later."""

        async def ask(member: Member) -> None:
            if member.alive and member.life is not None:
                await member.life.hosted.parts.directory.refresh()

        with anyio.move_on_after(_KNOWN_SECONDS):
            async with anyio.create_task_group() as asking:
                for member in self.roster.members:
                    asking.start_soon(ask, member)

    def _introduce(self) -> None:
        """Who is configured as a peer has changed: those who run take it as from a file that they read anew."""
        for member in self.roster.members:
            member.peers[:] = self.roster.peers_of(member)
            if member.alive and member.life is not None:
                member.life.hosted.parts.settings.reload(None)

    def _registry_is_down(self) -> bool:
        droplet = self.registry.droplet
        return isinstance(droplet, FakeRegistry) and droplet.is_down

    def _grace_of(self, member: Member) -> float:
        wanted = self._config.get("limits.grace_seconds", member.grace_seconds)
        return GRACE_SECONDS if wanted is None else float(wanted)

    def _surroundings(self, member: Member, line: Line, arrival: Arrival) -> Surroundings:
        hooks = [self.events.hook(member.name, instance=member.instance), arrival]
        return Surroundings(
            explicit=self._settings(member),
            ambient=self.ambient(f"{member.key}/{member.lives}"),
            loopback=True,
            make_client=line.make_client,
            threads=not self._virtual,
            sample_process=not self._virtual,
            disk=self._data is not None and member not in (self.registry, self.orchestrator),
            open_database=line.open_database,
            hooks=[line.while_alive(hook) for hook in hooks],
        )

    def _settings(self, member: Member) -> dict[str, Any]:  # Any: values of many types
        member.peers[:] = self.roster.peers_of(member)
        settings: dict[str, Any] = {  # Any: values of many types
            "droplet.url": member.endpoint,
            "registry.id": self.registry.id,
            "registry.url": self.registry.endpoint,
            "orchestrator.id": self.orchestrator.id,
            "orchestrator.url": self.orchestrator.endpoint,
            "peers": member.peers,
        }
        if member is not self.registry:
            settings["droplet.secret"] = self.secret
        if isinstance(self.registry.droplet, FakeRegistry):
            settings["security.jwt_issuer"] = self.registry.droplet.keys.issuer
            settings["security.jwt_audience"] = self.registry.droplet.keys.audience
        if not member.ours:
            # Its record would carry our mark, and nobody would take it for a stranger any more.
            settings["registry.auto_register"] = False
        if self._data is not None:
            settings["data"] = self._data
        if member.grace_seconds is None:
            settings["limits.grace_seconds"] = GRACE_SECONDS
        return {**settings, **self._config}
