"""Keeps a droplet registered: one loop that compares what should be with what is, for ever (contract section 8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from udc._ids import Ambient
from udc.clients._base import Beat, BeatAnswer, Presence, Registered, Registration, RegistryClient
from udc.errors import InstanceRetired, UdcError, UnknownInstance
from udc.instrument import (
    BeatFailed,
    DeregistrationFailed,
    Instrument,
    PresenceChanged,
    RegistrationAccepted,
    RegistrationFailed,
)
from udc.services._pace import Pace

LEAVE_SECONDS: Final = 3.0
"""How long a stop waits for the Registry."""

_LOOK_SECONDS: Final = 0.05
_LOOK_CAP_SECONDS: Final = 1.0
_LOOK_RETIRED_SECONDS: Final = 5.0


class PresenceLoop:
    """Registers, beats, registers again, and leaves. A service; nothing that the Registry does ends it.

    There is one call at a time and none is queued, so an outage is followed by one beat, not by many.

    Args:
        client: the Registry.
        obstacle: what stands in the way of registering now, in words; `None` = nothing.
        registration: what to register with.
        beat: a beat for a record of that hash.
        accepted: told of every registration that the Registry took.
        answered: told of every answer to a beat.
        beat_seconds: between two beats, where the Registry names no interval.
        mesh_size: how many droplets the Registry has told of: in a small mesh all may come back sooner; 0 = unknown.
    """

    name = "presence"

    def __init__(
        self,
        client: RegistryClient,
        *,
        obstacle: Callable[[], Awaitable[str | None]],
        registration: Callable[[], Registration],
        beat: Callable[[str], Beat],
        accepted: Callable[[Registered], None],
        answered: Callable[[BeatAnswer], None],
        ambient: Ambient,
        instrument: Instrument,
        beat_seconds: float = 10.0,
        mesh_size: Callable[[], int] = lambda: 0,
    ) -> None:
        self._client = client
        self._obstacle = obstacle
        self._registration = registration
        self._beat = beat
        self._accepted = accepted
        self._answered = answered
        self._instrument = instrument
        self._pace = Pace(beat_seconds=beat_seconds, chance=ambient.chance, mesh_size=mesh_size)
        self._presence: Presence = "unregistered"
        self._joined = False
        self._resend = False
        self._retired = False
        self._may_be_known = False
        self._leaving = False
        self._hash = ""
        self._lease_ends = 0.0
        self._hindered: list[str] = []
        self._calling = anyio.Lock()
        self._woken = anyio.Event()

    @property
    def presence(self) -> Presence:
        """How the droplet stands with its Registry."""
        return self._presence

    def changed(self) -> None:
        """Phase or status changed: the Registry hears of it at once, if it can be reached."""
        self._woken.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the droplet registered until it leaves."""
        task_status.started()
        while not self._leaving:
            # Before the call: what changes during it goes out with the next.
            self._woken = anyio.Event()
            pause = await self._turn()
            await self._rest(anyio.current_time() + pause)

    async def _turn(self) -> float:
        """Make the call that is due; returns the pause after it."""
        async with self._calling:
            return await (self._renew() if self._joined and not self._resend else self._join())

    async def leave(self) -> None:
        """Deregister, and end the loop. Takes `LEAVE_SECONDS` at most; raises nothing that the Registry does."""
        self._leaving = True
        self._woken.set()
        with anyio.move_on_after(LEAVE_SECONDS) as limit:
            # A registration under way must arrive before we leave, or it would outlive us.
            async with self._calling:
                await self._deregister()
        if limit.cancelled_caught:
            self._instrument.emit(DeregistrationFailed(error=f"no answer within {LEAVE_SECONDS:g} s"))

    async def _deregister(self) -> None:
        if not self._may_be_known:
            return
        try:
            await self._client.deregister()
        except UdcError as error:
            self._instrument.emit(DeregistrationFailed(error=str(error)))
        else:
            self._may_be_known = self._joined = False
            self._become("unregistered", "left")

    async def _join(self) -> float:
        """One attempt to register; returns the pause after it."""
        self._resend = False
        obstacle = await self._obstacle()
        if obstacle is not None:
            return self._pace.until_beat(anyio.current_time()) if self._joined else self._wait_for(obstacle)
        self._hindered.clear()
        registration, began = self._registration(), anyio.current_time()
        self._may_be_known = True
        try:
            with anyio.fail_after(self._pace.call_seconds):
                answer = await self._client.register(registration)
        except (UdcError, TimeoutError) as error:
            pause = self._pace.after_failed_registration(error)
            self._instrument.emit(RegistrationFailed(error=_words(error), retry_in_seconds=pause))
            return pause
        self._take(registration, answer, began)
        return self._pace.until_beat(began)

    def _take(self, registration: Registration, answer: Registered, began: float) -> None:
        self._joined, self._retired = True, False
        self._hash = registration.record_hash
        self._alive(answer.beat_every_seconds, answer.lease_ttl_seconds, began)
        self._accepted(answer)
        self._instrument.emit(
            RegistrationAccepted(
                beat_every_seconds=answer.beat_every_seconds, lease_ttl_seconds=answer.lease_ttl_seconds
            )
        )

    def _wait_for(self, obstacle: str) -> float:
        """The pause before looking again whether the obstacle is gone; says each new one once."""
        cap = _LOOK_RETIRED_SECONDS if self._retired else _LOOK_CAP_SECONDS
        pause = min(cap, _LOOK_SECONDS * 2.0 ** min(len(self._hindered), 10))
        if not self._hindered or self._hindered[-1] != obstacle:
            self._instrument.emit(RegistrationFailed(error=obstacle, retry_in_seconds=pause))
        self._hindered = [*self._hindered[-9:], obstacle]
        return pause

    async def _renew(self) -> float:
        """One beat; returns the pause after it."""
        began = anyio.current_time()
        try:
            with anyio.fail_after(self._pace.call_seconds):
                answer = await self._client.beat(self._beat(self._hash))
        except UnknownInstance as error:
            pause = self._pace.spread(error.spread_seconds)
            return self._forgotten(error, pause)
        except InstanceRetired as error:
            self._retired = True
            return self._forgotten(error, _LOOK_CAP_SECONDS)
        except (UdcError, TimeoutError) as error:
            pause = self._pace.after_failed_beat(error, began)
            self._instrument.emit(BeatFailed(error=_words(error), retry_in_seconds=pause))
            return pause
        self._alive(answer.beat_every_seconds, answer.lease_ttl_seconds, began)
        self._answered(answer)
        self._resend = answer.send_record
        return 0.0 if self._resend else self._pace.until_beat(began)

    def _forgotten(self, error: UdcError, pause: float) -> float:
        self._joined = False
        self._become("lost", str(error))
        self._instrument.emit(BeatFailed(error=str(error), retry_in_seconds=pause))
        return pause

    def _alive(self, beat_every_seconds: float | None, lease_ttl_seconds: float | None, began: float) -> None:
        self._pace.told(beat_every_seconds=beat_every_seconds, lease_ttl_seconds=lease_ttl_seconds)
        self._lease_ends = began + self._pace.lease_seconds
        self._become("registered", "")

    def _become(self, presence: Presence, reason: str) -> None:
        before, self._presence = self._presence, presence
        if before != presence:
            self._instrument.emit(PresenceChanged(before=before, after=presence, reason=reason))

    async def _rest(self, until: float) -> None:
        """Wait until it is time, or until something changed that can be told now."""
        while not self._leaving and (left := until - anyio.current_time()) > 0:
            if self._woken.is_set() and self._prompt():
                return
            lease = self._lease_ends - anyio.current_time()
            if self._presence == "registered" and lease <= 0:
                self._become("lost", "the lease has run out without an answer")
            pause = min(left, lease) if self._presence == "registered" else left
            with anyio.move_on_after(pause):
                await (anyio.sleep_forever() if self._woken.is_set() else self._woken.wait())

    def _prompt(self) -> bool:
        """Whether a change goes out now: not while the Registry is away, and not before we are registered."""
        return not self._pace.failures if self._joined else bool(self._hindered)


def _words(error: Exception) -> str:
    return str(error) or "no answer in time"
