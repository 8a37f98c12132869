"""From an id, a name or a capability to the places where a message for it can be delivered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc._types import DropletId, JsonObject
from udc.clients._base import RegistryClient
from udc.directory import StaticDirectory, ambiguous, not_known, wanted_of
from udc.discovery._choice import Arrange, by_lot, ordered
from udc.discovery._follower import Follower
from udc.discovery._index import Index
from udc.discovery._known import Instance, Known
from udc.discovery._snapshot import Keeper
from udc.errors import UnknownPeer
from udc.instrument import Instrument
from udc.messages import Peer

_ASK_SECONDS: Final = 3.0
_ASK_AGAIN_SECONDS: Final = 2.0
_AVOID_SECONDS: Final = 5.0
_REMEMBERED: Final = 1000
_MANY: Final = 32


class Discovery:
    """Finds droplets: those of the configuration, and those that the Registry knows. A service keeps it up to date.

    A target is an id, or a name, or what a droplet can do; a name wins over a capability, and the configuration
    over the Registry, which counts once `follow` has named it. A name is matched as it is written, and if nobody
    has it, without regard to case. What is not known is asked for, at most every 2 s for one target. While the
    Registry is away, what was known counts.

    Args:
        static: the peers of the configuration.
        arrange: the order among instances that are equally good; by lot, unless given.
        threads: false writes files in line, for virtual time.
    """

    name = "discovery"

    def __init__(
        self,
        static: StaticDirectory,
        *,
        ambient: Ambient,
        instrument: Instrument,
        arrange: Arrange | None = None,
        threads: bool = True,
    ) -> None:
        self._static = static
        self._index = Index()
        self._arrange = arrange or by_lot(ambient.chance)
        self._keeper = Keeper(self._state, instrument=instrument, threads=threads)
        self._follower: Follower | None = None
        self._ambient = ambient
        self._instrument = instrument
        self._asked: dict[DropletId, float] = {}
        self._avoided: dict[tuple[str, str | None], float] = {}

    def follow(self, client: RegistryClient) -> None:
        """Ask this Registry from now on. For the start: before `open` and `run`."""
        self._follower = Follower(
            client,
            self._index,
            ambient=self._ambient.branch(),
            instrument=self._instrument,
            on_change=self._keeper.note,
        )

    def take(self, records: Iterable[JsonObject]) -> None:
        """Know these droplets, where no Registry is followed: for who asks one by itself."""
        self._index.put(records)

    async def resolve(self, target: DropletId) -> Peer:
        """The instance that a message for that target is tried at first. Raises as `candidates` does."""
        return (await self.candidates(target))[0]

    async def candidates(self, target: DropletId) -> Sequence[Peer]:
        """The instances that may take a message for that target, in the order to try them.

        Suspends only to ask the Registry, at most 3 s: about a target that is not known, or whose instances have
        all refused.

        Raises:
            UnknownPeer: nobody is called that or can do it, several are called that, or it is a URL.
        """
        wanted = wanted_of(target)
        found = self._look(wanted)
        if (not found or all(map(self._is_avoided, found))) and await self._ask(wanted):
            found = self._look(wanted)
        if not found:
            raise self._unknown(wanted)
        return found

    async def instance(self, target: DropletId, instance_id: str) -> Peer | None:
        """See `Directory.instance`; suspends as `candidates` does."""
        found = await self.candidates(target)
        droplets = filter(None, (self._index.get(key) for key in {peer.id for peer in found} if key is not None))
        peers = (*found, *(each.peer for known in droplets for each in known.instances))
        return next((peer for peer in peers if peer.instance_id in (None, instance_id)), None)

    def avoid(self, peer: Peer) -> None:
        """Prefer others for 5 s, until then or until it has been started anew."""
        now = anyio.current_time()
        if len(self._avoided) >= _REMEMBERED:
            self._avoided = {place: until for place, until in self._avoided.items() if until > now}
        self._avoided[peer.endpoint, peer.instance_id] = now + _AVOID_SECONDS

    def droplets(self, *, capability: str | None = None) -> Sequence[DropletId]:
        """Everybody who is known, each id once; with a capability those who offer it."""
        if capability is not None:
            return self._index.offering(capability)
        return tuple(dict.fromkeys((*self._static.droplets(), *(known.key for known in self._index))))

    @property
    def told_of(self) -> int:
        """How many droplets the Registry has told of, in this life or, where there is a disk, in the one before."""
        return len(self._index)

    @property
    def current(self) -> bool:
        """Whether the Registry has been heard in this life, and all that it said of who left has been believed."""
        return self._follower is not None and self._follower.current

    def known(self, *, capability: str | None = None) -> Sequence[Known]:
        """What the Registry tells of everybody, or of those who offer the capability."""
        if capability is None:
            return tuple(self._index)
        found = (self._index.get(key) for key in self._index.offering(capability))
        return tuple(each for each in found if each is not None)

    def find(self, key: DropletId) -> Known | None:
        """What the Registry tells of the droplet with that canonical id; `None` when it knows none."""
        return self._index.get(key)

    def seen(self, target: DropletId) -> Peer | None:
        """Whom a message for that target would be tried at first; asks nobody, and raises nothing."""
        try:
            found = self._look(wanted_of(target))
        except UnknownPeer:
            return None
        return found[0] if found else None

    def heard(self, *, registered: bool) -> None:
        """Whether the Registry hears our own beats: while it does not, nobody is removed at its word."""
        if self._follower is not None:
            self._follower.heard(registered=registered)

    async def refresh(self) -> None:
        """Ask the Registry now who there is; that it cannot be asked is noted, not raised. Nothing without one."""
        if self._follower is not None:
            await self._follower.refresh()

    async def open(self, directory: Path, *, late: bool = False) -> None:
        """Keep what is known in this directory from now on, and start from what lies there.

        Args:
            late: the Registry is being followed already, so what lies there is older than what is known.
        """
        found = await self._keeper.open(directory)
        if late:
            self._keeper.note()
        elif found is not None and self._follower is not None:
            records, self._follower.revision = found
            self._index.put(records)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Follow the Registry until cancelled; without one there is nothing to do."""
        task_status.started()
        if self._follower is None:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keeper.run)
            await self._follower.run()

    def _state(self) -> tuple[list[JsonObject], str | None]:
        revision = None if self._follower is None else self._follower.settled_revision
        return [known.record for known in self._index], revision

    def _look(self, wanted: DropletId) -> Sequence[Peer]:
        configured = self._static.find(wanted)
        if configured is not None:
            return (self._completed(configured),)
        known = self._index.get(wanted)
        if isinstance(wanted, int):  # never by name: else who is called "14" would stand in for an absent droplet 14
            return () if known is None else self._in_order(known.instances)
        return self._in_order(self._instances(self._meant(wanted, known)))

    def _meant(self, wanted: str, known: Known | None) -> Sequence[DropletId]:
        """Whom a word stands for: the one of that name, or all who can do that. Nobody gets a call by claiming it.

        Raises:
            UnknownPeer: several are called that.
        """
        trusted, keys, able = self._index.trusted, self._index.named(wanted), self._index.offering(wanted)
        if known is not None:  # nor may who took another's name for its id
            keys = tuple(dict.fromkeys((known.key, *keys)))
        if keys:
            keys = trusted(keys) or (() if trusted(able) else keys)
        if len(keys) > 1:
            keys = self._ours(keys, wanted)
        return keys or trusted(able) or able

    def _ours(self, keys: Sequence[DropletId], wanted: str) -> tuple[DropletId, ...]:
        """The one of our own kind among them."""
        own = tuple(each for each in keys if (known := self._index.get(each)) is not None and known.peer.ours)
        if len(own) != 1:
            raise ambiguous(wanted, keys)
        return own

    def _in_order(self, instances: Sequence[Instance]) -> Sequence[Peer]:
        return ordered(instances, avoided=self._is_avoided, arrange=self._arrange)

    def _instances(self, keys: Sequence[DropletId]) -> Sequence[Instance]:
        """Those of all these droplets; of very many a few drawn by lot, if one of them is ready."""
        if len(keys) > _MANY:
            drawn = {keys[int(self._ambient.chance() * len(keys))] for _ in range(_MANY)}
            some = self._instances(list(drawn))
            if any(each.state == "ready" and not self._is_avoided(each.peer) for each in some):
                return some
        return [instance for key in keys for instance in self._places(key)]

    def _places(self, key: DropletId) -> Sequence[Instance]:
        configured = self._static.find(key)
        if configured is not None:
            return (Instance(peer=self._completed(configured)),)
        known = self._index.get(key)
        return () if known is None else known.instances

    def _completed(self, configured: Peer) -> Peer:
        """A peer of the configuration, with what the Registry tells of the same droplet at the same address."""
        known = None if configured.id is None else self._index.get(configured.id)
        if known is None or known.peer.endpoint != configured.endpoint:
            return configured
        return replace(
            configured,
            ours=configured.ours or known.peer.ours,
            capabilities=configured.capabilities or known.peer.capabilities,
        )

    def _is_avoided(self, peer: Peer) -> bool:
        if not self._avoided:
            return False
        until = self._avoided.get((peer.endpoint, peer.instance_id), -math.inf)
        return anyio.current_time() < until

    async def _ask(self, wanted: DropletId) -> bool:
        """Ask the Registry, unless that was done for the same target just now; whether it was asked."""
        now = anyio.current_time()
        if self._follower is None or now < self._asked.get(wanted, -math.inf):
            return False
        with anyio.move_on_after(_ASK_SECONDS):
            # The answer that others wait for already may be older than what we look for.
            _ = await self._follower.refresh() or self._look(wanted) or await self._follower.refresh()
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        self._asked[wanted] = anyio.current_time() + _ASK_AGAIN_SECONDS
        return True

    def _unknown(self, wanted: DropletId) -> UnknownPeer:
        trouble = None if self._follower is None else self._follower.trouble
        because = "" if trouble is None else f"; the Registry cannot be asked: {trouble}"
        everybody = [*self._static.peers, *(known.peer for known in self._index)]
        return not_known(wanted, everybody, because=because)
