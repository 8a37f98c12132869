"""How often one caller, or one address, may ask: token buckets, bounded in number."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from udc._frozen import dataclass
from udc.errors import RateLimited
from udc.identity.claims import Principal
from udc.surface._base import HttpRequest

_MAX_KEYS: Final = 10_000
_NEVER_LIMITED: Final = frozenset({"/health", "/livez", "/readyz"})
"""A limit must not make a droplet look dead."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and at most `burst` at once.

    Raises:
        ValueError: nothing could ever pass.
    """

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (self.per_second > 0 and math.isfinite(self.per_second) and self.burst >= 1):
            raise ValueError(f"a rate must let something pass: {self.per_second} a second, {self.burst} at once")


class Buckets:
    """One bucket for each key. The key that was away for longest is forgotten first.

    Args:
        clock: monotonic seconds.
        max_keys: how many keys are remembered.
    """

    def __init__(self, rate: Rate, *, clock: Callable[[], float], max_keys: int = _MAX_KEYS) -> None:
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        # When the bucket will be full again: all there is to know of it (the generic cell rate algorithm).
        self._full_at: OrderedDict[object, float] = OrderedDict()

    def take(self, key: object) -> float:
        """Take one; 0 when there was one, else the seconds until there will be."""
        now = self._clock()
        each = 1 / self._rate.per_second
        full_at = max(self._full_at.get(key, now), now) + each
        missing = full_at - now - self._rate.burst * each
        if missing > 1e-9:  # what rounding leaves over is no request
            return missing
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)
        return 0.0


class Rates:
    """Refuses what comes too often (contract section 2: off until configured).

    Args:
        caller: for each verified caller.
        address: for each network address; asked before anything else is.
        clock: monotonic seconds.
    """

    def __init__(self, *, caller: Rate | None, address: Rate | None, clock: Callable[[], float]) -> None:
        self._callers = None if caller is None else Buckets(caller, clock=clock)
        self._addresses = None if address is None else Buckets(address, clock=clock)

    def admit_address(self, request: HttpRequest) -> None:
        """Count the request for its address; the probes and `/health` are free.

        Raises:
            RateLimited: it has asked too often.
        """
        if self._addresses is None or request.path in _NEVER_LIMITED:
            return
        if wait := self._addresses.take(address_key(request.client)):
            raise _refusal("this address", wait)

    def admit_caller(self, principal: Principal) -> None:
        """Count the request for its verified caller; who need not say who they are share no count.

        Raises:
            RateLimited: it has asked too often.
        """
        if self._callers is None or principal.anonymous:
            return
        key = principal.droplet_id if principal.droplet_id is not None else principal.subject
        if wait := self._callers.take((principal.issuer, key)):
            raise _refusal("this caller", wait)


def address_key(client: str | None) -> str:
    """What counts as one address: an IPv6 host has a whole /64 to choose from, so that is one."""
    if client is None:
        return "unknown"
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client.partition("%")[0])
    except ValueError:
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


def _refusal(who: str, wait: float) -> RateLimited:
    return RateLimited(
        f"{who} asks more often than this droplet allows", retry_after_seconds=wait, hint="wait before trying again"
    )
