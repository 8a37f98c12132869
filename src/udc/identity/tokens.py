"""The token manager: one live token per audience, fetched once for all who wait, renewed ahead of its end.

Contract section 6; mesh rules: renewed at 40-50 % of its life, used until `exp` while the source is away.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from udc._ids import Ambient
from udc.errors import TokenError
from udc.identity._base import Token, TokenSource
from udc.identity._flight import Flight
from udc.identity.sources import FixedToken, RegistryTokens, SelfSigned, received_token
from udc.instrument import Instrument, TokenFailed, TokenRenewed

__all__ = ["FixedToken", "RegistryTokens", "SelfSigned", "TokenKeeper", "received_token"]

_BACKOFF_SECONDS: Final = 0.5
_BACKOFF_CAP_SECONDS: Final = 30.0
# A source may give the same token again and again (a fixed one): its half-lives would shrink to nothing.
_MIN_RENEWAL_SECONDS: Final = 1.0
# A peer that refuses every token must not turn each call into a fetch.
_REJECTION_COOLDOWN_SECONDS: Final = 5.0
_RENEWALS_AT_ONCE: Final = 8
_IDLE_SECONDS: Final = 3600.0
_SETTLE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 1.0
_WANTED_SECONDS: Final = 5.0


class _Slot:
    """What is known of one audience: times are the event loop's."""

    __slots__ = (
        "attempts",
        "audience",
        "ends_at",
        "error",
        "failures",
        "flight",
        "late",
        "rejected_at",
        "renew_at",
        "token",
        "wanted_from",
    )

    def __init__(self, audience: str | None) -> None:
        self.audience = audience
        self.token: Token | None = None
        self.ends_at = -math.inf
        self.renew_at = -math.inf
        self.rejected_at = -math.inf
        self.error = ""
        self.failures = 0
        self.attempts = 0
        self.late = False  # the source took so long that another token stood in
        self.wanted_from = math.inf  # when one is to be at hand, though nobody asks for it
        self.flight: Flight

    def due_at(self, now: float) -> float:
        """When it is fetched though nobody asks for it; `inf` = never."""
        return self.renew_at if now < self.ends_at else max(self.renew_at, self.wanted_from)

    def live(self, now: float) -> Token | None:
        return self.token if now < self.ends_at else None


class TokenKeeper:
    """Holds one live token per audience. Implements `Tokens`.

    While `run` goes, fetches belong to it and outlive a cancelled caller; otherwise the first of the waiting callers
    fetches, and the next one takes over when it is cancelled.

    Args:
        source: where tokens come from.
        max_audiences: how many are kept; the least recently used goes. A broadcast asks for one of every droplet.
        fetch_timeout_seconds: how long one fetch may take.
        stand_in: the audience whose token does for another's; `None` = none does. Where that one lives, nobody waits
            for longer than a second, and nobody at all once the source is known to be slow.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        ambient: Ambient,
        instrument: Instrument,
        max_audiences: int = 10_000,
        fetch_timeout_seconds: float = 10.0,
        stand_in: Callable[[str | None], str | None] = lambda _: None,
    ) -> None:
        self._source, self._ambient, self._instrument = source, ambient, instrument
        self._max_audiences = max_audiences
        self._fetch_timeout = fetch_timeout_seconds
        self._stand_in = stand_in
        self._slots: OrderedDict[str | None, _Slot] = OrderedDict()
        self._group: TaskGroup | None = None
        self._wake: anyio.Event | None = None

    async def get(self, audience: str | None) -> Token:
        """The token to use now. Suspends only when there is none that lives (or to renew while `run` is not going).

        Raises:
            TokenError: none to be had; the source was asked, or is not asked again so soon; or it takes long, and
                another audience's stands in.
        """
        slot = self._slot(audience)
        while True:
            now = anyio.current_time()
            token = slot.live(now)
            if token is not None and (now < slot.renew_at or self._group is not None):
                return token
            if now < slot.renew_at and not slot.flight.running:
                raise TokenError(self._refusal(slot, slot.renew_at - now))
            await self._await_fetch(slot)

    async def _await_fetch(self, slot: _Slot) -> None:
        instead = self._stand_in(slot.audience)
        if instead is None or self.held(instead) is None:
            await slot.flight.join(self._group)
            return
        with anyio.move_on_after(0.0 if slot.late else _PATIENCE_SECONDS) as limit:
            await slot.flight.join(self._group)
        if limit.cancelled_caught:
            slot.late = True
            raise TokenError(
                f"no token for {_name(slot.audience)} yet: its source takes long; {_name(instead)} stands in"
            )

    async def renew(self, audience: str | None, rejected: Token) -> Token:
        """A token other than the one that a peer has just refused: one fetch for all whose was the same.

        Raises:
            TokenError: none to be had, or the peer refused a token that had been renewed just before.
        """
        slot = self._slot(audience)
        asked = False
        while True:
            now = anyio.current_time()
            token = slot.live(now)
            if token is not None and token.value != rejected.value:
                return token
            if asked or (not slot.flight.running and now < slot.rejected_at + _REJECTION_COOLDOWN_SECONDS):
                raise TokenError(slot.error or f"the peer refused the newest token that there is for {_name(audience)}")
            attempts = slot.attempts
            await slot.flight.join(self._group)
            # Only a fetch that came to an end counts: one that was cancelled with its caller asked nobody.
            asked = slot.attempts != attempts
            if asked:
                slot.rejected_at = anyio.current_time()

    def held(self, audience: str | None) -> Token | None:
        """The token that lives now, if one is at hand. Asks nobody."""
        slot = self._slots.get(audience)
        return None if slot is None else slot.live(anyio.current_time())

    def want(self, audience: str | None) -> None:
        """Have one of this audience at hand from soon on, though nobody asks for it: fetched and renewed by `run`."""
        slot = self._slot(audience)
        if slot.wanted_from == math.inf:
            # A mesh that starts asks for all of these at once: chance spreads them.
            slot.wanted_from = anyio.current_time() + _WANTED_SECONDS * self._ambient.chance()
            self._notice()

    def adopt(self, audience: str | None, token: Token) -> None:
        """Use a token that came by itself: with a registration or a heartbeat."""
        self._keep(self._slot(audience), token)

    async def renew_due(self) -> float:
        """Renew the live tokens that are due, several at once; failures are noted, not raised.

        One that has died is not renewed but fetched by the next `get`: audiences that nobody calls any more, or that
        the source refuses, cost no fetch. Those of `want` are fetched all the same.

        Returns:
            Seconds until the next is due; `inf` when nothing is kept.
        """
        limit = anyio.CapacityLimiter(_RENEWALS_AT_ONCE)
        now = anyio.current_time()
        async with anyio.create_task_group() as group:
            for slot in tuple(self._slots.values()):
                if slot.due_at(now) <= now:
                    group.start_soon(self._renew_within, limit, slot)
        now = anyio.current_time()
        soonest = min((slot.due_at(now) for slot in self._slots.values()), default=math.inf)
        return max(0.0, soonest - now)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep every token renewed until cancelled. A service: for the runtime's task group, once at a time."""
        async with anyio.create_task_group() as group:
            self._group = group
            task_status.started()
            try:
                while True:
                    self._wake = anyio.Event()
                    pause = await self.renew_due()
                    with anyio.move_on_after(min(pause, _IDLE_SECONDS)):
                        await self._wake.wait()
                        # Tokens that come together are looked through once.
                        await anyio.sleep(_SETTLE_SECONDS)
            finally:
                self._group = self._wake = None

    async def _renew_within(self, limit: anyio.CapacityLimiter, slot: _Slot) -> None:
        async with limit:
            await slot.flight.join(self._group)

    def _slot(self, audience: str | None) -> _Slot:
        slot = self._slots.get(audience)
        if slot is None:
            slot = self._slots[audience] = _Slot(audience)
            slot.flight = Flight(lambda: self._attempt(slot))
            if len(self._slots) > self._max_audiences:
                unwanted = (each.audience for each in self._slots.values() if each.wanted_from == math.inf)
                self._slots.pop(next(unwanted, audience))
        else:
            self._slots.move_to_end(audience)
        return slot

    async def _attempt(self, slot: _Slot) -> None:
        try:
            with anyio.fail_after(self._fetch_timeout):
                token = await self._source.fetch(slot.audience)
        except Exception as exc:  # noqa: BLE001 - a border: whatever the source raises, the old token stays
            self._note_failure(slot, exc)
        else:
            self._keep(slot, token)
            self._instrument.emit(TokenRenewed(audience=slot.audience, expires_at=token.expires_at))

    def _keep(self, slot: _Slot, token: Token) -> None:
        now = anyio.current_time()
        # By the loop's clock from here on: a step of the wall clock neither kills nor prolongs the token.
        left = token.expires_at - self._ambient.wall()
        slot.token = token
        slot.ends_at = now + left
        slot.renew_at = now + max(_MIN_RENEWAL_SECONDS, left * (0.4 + 0.1 * self._ambient.chance()))
        slot.error, slot.failures, slot.attempts = "", 0, slot.attempts + 1
        slot.late = False
        self._notice()

    def _note_failure(self, slot: _Slot, exc: Exception) -> None:
        pause = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2.0 ** min(slot.failures, 10))
        # Half of it is chance, so that a mesh does not return in one second; never zero, so that it is no loop.
        slot.renew_at = anyio.current_time() + pause * (0.5 + 0.5 * self._ambient.chance())
        slot.failures += 1
        slot.attempts += 1
        # A stranger's exception may quote the secret or the token; ours are made to be read.
        slot.error = str(exc) if isinstance(exc, TokenError) else f"the token source failed ({type(exc).__name__})"
        self._instrument.emit(TokenFailed(audience=slot.audience, error=slot.error))
        self._notice()

    def _notice(self) -> None:
        """Have `run` reckon anew when the next is due."""
        if self._wake is not None:
            self._wake.set()

    def _refusal(self, slot: _Slot, seconds: float) -> str:
        reason = slot.error or "the one that came had already expired"
        # Without `run` nobody asks again by himself, and a command has ended by then.
        again = f"; next attempt in {seconds:.1f} s" if self._group is not None else ""
        return f"no token for {_name(slot.audience)}: {reason}{again}"

    def __repr__(self) -> str:
        return f"TokenKeeper({self._source!r}, audiences={len(self._slots)})"


def _name(audience: str | None) -> str:
    return "tokens without audience" if audience is None else f"audience {audience!r}"
