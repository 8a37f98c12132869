"""Keeps an index as the Registry has it: a watch where its style has one, else a list every 30 seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import anyio
import anyio.lowlevel

from udc._ids import Ambient
from udc._types import DropletId, JsonObject
from udc.clients._base import Change, Changes, Listing, RegistryClient
from udc.discovery._index import Difference, Index, Snapshot
from udc.discovery._known import Known, key_of
from udc.errors import InvalidRequest, UdcError
from udc.instrument import DiscoveryFresh, DiscoveryStale, Instrument, ListDoubted, PeersChanged

_WAIT_SECONDS: Final = 55.0
_ANSWER_SECONDS: Final = 10.0
_LIST_EVERY_SECONDS: Final = 30.0
_DOUBT_SECONDS: Final = 5.0
_RETURN_SECONDS: Final = 60.0
"""Within which everybody is registered again after an outage."""
_BREATH_SECONDS: Final = 0.05
"""Between two answers of a watch, so that many changes come in one."""
_IDLE_BREATH_SECONDS: Final = 1.0
"""After an answer that came at once and told nothing: a server that does not wait must not be asked in a loop."""
_BACKOFF_SECONDS: Final = 0.5
_BACKOFF_CAP_SECONDS: Final = 30.0
_AT_ONCE: Final = 200
"""Records taken before others get their turn: reading one takes about 30 µs."""
_REVISION: Final = re.compile(r"(.+)\.(\d+)")


class Follower:
    """Asks the Registry, and puts what it tells into an index. What is known stays known while it cannot be asked.

    An answer of a Registry that is warming up removes nobody, nor does one within 60 s of an outage: a Registry that
    could not be reached has given up those who could not reach it, and one that does not hear us (`heard`) may hear
    nobody, though it answers what we ask. After that, all is listed once more. That there is nobody is believed when it
    is said twice, at a later revision: a Registry that lost its memory says it, too.

    Attributes:
        revision: where the index stands; `None` = nowhere from which a watch could go on.
        trouble: why the Registry could not be asked the last time; `None` when it could.
    """

    def __init__(
        self,
        client: RegistryClient,
        index: Index,
        *,
        ambient: Ambient,
        instrument: Instrument,
        on_change: Callable[[], None],
    ) -> None:
        self._client = client
        self._index = index
        self._ambient = ambient
        self._instrument = instrument
        self._on_change = on_change
        self._taking = anyio.Lock()
        self._flight: anyio.Event | None = None
        self._answers = 0
        self._watches = True
        self._list_again = False
        self._unsettled = False
        self._doubted: str | None = None
        self._stale_since = 0.0
        self._all_back_at = -math.inf
        self._unheard = False
        self._failures = 0
        self._pause = 0.0
        self.revision: str | None = None
        self.trouble: str | None = None

    def heard(self, *, registered: bool) -> None:
        """Whether the Registry hears us: the lease that we had has run out, or we have one again."""
        if self._unheard and registered:
            self._all_back_at = anyio.current_time() + _RETURN_SECONDS
        self._unheard = not registered

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            if self._lists:
                await self.refresh()
                pause = self._pause
            else:
                pause = await self._round(self._wait_seconds)
            await anyio.sleep(pause)

    async def refresh(self) -> bool:
        """Ask now, once for all who want to know now; a failure is noted, not raised.

        Returns:
            Whether the question was put after this call, so that its answer holds all that came before it.
        """
        if self._flight is not None:
            await self._flight.wait()
            return False
        flight = self._flight = anyio.Event()
        try:
            self._pause = await self._round(0.0)
        finally:
            self._flight = None
            flight.set()
        return True

    @property
    def settled_revision(self) -> str | None:
        """The revision, if the index holds what the Registry had then; `None` while removals are still to come."""
        return None if self._unsettled else self.revision

    @property
    def current(self) -> bool:
        """Whether it has been heard in this life, is heard now, and nobody is kept though it did not name them."""
        return bool(self._answers) and self.trouble is None and not self._unsettled and not self._returning

    @property
    def _lists(self) -> bool:
        return self.revision is None or not self._watches or self._list_again

    @property
    def _returning(self) -> bool:
        return self._unheard or anyio.current_time() < self._all_back_at

    @property
    def _wait_seconds(self) -> float:
        """How long a watch waits for news: no longer than removals do."""
        left = self._all_back_at - anyio.current_time()
        return min(_WAIT_SECONDS, math.ceil(left)) if left > 0 else _WAIT_SECONDS

    async def _round(self, wait_seconds: float) -> float:
        """Ask once; returns how long to wait before the next question."""
        try:
            pause = await self._ask(wait_seconds)
        except (UdcError, TimeoutError) as error:
            self._failed(error)
            return self._backoff()
        if self.trouble is not None:
            self.trouble = None
            self._instrument.emit(DiscoveryFresh(stale_seconds=anyio.current_time() - self._stale_since))
        self._failures = 0
        return pause

    async def _ask(self, wait_seconds: float) -> float:
        began, answers = anyio.current_time(), self._answers
        with anyio.fail_after(wait_seconds + _ANSWER_SECONDS):
            answer = await self._answer(wait_seconds)
        if self.trouble is not None and len(self._index):
            self._all_back_at = anyio.current_time() + _RETURN_SECONDS
        if self._returning:
            answer = replace(answer, warming=True)
        async with self._taking:
            if self._answers != answers:  # somebody has asked meanwhile: this answer may be the older one
                return _BREATH_SECONDS
            self._answers += 1
            if isinstance(answer, Listing):
                return await self._take_all(answer.records, answer.revision, warming=answer.warming)
            pause = await self._take(answer)
        idle = not answer.changes and anyio.current_time() - began < _IDLE_BREATH_SECONDS
        return max(pause, _IDLE_BREATH_SECONDS) if idle else pause

    async def _answer(self, wait_seconds: float) -> Changes | Listing:
        if self.revision is not None and not self._lists:
            changes = await self._client.changes(self.revision, wait_seconds=wait_seconds)
            if changes is not None:
                return changes
            self._watches = False
        return await self._client.list()

    async def _take(self, answer: Changes) -> float:
        puts = [change.record for change in answer.changes if change.op == "put"]
        if answer.snapshot:
            return await self._take_all(puts, answer.revision, warming=answer.warming)
        if answer.warming:
            self._tell(await self._put(Snapshot(self._index), puts))
            self._unsettled = True
        else:
            self._tell(self._step(answer.changes))
            self._list_again = self._unsettled
        self.revision = answer.revision
        return _BREATH_SECONDS

    def _step(self, changes: Sequence[Change]) -> Difference:
        """Apply changes in their order; one droplet may come and go in one answer."""
        before: dict[DropletId, Known | None] = {}
        for change in changes:
            try:
                key = key_of(change.record)
            except InvalidRequest:
                continue
            before.setdefault(key, self._index.get(key))
            if change.op == "put":
                self._index.take(change.record)
            else:
                self._index.drop(key)
        after = {key: self._index.get(key) for key in before}
        return Difference(
            added=tuple(key for key in before if before[key] is None and after[key] is not None),
            changed=tuple(key for key in before if None not in (before[key], after[key]) and before[key] != after[key]),
            removed=tuple(key for key in before if before[key] is not None and after[key] is None),
        )

    async def _take_all(self, records: Sequence[JsonObject], revision: str | None, *, warming: bool) -> float:
        if not records and len(self._index) and not warming and not self._believed(revision):
            self._instrument.emit(ListDoubted(known=len(self._index)))
            return _DOUBT_SECONDS * self._varied()
        if records:
            self._doubted = None
        snapshot = Snapshot(self._index)
        difference = await self._put(snapshot, records)
        self._tell(difference if warming else snapshot.forget_others())
        self.revision = revision
        self._unsettled, self._list_again = warming, False
        return _BREATH_SECONDS if revision is not None and self._watches else _LIST_EVERY_SECONDS * self._varied()

    async def _put(self, snapshot: Snapshot, records: Sequence[JsonObject]) -> Difference:
        for start in range(0, len(records), _AT_ONCE):
            snapshot.put(records[start : start + _AT_ONCE])
            await anyio.lowlevel.checkpoint()
        return snapshot.difference

    def _believed(self, revision: str | None) -> bool:
        """Whether an empty list is to be taken at its word."""
        before, self._doubted = self._doubted, revision
        return before is not None and revision is not None and _grew(before, revision)

    def _tell(self, difference: Difference) -> None:
        if difference:
            self._on_change()
            self._instrument.emit(
                PeersChanged(
                    added=difference.added,
                    changed=difference.changed,
                    removed=difference.removed,
                    known=len(self._index),
                )
            )

    def _failed(self, error: Exception) -> None:
        fresh = self.trouble is None
        self._failures += 1
        self.trouble = str(error) or type(error).__name__
        if fresh:
            self._stale_since = anyio.current_time()
            self._instrument.emit(DiscoveryStale(error=self.trouble, known=len(self._index)))

    def _backoff(self) -> float:
        longest = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2.0 ** min(self._failures, 10))
        return max(_BREATH_SECONDS, self._ambient.chance() * longest)

    def _varied(self) -> float:
        return 0.9 + 0.2 * self._ambient.chance()


def _grew(before: str, after: str) -> bool:
    """Whether a revision (`<epoch>.<n>`) is a later one of the same epoch."""
    first, second = _REVISION.fullmatch(before), _REVISION.fullmatch(after)
    return first is not None and second is not None and first[1] == second[1] and int(second[2]) > int(first[2])
