"""Who may pass, and how failures are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from udc.errors import Forbidden, KeysUnavailable, RateLimited, Unauthorized
from udc.identity.claims import Principal
from udc.identity.verify import NoAuth
from udc.instrument import AuthenticationFailed, Event, Instrument
from udc.surface import guard as guarding
from udc.surface._base import Endpoint, HttpRequest
from udc.surface.guard import FailureLimit, Guard


async def handler(_: object) -> None: ...


def endpoint(access: Any = "read", scope: str | None = None) -> Endpoint:
    return Endpoint(method="GET", path="/a/{b}", access=access, handler=handler, scope=scope)


def principal(*permissions: str, scopes: tuple[str, ...] = ()) -> Principal:
    return Principal(
        subject="droplet-7",
        droplet_id=7,
        issuer="i",
        permissions=frozenset(permissions),
        scopes=frozenset(scopes),
    )


@dataclass
class Table:
    """Knows its tokens by heart."""

    known: dict[str, Principal]
    seen: list[str] = field(default_factory=list)

    async def verify(self, token: str) -> Principal:
        self.seen.append(token)
        if token == "early":
            raise KeysUnavailable("no keys yet")
        if token not in self.known:
            raise Unauthorized("the token has expired" if token else "there is no bearer token")
        return self.known[token]


class World:
    def __init__(self, limit: int = 2, **known: Principal) -> None:
        self.now = 100.0
        self.events: list[Event] = []
        self.verifier = Table(known)
        self.failures = FailureLimit(limit=limit, window_seconds=60, clock=lambda: self.now)
        self.guard = Guard(verifier=self.verifier, failures=self.failures, instrument=Instrument([self.events.append]))

    async def ask(
        self, authorization: str | None, row: Endpoint | None = None, client: str | None = "1.1.1.1"
    ) -> Principal:
        headers = {} if authorization is None else {"authorization": authorization}
        return await self.guard.admit(
            row or endpoint(), HttpRequest(method="GET", path="/a/1", headers=headers, client=client)
        )


GRANTED = {"read": {"read", "admin"}, "write": {"write", "admin"}, "admin": {"admin"}}


@pytest.mark.parametrize("access", ["read", "write", "admin"])
@pytest.mark.parametrize("permission", ["read", "write", "admin"])
async def test_permissions(access: str, permission: str) -> None:
    world = World(t=principal(permission))
    if permission in GRANTED[access]:
        assert await world.ask("Bearer t", endpoint(access)) is world.verifier.known["t"]
    else:
        with pytest.raises(Forbidden) as caught:
            await world.ask("Bearer t", endpoint(access))
        assert caught.value.details == {"missing_permission": access, "scope": None}
        assert f"GET /a/{{b}} needs {access}; the token has {permission}" in caught.value.message
    assert world.events == []


async def test_a_scope_stands_in_for_a_permission() -> None:
    world = World(t=principal(scopes=("udc:send",)), u=principal())
    await world.ask("Bearer t", endpoint("admin", "udc:send"))
    with pytest.raises(Forbidden, match="needs admin or scope udc:send; the token has no permissions"):
        await world.ask("Bearer u", endpoint("admin", "udc:send"))
    with pytest.raises(Forbidden):
        await world.ask("Bearer t", endpoint("admin", "other"))


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, ""),
        ("", ""),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("Basic dDp0", ""),
        ("t", ""),
        ("bearer t", "t"),
        ("BEARER   t  ", "t"),
        ("Bearer t, Bearer u", "t, Bearer u"),
        ("Basic dDp0, Bearer t", ""),
    ],
)
async def test_the_header_is_read_by_rfc_6750(header: str | None, token: str) -> None:
    world = World(t=principal("read"))
    if token == "t":
        await world.ask(header)
    else:
        with pytest.raises(Unauthorized) as caught:
            await world.ask(header)
        # Only who sent a token is told that it is wrong.
        assert caught.value.details == ({"error": "invalid_token"} if token else {})
        assert ("is not one bearer token" in caught.value.message) == (header is not None and "," in header)
    assert world.verifier.seen == [token]


async def test_failures_over_the_limit_are_429_while_good_tokens_pass() -> None:
    world = World(limit=2, t=principal("read"))
    for second in (100.0, 110.0):
        world.now = second
        with pytest.raises(Unauthorized):
            await world.ask("Bearer x")
    world.now = 120.0
    with pytest.raises(RateLimited) as caught:
        await world.ask(None)
    assert caught.value.retry_after_seconds == 40.0
    await world.ask("Bearer t")
    with pytest.raises(Unauthorized):
        await world.ask("Bearer x", client="2.2.2.2")
    world.now = 160.0  # the first has aged out, exactly
    with pytest.raises(Unauthorized):
        await world.ask("Bearer x")
    assert [type(event) for event in world.events] == [AuthenticationFailed] * 5
    assert world.events[0] == AuthenticationFailed(client="1.1.1.1", route="/a/{b}", reason="the token has expired")


async def test_addresses_of_one_ipv6_network_share_one_count() -> None:
    """Its owner has 2**64 of them."""
    world = World(limit=1)
    with pytest.raises(Unauthorized):
        await world.ask("Bearer x", client="2001:db8::1")
    with pytest.raises(RateLimited):
        await world.ask("Bearer x", client="2001:db8::ffff:2")
    with pytest.raises(Unauthorized):
        await world.ask("Bearer x", client="2001:db8:0:1::1")


async def test_callers_without_an_address_share_one_count() -> None:
    world = World(limit=1)
    with pytest.raises(Unauthorized):
        await world.ask("Bearer x", client=None)
    with pytest.raises(RateLimited):
        await world.ask("Bearer x", client=None)


async def test_missing_keys_are_no_failure_of_the_callers() -> None:
    world = World(limit=1)
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await world.ask("Bearer early")
    assert world.events == []


def test_addresses_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "_MAX_ADDRESSES", 2)
    failures = FailureLimit(limit=1, window_seconds=60, clock=lambda: 0.0)
    assert [failures.note(address) for address in ("a", "b", "a", "c")] == [None, None, 60.0, None]
    assert len(failures._failures) == 2
    assert failures.note("a") == 60.0  # used last, so it stayed
    assert failures.note("b") is None


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (None, True),
        ("http://localhost:8002", True),
        ("http://127.0.0.1:3000", True),
        ("https://evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
async def test_where_everybody_may_do_anything_web_pages_of_other_machines_may_not(
    origin: str | None, passes: bool
) -> None:
    failures = FailureLimit(limit=2, window_seconds=60, clock=lambda: 0.0)
    guard = Guard(verifier=NoAuth(), failures=failures, instrument=Instrument([]))
    headers = {} if origin is None else {"origin": origin}
    request = HttpRequest(method="POST", path="/shutdown", headers=headers, client="127.0.0.1")

    try:
        await guard.admit(endpoint("admin"), request)
    except Unauthorized:
        assert not passes
    else:
        assert passes


@pytest.mark.parametrize(
    ("own", "host", "passes"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", "127.0.0.1:8014", True),
        ("localhost", "LocalHost", True),
        ("127.0.0.1", "[::1]:8014", True),
        (None, "localhost", True),
        ("127.0.0.1", "evil.example", False),
        (None, "evil.example:8014", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("127.0.0.1", "[", False),
        ("127.0.0.1", "0.0.0.0", False),
        ("droplet.example", "another-name.example", True),
    ],
)
async def test_a_page_whose_name_was_made_to_mean_this_machine_is_refused(
    own: str | None, host: str | None, passes: bool
) -> None:
    failures = FailureLimit(limit=2, window_seconds=60, clock=lambda: 0.0)
    guard = Guard(verifier=NoAuth(), failures=failures, instrument=Instrument([]), host=own)
    headers = {} if host is None else {"host": host}
    request = HttpRequest(method="GET", path="/state", headers=headers, client="127.0.0.1")

    try:
        await guard.admit(endpoint("read"), request)
    except Unauthorized:
        assert not passes
    else:
        assert passes
