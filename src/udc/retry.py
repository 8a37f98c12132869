"""When a failed call is tried again, and how long it waits before (mesh page, "Calls that survive").

A retry happens only where it cannot do the work twice: the message is only a question, or provably nothing ran,
or the peer is known to recognise the message by its id. A peer's own retries are its own: what it gave up on
(`DEPENDENCY_UNAVAILABLE`, `TIMEOUT`) is not tried again here, or three hops would make 27 tries of one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

import anyio

from udc._frozen import dataclass
from udc.errors import ConfigError, ConnectionLost, DeliveryError, PeerError, PeerUnreachable
from udc.messages import MessageType

if TYPE_CHECKING:
    from tenacity import Future, RetryCallState

T = TypeVar("T")

NOTHING_RAN: Final = frozenset({"NOT_READY", "DRAINING", "OVERLOADED", "RATE_LIMITED", "KEYS_UNAVAILABLE"})
"""Codes by which a peer says that nothing ran: any message type may be sent again (contract section 4)."""

_ELSEWHERE: Final = frozenset({"DRAINING", "NOT_READY"})
"""Those of them that say nothing of the droplet's other instances."""

NEVER: Final = frozenset({"DEPENDENCY_UNAVAILABLE", "TIMEOUT", "INTERNAL_ERROR"})
"""Codes that stay final whatever else the answer says: the peer's own tries are spent, or it is its bug."""

GATEWAY: Final = frozenset({502, 503, 504})
"""Statuses with which something in front of a peer speaks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently; `RetryPolicy(attempts=1)` never tries again.

    Attributes:
        attempts: tries in all, the first included.
        base_seconds: the longest wait before the second try; doubled for each further one.
        cap_seconds: the longest wait of any try.
        retry_after_cap_seconds: how much of a peer's `Retry-After` is obeyed.

    Raises:
        ValueError: a value is out of range.
    """

    attempts: int = 4
    base_seconds: float = 0.1
    cap_seconds: float = 5.0
    retry_after_cap_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be 1 or more, not {self.attempts}: the first try counts")
        for name in ("base_seconds", "cap_seconds", "retry_after_cap_seconds"):
            if not getattr(self, name) >= 0:  # also refuses NaN
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")

    def wait_seconds(self, tried: int, error: BaseException | None, chance: float) -> float:
        """The wait after `tried` tries: exponential with full jitter, after what the peer asked for.

        The jitter comes on top of `Retry-After`, so that callers told the same time do not come back together.

        Args:
            tried: tries so far, from 1.
            error: how the last one failed.
            chance: in [0, 1).
        """
        jitter = chance * min(self.cap_seconds, self.base_seconds * 2.0 ** min(tried - 1, 32))
        asked = error.retry_after_seconds if isinstance(error, PeerError) else None
        return jitter + (min(asked, self.retry_after_cap_seconds) if asked is not None and asked > 0 else 0.0)


def may_retry(error: BaseException, message_type: MessageType, *, deduplicated: bool) -> bool:
    """Whether the same message may be sent again after this error.

    Args:
        error: how the last try failed.
        message_type: a query or status does nothing by being asked twice.
        deduplicated: the message carries a `message_id` and the peer is ours, so it does the work once.
    """
    harmless = deduplicated or message_type in (MessageType.QUERY, MessageType.STATUS)
    if isinstance(error, PeerUnreachable):
        # An address that our own configuration forbids or cannot reach stays forbidden.
        return not isinstance(error.__cause__, ConfigError)
    if isinstance(error, ConnectionLost):
        return harmless
    if isinstance(error, PeerError):
        return error.code in NOTHING_RAN or (harmless and _may_pass(error))
    return False


def _may_pass(error: PeerError) -> bool:
    """Whether the peer's error may be gone at the next try."""
    if error.code in NEVER:
        return False
    return error.retryable or error.status in GATEWAY


def takes_no_work(error: BaseException) -> bool:
    """Whether an instance of a droplet refused without beginning, so that the next one can be asked at once."""
    if isinstance(error, PeerError):
        return error.code in _ELSEWHERE
    return isinstance(error, PeerUnreachable) and not isinstance(error.__cause__, ConfigError)


def may_have_run(error: BaseException) -> bool:
    """Whether the peer may have begun to work on the message; true for a cancellation."""
    if isinstance(error, PeerError):
        return error.code not in NOTHING_RAN
    return not isinstance(error, DeliveryError) or error.may_have_run


async def retrying(
    send: Callable[[int], Awaitable[T]],
    *,
    policy: RetryPolicy,
    again: Callable[[DeliveryError], bool],
    chance: Callable[[], float],
    deadline: float,
) -> T:
    """Try until it succeeds, may not be tried again, or there is no time left to wait.

    Never sleeps past the deadline: when the wait would overrun it, the last error is raised at once.
    Cancellation ends it at any point.

    Args:
        send: makes one try; takes its number, from 1.
        policy: how often and how patiently.
        again: whether an error may be followed by another try.
        chance: a float in [0, 1), for the jitter.
        deadline: of the whole call, by `anyio.current_time()`.

    Raises:
        DeliveryError: the last try's error. Anything else that `send` raises passes at once.
    """
    try:
        # Outside tenacity, which costs 20 µs a call: nearly every call ends here.
        return await send(1)
    except DeliveryError as error:
        if policy.attempts == 1 or not again(error):
            raise
        first = error
    import tenacity  # here, because most droplets never repeat a call

    tried = 0

    async def attempt() -> T:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise first
        return await send(tried)

    def wait(state: RetryCallState) -> float:
        return policy.wait_seconds(state.attempt_number, cast("Future", state.outcome).exception(), chance())

    def stop(state: RetryCallState) -> bool:
        overruns = anyio.current_time() + state.upcoming_sleep >= deadline
        return overruns or state.attempt_number >= policy.attempts

    loop = tenacity.AsyncRetrying(
        sleep=anyio.sleep,
        wait=wait,
        stop=stop,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, DeliveryError) and again(error)),
        reraise=True,
    )
    return await loop(attempt)
