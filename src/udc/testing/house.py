"""Hosts the droplets of a test: configuration, addresses, one network, one task group."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from udc import _ids
from udc import config as configuration
from udc._types import DropletId
from udc._wiring.surroundings import Surroundings
from udc.droplet import Droplet
from udc.errors import ConfigError, UnknownPeer
from udc.testing.lives import Life, Line
from udc.testing.orchestrator import FakeOrchestrator
from udc.testing.recorder import Recorder
from udc.testing.registry import FakeRegistry
from udc.testing.troubles import Troubles
from udc.testing.virtual import is_virtual
from udc.transports.memory import MemoryNetwork

GRACE_SECONDS: Final = 5.0
"""How long a droplet drains when it is stopped, unless it is configured: a test should not hang for 25 s."""

_STOP_SECONDS: Final = 10.0

_log = logging.getLogger("udc")

Make = Callable[[], Droplet]


@dataclass(slots=True, eq=False)
class Member:
    """One droplet of the mesh, over all its lives."""

    make: Make
    droplet: Droplet
    id: int
    name: str
    endpoint: str
    ours: bool
    grace_seconds: float | None
    life: Life | None = None
    lives: int = 0


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
        self.members: list[Member] = _members(droplets, frozenset(foreign))
        if "limits.grace_seconds" in self._config:
            for member in self.members:
                member.grace_seconds = float(self._config["limits.grace_seconds"])
        self.registry: Member = _only(self.members, FakeRegistry)
        self.orchestrator: Member = _only(self.members, FakeOrchestrator)
        self.troubles.watch(self.registry.endpoint, lambda: self.fake_registry.is_down)
        self._tasks: TaskGroup | None = None
        self._log_level = _log.level

    @property
    def fake_registry(self) -> FakeRegistry:
        """The Registry's droplet."""
        if not isinstance(self.registry.droplet, FakeRegistry):
            raise TypeError("the Registry of a mesh is a FakeRegistry")
        return self.registry.droplet

    def find(self, who: DropletId | Droplet) -> Member:
        """The member of that id or name, or that is that droplet.

        Raises:
            UnknownPeer: there is none; the text lists who there is.
        """
        for member in self.members:
            if who is member.droplet or who in (member.id, member.name):
                return member
        folded = [m for m in self.members if isinstance(who, str) and m.name.casefold() == who.casefold()]
        if len(folded) == 1:
            return folded[0]
        known = ", ".join(f"{member.name!r} ({member.id})" for member in self.members)
        label = who if isinstance(who, int | str) else type(who).__name__
        raise UnknownPeer(f"no droplet of this mesh is {label!r}; there are: {known}", peer=label)

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
        others = [m for m in self.members if m not in (self.registry, self.orchestrator)]
        for member in (self.registry, self.orchestrator, *others):
            await self.start(member)

    async def start(self, member: Member) -> None:
        """Begin a life and wait until it is ready.

        Raises:
            Exception: what its start raised.
        """
        if self._tasks is None:
            raise RuntimeError("this mesh is not open: use it in 'async with'")
        member.lives += 1
        line = Line(self.network)
        hosted = member.droplet._host(self._surroundings(member, line))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # for us and adapters
        life = Life(hosted, endpoint=member.endpoint, line=line, network=self.network)
        member.life = life
        self._tasks.start_soon(life.run, name=f"droplet {member.name}")
        await life.started()

    async def stop(self, member: Member, *, at_once: bool = False) -> None:
        """End its life gracefully; bounded. Twice is harmless.

        Raises:
            Exception: what its end raised.
        """
        life = member.life
        if life is None:
            return
        life.hosted.request_stop(at_once=at_once or life.killed)
        grace = GRACE_SECONDS if member.grace_seconds is None else member.grace_seconds
        with anyio.move_on_after(2 * grace + _STOP_SECONDS):
            await life.over.wait()
        if not life.over.is_set():
            life.kill()
            raise TimeoutError(f"{member.name} did not stop within {2 * grace + _STOP_SECONDS:g} s and was killed")
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

    async def close(self, *, at_once: bool) -> list[Exception]:
        """Stop everybody, the Orchestrator and the Registry last; returns what went wrong with it."""
        errors: list[Exception] = []

        async def end(member: Member) -> None:
            try:
                await self.stop(member, at_once=at_once)
            except Exception as error:  # noqa: BLE001 - a border: collected, so that all get stopped
                errors.append(error)

        self.troubles.heal()
        last = (self.orchestrator, self.registry)
        async with anyio.create_task_group() as ending:
            for member in self.members:
                if member not in last:
                    ending.start_soon(end, member)
        for member in last:
            await end(member)
        _log.setLevel(self._log_level)
        return errors

    def peers_of(self, member: Member | None) -> list[dict[str, Any]]:  # Any: settings of a peer
        """Everybody else, as the configuration lists peers."""
        return [
            {"id": m.id, "name": m.name, "endpoint": m.endpoint, "ours": m.ours}
            for m in self.members
            if m is not member
        ]

    def _surroundings(self, member: Member, line: Line) -> Surroundings:
        return Surroundings(
            explicit=self._settings(member),
            ambient=self.ambient(f"{member.id}/{member.lives}"),
            loopback=True,
            make_client=line.make_client,
            threads=not self._virtual,
            sample_process=not self._virtual,
            disk=self._data is not None and member not in (self.registry, self.orchestrator),
            open_database=line.open_database,
            hooks=[line.while_alive(self.events.hook(member.name))],
        )

    def _settings(self, member: Member) -> dict[str, Any]:  # Any: values of many types
        issuer = self.fake_registry.keys
        settings: dict[str, Any] = {  # Any: values of many types
            "droplet.url": member.endpoint,
            "droplet.secret": self.fake_registry.secret,
            "registry.id": self.registry.id,
            "registry.url": self.registry.endpoint,
            "orchestrator.id": self.orchestrator.id,
            "orchestrator.url": self.orchestrator.endpoint,
            "security.jwt_issuer": issuer.issuer,
            "security.jwt_audience": issuer.audience,
            "peers": self.peers_of(member),
        }
        if not member.ours:
            # Its record would carry our mark, and nobody would take it for a stranger any more.
            settings["registry.auto_register"] = False
        if self._data is not None:
            settings["data"] = self._data
        if member.grace_seconds is None:
            settings["limits.grace_seconds"] = GRACE_SECONDS
        return {**settings, **self._config}


def _members(droplets: Sequence[Droplet | Make], foreign: frozenset[DropletId]) -> list[Member]:
    """The droplets and where they live; a Registry and an Orchestrator are added where none is given.

    Raises:
        ConfigError: a droplet has no id or name, or two have the same.
    """
    given = [_member(each) for each in droplets]
    for fake in (FakeRegistry, FakeOrchestrator):
        if not any(isinstance(member.droplet, fake) for member in given):
            given.append(_member(fake()))
    unknown = foreign - {member.id for member in given} - {member.name for member in given}
    problems = [f"foreign: no droplet of this mesh is {who!r}" for who in unknown]
    for index, member in enumerate(given):
        member.ours = foreign.isdisjoint((member.id, member.name))
        for other in given[:index]:
            if member.id == other.id or member.name.casefold() == other.name.casefold():
                problems.append(f"{other.name!r} ({other.id}) and {member.name!r} ({member.id}) share an id or name")
            if member.endpoint == other.endpoint:
                member.endpoint = f"https://droplet-{member.id}.mesh.test"
    if problems:
        raise ConfigError(problems)
    return given


def _member(given: Droplet | Make) -> Member:
    droplet = given if isinstance(given, Droplet) else given()
    definition = droplet._definition()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # its word on itself
    loaded = configuration.load(explicit=definition.explicit, environ={}, file=None, attributes=definition.attributes)
    about = loaded.config.droplet
    if about.id is None or not about.name:
        raise ConfigError([f"{type(droplet).__name__}: a droplet needs an id and a name"])
    slug = re.sub(r"[^a-z0-9]+", "-", about.name.lower()).strip("-") or f"droplet-{about.id}"
    configured = loaded.origins["limits.grace_seconds"] != "default"
    return Member(
        make=(lambda: droplet) if isinstance(given, Droplet) else given,
        droplet=droplet,
        id=int(about.id),
        name=about.name,
        endpoint=f"https://{slug}.mesh.test",
        ours=True,
        grace_seconds=loaded.config.limits.grace_seconds if configured else None,
    )


def _only(members: Sequence[Member], kind: type[Droplet]) -> Member:
    found = [member for member in members if isinstance(member.droplet, kind)]
    if len(found) != 1:
        raise ConfigError([f"a mesh has one {kind.__name__}, not {len(found)}"])
    return found[0]
