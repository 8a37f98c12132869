"""Whatever is done to a good token, it never verifies, and never causes anything but `Unauthorized`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.identity.conftest import EPOCH, at_once
from tests.unit.identity.test_verify import GOOD, forge, header, make
from udc._ids import Ambient
from udc.errors import Unauthorized
from udc.identity.claims import Principal
from udc.identity.keys import SigningKey
from udc.identity.verify import TokenVerifier

AMBIENT = Ambient(wall=lambda: EPOCH, new_id=lambda: "id", chance=lambda: 0.5)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0ä"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def fuzzed(key: SigningKey) -> TokenVerifier:
    return make(key, AMBIENT)


def verdict(verifier: TokenVerifier, token: str) -> Principal | None:
    try:
        found: Principal = at_once(verifier.verify(token))
    except Unauthorized:
        return None
    return found


@given(data=st.data())
def test_one_changed_place_is_enough(fuzzed: TokenVerifier, key: SigningKey, data: st.DataObject) -> None:
    good = key.sign(GOOD)
    place = data.draw(st.integers(0, len(good)))
    removed = data.draw(st.integers(0, 3))
    added = data.draw(st.text(ALPHABET, max_size=3))
    mutated = good[:place] + added + good[place + removed :]
    assert mutated == good or verdict(fuzzed, mutated) is None


@given(text=st.text(max_size=300))
def test_any_text(fuzzed: TokenVerifier, text: str) -> None:
    assert verdict(fuzzed, text) is None


@given(parts=st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_any_three_parts(fuzzed: TokenVerifier, parts: list[bytes]) -> None:
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    assert verdict(fuzzed, token) is None


@given(name=st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "zip", "enc"]), value=json_values)
def test_any_header(fuzzed: TokenVerifier, key: SigningKey, name: str, value: Any) -> None:
    unsigned = forge(key, header(key, **{name: value}), GOOD, signature=b"\1" * 256)
    assert verdict(fuzzed, unsigned) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted([*GOOD, "nbf", "typ", "token_use"])), value=json_values)
def test_any_signed_claim_is_taken_or_refused(fuzzed: TokenVerifier, key: SigningKey, name: str, value: Any) -> None:
    payload = json.dumps({**GOOD, name: value}).encode()
    if len(payload) > 5000:
        return
    caller = verdict(fuzzed, forge(key, header(key), payload))
    if caller is not None:
        assert caller.issuer == GOOD["iss"]
        assert caller.audience == GOOD["aud"]
        assert isinstance(caller.droplet_id, int)
        assert EPOCH - 30 < caller.expires_at < 1e12
        assert caller.permissions <= {"read", "write", "admin"}
