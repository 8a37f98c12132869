"""Reads the Registry's list of revoked tokens when a beat says that it has changed (contract section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc.clients._base import RevocationList
from udc.errors import UdcError
from udc.identity.revocations import Revocations
from udc.instrument import Instrument, RevocationsFailed, RevocationsFetched

FIRST_SECONDS: Final = 1.0
"""How long after the start the list is asked for, where no registration says so sooner."""

POLL_SECONDS: Final = 60.0
"""How long a droplet that hears no beats goes without asking."""

_FETCH_SECONDS: Final = 5.0
_BACKOFF_SECONDS: Final = 0.5
_BACKOFF_CAP_SECONDS: Final = 30.0


class RevocationWatch:
    """Keeps the deny-list as the Registry has it. A service; nothing that the Registry does ends it.

    There is one fetch at a time, after each word of a new revision, and again while it fails. An outage takes nothing
    off the list. A Registry that has no such list is no trouble.

    Args:
        fetch: reads the list; `None` = there is none. Raises `UdcError`.
        revocations: what is kept; shared with the verifier.
    """

    name = "revocations"

    def __init__(
        self,
        fetch: Callable[[], Awaitable[RevocationList | None]],
        revocations: Revocations,
        *,
        ambient: Ambient,
        instrument: Instrument,
    ) -> None:
        self._fetch = fetch
        self._revocations = revocations
        self._chance = ambient.chance
        self._instrument = instrument
        self._told: str | None = None
        self._have: frozenset[str | None] = frozenset()
        self._failures = 0
        self._due_at = 0.0
        self._woken = anyio.Event()

    def registered(self, revision: str | None) -> None:
        """A registration was answered: what was read before may be of another life of the Registry."""
        self._have = frozenset()
        self.told(revision)

    def told(self, revision: str | None) -> None:
        """A beat was answered, and names this revision of the list; `None` = it names none."""
        if revision is None:
            return
        self._told = revision
        if revision not in self._have:
            self._woken.set()
        elif not self._failures:
            self._due_at = anyio.current_time() + POLL_SECONDS

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep it until cancelled."""
        self._due_at = anyio.current_time() + FIRST_SECONDS
        task_status.started()
        while True:
            await self._until_due()
            # Before the call: what is told during it is asked for with the next.
            self._woken, told = anyio.Event(), self._told
            await self._attempt(told)

    async def _until_due(self) -> None:
        while (left := self._due_at - anyio.current_time()) > 0:
            if self._woken.is_set() and not self._failures:
                return
            with anyio.move_on_after(left):
                # After a failure the pause counts, whatever beats say meanwhile.
                await (anyio.sleep_forever() if self._failures else self._woken.wait())

    async def _attempt(self, told: str | None) -> None:
        try:
            with anyio.fail_after(_FETCH_SECONDS):
                found = await self._fetch()
        except (UdcError, TimeoutError) as error:
            self._note_failure(str(error) or "no answer in time")
        else:
            if found is not None:
                self._take(found, told)
            elif told is None:
                self._settle(frozenset())
            else:
                self._note_failure(f"the Registry names revision {told} of its list, but does not give it")

    def _take(self, found: RevocationList, told: str | None) -> None:
        for each in found.revoked:
            self._revocations.revoke(droplet_id=each.droplet_id, token_id=each.token_id, before=each.before)
        self._revocations.tidy()
        # The list may be newer than the beat that led to it: neither revision is news any more.
        self._settle(frozenset({told, found.revision}))
        self._instrument.emit(RevocationsFetched(revision=found.revision, entries=len(self._revocations)))
        if found.unread:
            problem = (
                f"{found.unread} entries cannot be understood, and are not refused; is the Registry newer than we?"
            )
            self._instrument.emit(RevocationsFailed(error=problem, retry_in_seconds=POLL_SECONDS))

    def _settle(self, have: frozenset[str | None]) -> None:
        self._have = have
        self._failures = 0
        self._due_at = anyio.current_time() + POLL_SECONDS

    def _note_failure(self, error: str) -> None:
        pause = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2.0 ** min(self._failures, 10))
        # Half of it is chance, so that a mesh does not return in one second; never zero, so that it is no loop.
        pause *= 0.5 + 0.5 * self._chance()
        self._failures += 1
        self._due_at = anyio.current_time() + pause
        self._instrument.emit(RevocationsFailed(error=error, retry_in_seconds=pause))
