"""Who is in the mesh: droplets by id, by name and by what they can do. Every question is answered in O(answer)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from udc._frozen import dataclass
from udc._types import DropletId, JsonObject
from udc.discovery._known import Known, key_of, read
from udc.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed, by id."""

    added: tuple[DropletId, ...] = ()
    changed: tuple[DropletId, ...] = ()
    removed: tuple[DropletId, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class _Groups:
    """Droplet ids under a word; the order of their coming is kept."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: dict[str, dict[DropletId, None]] = {}

    def add(self, word: str, key: DropletId) -> None:
        self._members.setdefault(word, {})[key] = None

    def discard(self, word: str, key: DropletId) -> None:
        members = self._members.get(word)
        if members is not None:
            members.pop(key, None)
            if not members:
                del self._members[word]

    def under(self, word: str) -> tuple[DropletId, ...]:
        return tuple(self._members.get(word, ()))


class Index:
    """Records of droplets. One that cannot be read is left out, and leaves what was known as it was."""

    def __init__(self) -> None:
        self._known: dict[DropletId, Known] = {}
        self._names = _Groups()
        self._folded = _Groups()
        self._able = _Groups()
        self._anonymous: set[DropletId] = set()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def get(self, key: DropletId) -> Known | None:
        """The droplet of that canonical id."""
        return self._known.get(key)

    def named(self, name: str) -> tuple[DropletId, ...]:
        """The ids of those called that; if nobody is, without regard to case.

        Who joined without a credential is called by a name only that nobody with one has in any case.
        """
        exact = self._names.under(name)
        if exact and not self._anonymous:
            return exact
        folded = self._folded.under(name.casefold())
        return self.trusted(exact) or self.trusted(folded) or exact or folded

    def trusted(self, keys: tuple[DropletId, ...]) -> tuple[DropletId, ...]:
        """Those of them who joined with a credential."""
        return tuple(each for each in keys if each not in self._anonymous) if self._anonymous else keys

    def offering(self, capability: str) -> tuple[DropletId, ...]:
        """The ids of those who can do that."""
        return self._able.under(capability)

    def put(self, records: Iterable[JsonObject]) -> Difference:
        """Take these, in the place of what was known of the same ids."""
        part = Snapshot(self)
        part.put(records)
        return part.difference

    def take(self, record: JsonObject) -> tuple[DropletId | None, Known | None]:
        """Take one; its id, and what was known of it before. One that names nobody has no id."""
        try:
            key = key_of(record)
        except InvalidRequest:
            return None, None
        before = self._known.get(key)
        if before is None or before.record != record:  # reading one costs 40 times as much as comparing
            with suppress(InvalidRequest):
                self._set(read(record), before)
        return key, before

    def remove(self, records: Iterable[JsonObject]) -> Difference:
        """Forget the droplets of these records; what is not known is no fault."""
        removed: list[DropletId] = []
        for record in records:
            try:
                key = key_of(record)
            except InvalidRequest:
                continue
            if self.drop(key):
                removed.append(key)
        return Difference(removed=tuple(removed))

    def replace(self, records: Iterable[JsonObject]) -> Difference:
        """Take these as all there are."""
        snapshot = Snapshot(self)
        snapshot.put(records)
        return snapshot.forget_others()

    def _set(self, known: Known, before: Known | None) -> None:
        if before is not None:
            self._unlist(before)
        self._known[known.key] = known
        if known.peer.name:
            self._names.add(known.peer.name, known.key)
            self._folded.add(known.peer.name.casefold(), known.key)
        for capability in known.peer.capabilities:
            self._able.add(capability, known.key)
        if known.anonymous:
            self._anonymous.add(known.key)

    def drop(self, key: DropletId) -> bool:
        """Forget one; whether it was known."""
        known = self._known.pop(key, None)
        if known is not None:
            self._unlist(known)
        return known is not None

    def _unlist(self, known: Known) -> None:
        self._names.discard(known.peer.name, known.key)
        self._folded.discard(known.peer.name.casefold(), known.key)
        for capability in known.peer.capabilities:
            self._able.discard(capability, known.key)
        self._anonymous.discard(known.key)


class Snapshot:
    """Records that come in parts, since many at once would hold the event loop; then those not among them may go."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._listed: set[DropletId] = set()
        self._added: dict[DropletId, None] = {}
        self._changed: dict[DropletId, None] = {}

    @property
    def difference(self) -> Difference:
        """What has changed so far."""
        return Difference(added=tuple(self._added), changed=tuple(self._changed))

    def put(self, records: Iterable[JsonObject]) -> None:
        """Take a part."""
        for record in records:
            key, before = self._index.take(record)
            if key is None:
                continue
            self._listed.add(key)
            after = self._index.get(key)
            if before is None and after is not None:
                self._added[key] = None
            elif after is not before and key not in self._added:
                self._changed[key] = None

    def forget_others(self) -> Difference:
        """Forget who was in no part, but not those whose records could not be read."""
        gone = [known.key for known in self._index if known.key not in self._listed]
        for key in gone:
            self._index.drop(key)
        return replace(self.difference, removed=tuple(gone))
