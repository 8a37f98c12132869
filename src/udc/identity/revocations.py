"""The deny-list: tokens that are refused although their signature and time are good (contract section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from udc._types import DropletId
from udc.identity.claims import Principal

KEEP_SECONDS: Final = 7200.0
"""How long an entry is kept: twice the longest life of the Registry's tokens, so all it is about has ended by then."""


class Revocations:
    """What is refused. Looked up on every call with a token, so what is on it counts at once.

    Entries go when nothing they could be about lives any more, and never before: a list that comes back shorter,
    from a Registry that lost its data say, makes no revoked token good again.

    Args:
        wall: seconds since the epoch; the clock that tokens end by.
        keep_seconds: how long after it was last heard of, or after its `before`, an entry is kept.
    """

    __slots__ = ("_before", "_keep_seconds", "_token_ids", "_wall", "active")

    def __init__(self, *, wall: Callable[[], float], keep_seconds: float = KEEP_SECONDS) -> None:
        self._wall = wall
        self._keep_seconds = keep_seconds
        # By droplet: before when, and until when it is kept; by token: until when.
        self._before: dict[DropletId, tuple[float, float]] = {}
        self._token_ids: dict[str, float] = {}
        self.active: bool = False
        """Whether there is anything on the list."""

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._before) + len(self._token_ids)

    def revoke(
        self, *, droplet_id: DropletId | None = None, token_id: str | None = None, before: float | None = None
    ) -> None:
        """Refuse from now on a single token, or all of a droplet's that were issued before a moment.

        Args:
            droplet_id: whose tokens; needs `before`.
            token_id: the `jti` of one token.
            before: seconds since the epoch; an earlier one never shortens a later one.

        Raises:
            ValueError: neither given, or a droplet without `before`.
        """
        if token_id is None and (droplet_id is None or before is None):
            raise ValueError("revoke either token_id, or droplet_id together with before")
        until = self._wall() + self._keep_seconds
        if token_id is not None:
            self._token_ids[token_id] = until
        if droplet_id is not None and before is not None:
            latest = max(before, self._before.get(droplet_id, (before, 0.0))[0])
            self._before[droplet_id] = latest, max(until, latest + self._keep_seconds)
        self.active = True

    def tidy(self) -> None:
        """Let go of the entries whose time is over; what they were about has ended, so nothing changes for callers."""
        now = self._wall()
        self._before = {each: kept for each, kept in self._before.items() if kept[1] > now}
        self._token_ids = {each: until for each, until in self._token_ids.items() if until > now}
        self.active = bool(self._before or self._token_ids)

    def covers(self, principal: Principal, issued_at: float) -> bool:
        """Whether the list refuses that caller's token."""
        if principal.token_id in self._token_ids:
            return True
        kept = self._before.get(principal.droplet_id) if principal.droplet_id is not None else None
        return kept is not None and issued_at < kept[0]
