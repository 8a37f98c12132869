"""A Registry that answers by hand, and records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import anyio

from udc._ids import Ambient, seeded
from udc._types import DropletId, JsonObject
from udc.clients._base import Beat, BeatAnswer, Change, Changes, Listing, Registered, Registration
from udc.directory import StaticDirectory
from udc.discovery import Discovery
from udc.errors import PeerUnreachable
from udc.instrument import Event, Instrument
from udc.messages import Peer

AMBIENT: Ambient = seeded(3, wall=lambda: 1_800_000_000.0)


def record(
    droplet_id: DropletId, name: str | None = None, *, instances: Sequence[tuple[str, str]] = (), **fields: Any
) -> dict[str, Any]:
    """A record of our own kind; instances as (endpoint, state)."""
    found = {
        "id": droplet_id,
        "name": name or f"droplet{droplet_id}",
        "endpoint": f"http://d{droplet_id}",
        "capabilities": [],
        "metadata": {"udc_mesh": "1.0"},
        **fields,
    }
    if instances:
        found["instances"] = [
            {"instance_id": f"{at}-id", "endpoint": f"http://{at}", "state": state, "in_flight": 0}
            for at, state in instances
        ]
    return found


def change(op: Literal["put", "remove"], row: JsonObject) -> Change:
    return Change(op=op, record=row)


class Registry:
    """A `RegistryClient` that lists its records. `watch` gives it a change feed, `down` takes it away."""

    def __init__(self, *records: JsonObject, watch: bool = False) -> None:
        self.records: list[JsonObject] = list(records)
        self.watch = watch
        self.number = 1
        self.epoch = "e1"
        self.warming = False
        self.down = False
        self.deaf = False
        self.lists = 0
        self.watches: list[tuple[str, float]] = []
        self.log: list[tuple[int, Change]] = []
        self.news = anyio.Event()
        self.gate: anyio.Event | None = None
        self.on_list: Callable[[], None] = lambda: None

    @property
    def revision(self) -> str:
        return f"{self.epoch}.{self.number}"

    def put(self, row: JsonObject) -> None:
        self.records = [each for each in self.records if each["id"] != row["id"]] + [row]
        self._note(change("put", row))

    def remove(self, droplet_id: DropletId) -> None:
        (row,) = [each for each in self.records if each["id"] == droplet_id]
        self.records.remove(row)
        self._note(change("remove", {"id": droplet_id}))

    def _note(self, what: Change) -> None:
        self.number += 1
        self.log.append((self.number, what))
        self.news.set()
        self.news = anyio.Event()

    async def list(self) -> Listing:
        self.lists += 1
        self.on_list()
        records = list(self.records)
        revision = self.revision if self.watch else None
        if self.gate is not None:
            await self.gate.wait()
        await self._answer()
        return Listing(records=records, revision=revision, warming=self.warming)

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        self.watches.append((since, wait_seconds))
        await self._answer()
        if not self.watch:
            return None
        epoch, _, number = since.rpartition(".")
        if epoch != self.epoch:
            puts = [change("put", row) for row in self.records]
            return Changes(revision=self.revision, changes=puts, snapshot=True, warming=self.warming)
        if int(number) == self.number:
            with anyio.move_on_after(wait_seconds):
                await self.news.wait()
        await self._answer()
        new = [what for at, what in self.log if at > int(number)]
        return Changes(revision=self.revision, changes=new, warming=self.warming)

    async def _answer(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.deaf:
            await anyio.sleep_forever()
        if self.down:
            raise PeerUnreachable("the Registry is not reachable", peer="Registry")

    async def register(self, registration: Registration) -> Registered:
        _never()

    async def beat(self, beat: Beat) -> BeatAnswer:
        _never()

    async def deregister(self) -> None:
        _never()

    async def revocations(self) -> None:
        _never()


def _never() -> NoReturn:
    raise NotImplementedError


class Finder:
    """A discovery, its Registry, and what it told."""

    def __init__(self, registry: Registry | None = None, *peers: Peer, **well_known: Peer) -> None:
        self.events: list[Event] = []
        self.registry = registry or Registry()
        self.static = StaticDirectory(peers, well_known=well_known)
        self.discovery = Discovery(
            self.static, ambient=AMBIENT, instrument=Instrument([self.events.append]), threads=False
        )
        if registry is not None:
            self.discovery.follow(registry)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    async def found(self, target: DropletId) -> list[str]:
        return [peer.endpoint for peer in await self.discovery.candidates(target)]
