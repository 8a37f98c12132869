"""Who is registered: the rows in memory, how to find them, and who waits for them to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from weakref import WeakValueDictionary

import anyio

from udc._types import DropletId
from udc.mesh.registry.instances import Instance, Row, row_of
from udc.mesh.registry.journal import Filter, Journal, encode_changes


class Catalog:
    """All instances, one row per droplet id, indexes by name and capability, and the journal of changes.

    Args:
        epoch: names this life of the Registry.
        clock: monotonic seconds.
    """

    def __init__(self, *, epoch: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._instances: dict[DropletId, dict[str, Instance]] = {}
        self._rows: dict[DropletId, Row] = {}
        self._stale: set[DropletId] = set()
        self._by_name: dict[str, set[DropletId]] = {}
        self._by_capability: dict[str, set[DropletId]] = {}
        self._whole: bytes | None = None
        self._journal = Journal(epoch)
        self._changed = anyio.Event()
        self._gates: WeakValueDictionary[DropletId, _Gate] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def revision(self) -> str:
        """Of the present list."""
        return self._journal.revision

    def gate(self, droplet_id: DropletId) -> AbstractAsyncContextManager[object]:
        """Lets one change of a droplet's registrations go on at a time, while others' go on beside it."""
        gate = self._gates.get(droplet_id)
        if gate is None:
            gate = self._gates[droplet_id] = _Gate()
        return gate

    def instances(self, droplet_id: DropletId) -> list[Instance]:
        """The instances of a droplet; none for an unknown one."""
        return list(self._instances.get(droplet_id, {}).values())

    def instance(self, droplet_id: DropletId, instance_id: str) -> Instance | None:
        """One instance."""
        return self._instances.get(droplet_id, {}).get(instance_id)

    def put(self, instance: Instance) -> None:
        """Take it in, in the place of one with the same ids."""
        own = instance.registered
        mine = self._instances.setdefault(own.droplet_id, {})
        if (old := mine.get(own.instance_id)) is not None:
            old.gone = True
        mine[own.instance_id] = instance

    def drop(self, instance: Instance) -> None:
        """Take it out, unless another one has taken its place already."""
        own = instance.registered
        instance.gone = True
        mine = self._instances.get(own.droplet_id, {})
        if mine.get(own.instance_id) is instance:
            del mine[own.instance_id]
            if not mine:
                del self._instances[own.droplet_id]

    def refresh(self, droplet_id: DropletId) -> None:
        """Something in the droplet's row may have changed: everybody who watches is told, if so."""
        before = self._rows.get(droplet_id)
        mine = self._instances.get(droplet_id)
        after = row_of(mine.values()) if mine else None
        self._stale.discard(droplet_id)
        if before == after:
            return
        self._replace(droplet_id, before, after)
        self._journal.note(droplet_id, before, now=self._clock())
        self._wake()

    def load_changed(self, droplet_id: DropletId) -> None:
        """Only `in_flight` changed: that is shown by the next read, and is no news to anybody."""
        self._stale.add(droplet_id)
        self._whole = None

    def find(self, droplet_id: DropletId) -> Row | None:
        """The row of a droplet."""
        self._freshen()
        return self._rows.get(droplet_id)

    def named(self, name: str) -> Row | None:
        """The row of that name; of several, one with a credential, then a ready one, then the lowest id."""
        self._freshen()
        found = [self._rows[each] for each in self._by_name.get(name, ())]
        return min(found, key=lambda row: (row.anonymous, not row.ready, *_order(row.id)), default=None)

    def select(self, wanted: Filter) -> list[Row]:
        """The wanted rows."""
        self._freshen()
        if wanted.names:
            candidates = _union(self._by_name, wanted.names)
        elif wanted.capabilities:
            candidates = _union(self._by_capability, wanted.capabilities)
        else:
            return [row for row in self._rows.values() if wanted.takes(row)]
        rows = (self._rows[each] for each in sorted(candidates, key=_order))
        return [row for row in rows if wanted.takes(row)]

    def listing(self, wanted: Filter) -> bytes:
        """The wanted rows as a JSON list; the whole list is encoded once per change."""
        if not wanted.empty:
            return b"[%b]" % b",".join(row.fragment for row in self.select(wanted))
        if self._whole is None:
            self._freshen()
            self._whole = b"[%b]" % b",".join(row.fragment for row in self._rows.values())
        return self._whole

    def snapshot(self, wanted: Filter) -> bytes:
        """All wanted rows, as the body of a watch."""
        return encode_changes(self.revision, self.select(wanted), (), snapshot=True)

    def changes(self, since: str, wanted: Filter) -> bytes | None:
        """What a caller who knows the list of `since` has to change in it; `None` = nothing.

        A snapshot when nobody knows that list any more.
        """
        then = self._journal.since(since)
        if then is None:
            return self.snapshot(wanted)
        self._freshen()
        puts: list[Row] = []
        removes: list[Row] = []
        for droplet_id, before in then.items():
            now = self._rows.get(droplet_id)
            if now is not None and wanted.takes(now):
                if now != before:
                    puts.append(now)
            elif before is not None and wanted.takes(before):
                removes.append(before)
        return encode_changes(self.revision, puts, removes, snapshot=False) if puts or removes else None

    def unchanged(self) -> bytes:
        """The body of a watch that saw nothing."""
        return encode_changes(self.revision, (), (), snapshot=False)

    async def changed(self) -> None:
        """Wait for the next change of any row."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _freshen(self) -> None:
        for droplet_id in self._stale:
            mine = self._instances.get(droplet_id)
            if mine:
                self._rows[droplet_id] = row_of(mine.values())
        self._stale.clear()

    def _replace(self, droplet_id: DropletId, before: Row | None, after: Row | None) -> None:
        self._whole = None
        if before is not None:
            _unlist(self._by_name, [before.name], droplet_id)
            _unlist(self._by_capability, before.capabilities, droplet_id)
        if after is None:
            self._rows.pop(droplet_id, None)
            return
        self._rows[droplet_id] = after
        self._by_name.setdefault(after.name, set()).add(droplet_id)
        for capability in after.capabilities:
            self._by_capability.setdefault(capability, set()).add(droplet_id)


class _Gate:
    """A lock that can be weakly referred to."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _order(droplet_id: DropletId) -> tuple[int, int, str]:
    return (0, droplet_id, "") if isinstance(droplet_id, int) else (1, 0, droplet_id)


def _union(index: dict[str, set[DropletId]], keys: Iterable[str]) -> set[DropletId]:
    found: set[DropletId] = set()
    for key in keys:
        found |= index.get(key, set())
    return found


def _unlist(index: dict[str, set[DropletId]], keys: Iterable[str], droplet_id: DropletId) -> None:
    for key in keys:
        index[key].discard(droplet_id)
        if not index[key]:
            del index[key]
