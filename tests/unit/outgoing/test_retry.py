"""What may be retried, how long it waits, and that it never outlives the deadline."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel
import looptime
import pytest
import trio.testing

from udc.errors import (
    CallTimeout,
    ConfigError,
    ConnectionLost,
    DeliveryError,
    InvalidReply,
    PeerError,
    PeerUnreachable,
    TokenError,
    UnknownPeer,
)
from udc.messages import MessageType
from udc.retry import RetryPolicy, may_retry, retrying


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": looptime.new_event_loop}


def answered(code: str, status: int = 500, *, retryable: bool = False, after: float | None = None) -> PeerError:
    return PeerError("x", peer="p", status=status, code=code, retryable=retryable, retry_after_seconds=after)


def forbidden() -> PeerUnreachable:
    error = PeerUnreachable("x", peer="p")
    error.__cause__ = ConfigError(["no https"])
    return error


READS = (MessageType.QUERY, MessageType.STATUS)
WORKS = (MessageType.COMMAND, MessageType.EVENT)

NOTHING_RAN = ["NOT_READY", "DRAINING", "OVERLOADED", "RATE_LIMITED", "KEYS_UNAVAILABLE"]
FINAL = [
    answered("INVALID_REQUEST", 400),
    answered("HOP_LIMIT", 400),
    answered("UNAUTHORIZED", 401),
    answered("FORBIDDEN", 403),
    answered("NO_HANDLER", 404),
    answered("DEADLINE_EXCEEDED", 408),
    answered("CONFLICT", 409),
    answered("INTERNAL_ERROR", 500),
    answered("INTERNAL_ERROR", 500, retryable=True),
    answered("DEPENDENCY_UNAVAILABLE", 503),
    answered("DEPENDENCY_UNAVAILABLE", 503, retryable=True),
    answered("TIMEOUT", 504),
    answered("QUOTA_SPENT", 422),
    answered("HTTP_500", 500),
    forbidden(),
    CallTimeout("x", peer="p"),
    UnknownPeer("x", peer="p"),
    InvalidReply("x", peer="p"),
    DeliveryError("x", peer="p"),
    TokenError("x"),
    RuntimeError("x"),
]
# Only where it cannot do the work twice.
PASSING = [
    ConnectionLost("x", peer="p"),
    answered("BUSY", 422, retryable=True),
    answered("HTTP_502", 502),
    answered("HTTP_503", 503),
    answered("HTTP_504", 504),
]


@pytest.mark.parametrize("kind", [*READS, *WORKS])
@pytest.mark.parametrize("deduplicated", [False, True])
def test_where_nothing_ran_anything_may_be_sent_again(kind: MessageType, deduplicated: bool) -> None:
    assert may_retry(PeerUnreachable("x", peer="p"), kind, deduplicated=deduplicated)
    for code in NOTHING_RAN:
        assert may_retry(answered(code, 503, retryable=True), kind, deduplicated=deduplicated), code


@pytest.mark.parametrize("error", FINAL, ids=repr)
@pytest.mark.parametrize("kind", [*READS, *WORKS])
@pytest.mark.parametrize("deduplicated", [False, True])
def test_what_is_final(error: BaseException, kind: MessageType, deduplicated: bool) -> None:
    assert not may_retry(error, kind, deduplicated=deduplicated)


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_have_run_is_repeated_only_where_that_is_harmless(error: BaseException) -> None:
    for kind in READS:
        assert may_retry(error, kind, deduplicated=False)
    for kind in WORKS:
        assert may_retry(error, kind, deduplicated=True)
        assert not may_retry(error, kind, deduplicated=False)


def test_the_policy_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="attempts must be 1 or more, not 0"):
        RetryPolicy(attempts=0)
    for name in ("base_seconds", "cap_seconds", "retry_after_cap_seconds"):
        for value in (-1.0, math.nan):
            with pytest.raises(ValueError, match=name):
                RetryPolicy(**{name: value})  # type: ignore[arg-type]


def test_the_wait_is_exponential_with_full_jitter_and_a_cap() -> None:
    policy = RetryPolicy(base_seconds=0.1, cap_seconds=1.0)
    lost = ConnectionLost("x", peer="p")
    assert [policy.wait_seconds(tried, lost, 1.0) for tried in range(1, 6)] == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert policy.wait_seconds(3, lost, 0.0) == 0.0
    assert policy.wait_seconds(3, lost, 0.5) == 0.2
    assert policy.wait_seconds(10_000, lost, 1.0) == 1.0


@pytest.mark.parametrize(("after", "wait"), [(2.0, 2.05), (999.0, 30.05), (0.0, 0.05), (-5.0, 0.05), (math.nan, 0.05)])
def test_retry_after_is_obeyed_up_to_its_cap(after: float, wait: float) -> None:
    assert RetryPolicy().wait_seconds(1, answered("OVERLOADED", after=after), 0.5) == pytest.approx(wait)


class Script:
    """Fails as told, then succeeds; notes when each try came."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.tries: list[tuple[int, float]] = []
        self.began = anyio.current_time()

    async def __call__(self, number: int) -> str:
        await anyio.lowlevel.checkpoint()
        self.tries.append((number, round(anyio.current_time() - self.began, 6)))
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def run(
    script: Callable[[int], object],
    policy: RetryPolicy | None = None,
    *,
    seconds: float = 10,
    again: Callable[[DeliveryError], bool] = lambda _: True,
) -> str:
    return await retrying(
        script,  # type: ignore[arg-type]
        policy=policy or RetryPolicy(),
        again=again,
        chance=lambda: 1.0,
        deadline=anyio.current_time() + seconds,
    )


def lost() -> ConnectionLost:
    return ConnectionLost("x", peer="p")


async def test_it_tries_until_it_succeeds() -> None:
    script = Script(lost(), lost(), lost())
    assert await run(script) == "done"
    assert script.tries == [(1, 0), (2, 0.1), (3, 0.3), (4, 0.7)]


async def test_after_the_last_attempt_the_last_error_is_raised() -> None:
    last = lost()
    script = Script(lost(), lost(), last)
    with pytest.raises(ConnectionLost) as caught:
        await run(script, RetryPolicy(attempts=3))
    assert caught.value is last
    assert [number for number, _ in script.tries] == [1, 2, 3]


async def test_one_attempt_is_one_attempt() -> None:
    script = Script(lost())
    with pytest.raises(ConnectionLost):
        await run(script, RetryPolicy(attempts=1))
    assert len(script.tries) == 1


async def test_a_final_error_ends_it_at_any_try() -> None:
    script = Script(lost(), UnknownPeer("x", peer="p"), lost())
    with pytest.raises(UnknownPeer):
        await run(script, again=lambda error: isinstance(error, ConnectionLost))
    assert len(script.tries) == 2


@pytest.mark.parametrize("at", [0, 1])
async def test_other_exceptions_pass_at_once(at: int) -> None:
    script = Script(*[lost()] * at, RuntimeError("bug"))
    with pytest.raises(RuntimeError, match="bug"):
        await run(script)
    assert len(script.tries) == at + 1


async def test_it_does_not_wait_past_the_deadline_but_raises_now() -> None:
    last = lost()
    script = Script(lost(), lost(), last)
    began = anyio.current_time()
    with pytest.raises(ConnectionLost) as caught:
        await run(script, seconds=0.65)
    assert caught.value is last
    assert anyio.current_time() - began == pytest.approx(0.3)


async def test_a_long_retry_after_is_no_reason_to_sit_out_the_deadline() -> None:
    script = Script(answered("OVERLOADED", 503, after=20))
    began = anyio.current_time()
    with pytest.raises(PeerError):
        await run(script, seconds=10)
    assert anyio.current_time() == began


async def test_cancelling_ends_the_wait() -> None:
    script = Script(lost(), lost())
    with anyio.move_on_after(0.15) as scope:
        await run(script)
    assert scope.cancelled_caught
    assert len(script.tries) == 2


async def test_cancelling_ends_a_later_try() -> None:
    async def second_hangs(number: int) -> str:
        if number == 1:
            raise lost()
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.move_on_after(1) as scope:
        await run(second_hangs)
    assert scope.cancelled_caught
