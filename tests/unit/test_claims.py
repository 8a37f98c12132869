"""Who may do what: `admin` includes both others, `write` does not include `read`. And tokens do not show."""

from __future__ import annotations

import dataclasses
import itertools
from typing import get_args

import pytest

from udc._types import Access, Permission
from udc.identity._base import Token
from udc.identity.claims import Principal

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
ACCESS: tuple[Access, ...] = get_args(Access)
ALLOWED: dict[Access, set[str]] = {
    "read": {"read", "admin"},
    "write": {"write", "admin"},
    "admin": {"admin"},
}


def principal(*permissions: str) -> Principal:
    return Principal(subject="droplet-14", droplet_id=14, issuer="i", permissions=frozenset(permissions))


@pytest.mark.parametrize(
    "held",
    [set(p) for n in range(4) for p in itertools.combinations(PERMISSIONS, n)],
    ids=lambda held: "+".join(sorted(held)),
)
@pytest.mark.parametrize("access", ACCESS)
def test_what_permissions_allow(held: set[str], access: Access) -> None:
    expected = access == "public" or bool(held & ALLOWED[access])

    assert principal(*held).may(access) is expected


@pytest.mark.parametrize("access", ["read", "write", "admin"])
def test_unknown_permissions_and_scopes_allow_nothing(access: Access) -> None:
    caller = dataclasses.replace(principal("Admin", "*", "root", ""), scopes=frozenset({"read", "write", "admin"}))

    assert not caller.may(access)


def test_a_principal_is_a_frozen_value_that_proved_something() -> None:
    assert not principal().anonymous
    assert (principal().scopes, principal().audience, principal().expires_at) == (frozenset(), "", 0.0)
    assert hash(principal("read")) == hash(principal("read"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        principal().permissions = frozenset({"admin"})  # type: ignore[misc]  # that is the point


def test_a_token_does_not_show() -> None:
    token = Token(value="eyJhidden", issued_at=1.0, expires_at=2.0)

    assert "hidden" not in f"{token} {token!r}"
    assert token.value == "eyJhidden"
