"""Token buckets: how much passes, when the next may come, and what is forgotten."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udc.errors import RateLimited
from udc.identity.claims import Principal
from udc.surface._base import HttpRequest
from udc.surface.rates import Buckets, Rate, Rates, address_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def principal(droplet_id: int | None, *, subject: str = "s", anonymous: bool = False) -> Principal:
    return Principal(
        subject=subject, droplet_id=droplet_id, issuer="i", permissions=frozenset({"read"}), anonymous=anonymous
    )


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    clock = Clock()
    buckets = Buckets(Rate(2.0, 3), clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("a") == pytest.approx(0.5), "a refusal costs nothing"
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 100
    assert [buckets.take("a") > 0 for _ in range(4)] == [False, False, False, True]


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(per_second: float, burst: int, waits: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second, burst), clock=clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        left = buckets.take("a")
        passed += not left
        if left:
            assert left <= 1 / per_second + 1e-6
            clock.now += left
            assert buckets.take("a") < 1e-6, "what Retry-After says is enough"
            passed += 1
        assert passed <= burst + (clock.now - 1000) * per_second + 1e-3


def test_the_key_that_was_away_for_longest_is_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 2), clock=Clock(), max_keys=2)
    assert [buckets.take(key) for key in "abac"] == [0, 0, 0, 0]
    assert len(buckets._full_at) == 2
    assert buckets.take("a") > 0, "it came after b, which is forgotten"
    assert [buckets.take("b") for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), (1, 0)])
def test_a_rate_that_lets_nothing_pass_is_refused(per_second: float, burst: int) -> None:
    with pytest.raises(ValueError, match="must let something pass"):
        Rate(per_second, burst)


def test_addresses_have_their_limit_but_probes_are_free() -> None:
    rates = Rates(caller=None, address=Rate(1.0, 1), clock=Clock())
    rates.admit_address(HttpRequest(method="GET", path="/state", client="1.1.1.1"))
    with pytest.raises(RateLimited, match="this address asks more often") as caught:
        rates.admit_address(HttpRequest(method="GET", path="/state", client="1.1.1.1"))
    assert caught.value.retry_after_seconds == pytest.approx(1.0)
    for path in ("/health", "/livez", "/readyz"):
        rates.admit_address(HttpRequest(method="GET", path=path, client="1.1.1.1"))
    rates.admit_caller(principal(7))
    rates.admit_caller(principal(7))


def test_callers_have_their_limit_each() -> None:
    rates = Rates(caller=Rate(1.0, 1), address=None, clock=Clock())
    for caller in (principal(7), principal(None, subject="a"), principal(None, subject="b")):
        rates.admit_caller(caller)
        with pytest.raises(RateLimited, match="this caller asks more often"):
            rates.admit_caller(caller)
    for _ in range(3):
        rates.admit_caller(principal(None, anonymous=True))
        rates.admit_address(HttpRequest(method="GET", path="/state", client="1.1.1.1"))


@pytest.mark.parametrize(
    ("client", "key"),
    [
        (None, "unknown"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("unix:socket", "unix:socket"),
    ],
)
def test_what_counts_as_one_address(client: str | None, key: str) -> None:
    assert address_key(client) == key
