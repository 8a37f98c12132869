"""Keys and tokens for tests."""

from __future__ import annotations

from udc.identity.sources import unverified_claims
from udc.testing import FakeRegistry, Keys


def test_keys_are_made_once_per_process() -> None:
    assert Keys().current is Keys().current
    assert Keys("stranger").current.kid == "stranger-1"
    assert FakeRegistry().keys.current is Keys().current
    assert "registry-1" in repr(Keys())


def test_any_claim_can_be_forged() -> None:
    claims = unverified_claims(Keys(wall=lambda: 1000.5).token(droplet_id=14, scopes=["b", "a"], exp=5, aud=None, x=1))
    del claims["jti"]
    assert claims == {
        "iss": "registry.fullpotential.ai",
        "droplet_id": 14,
        "sub": "droplet-14",
        "steward": "tests",
        "permissions": ["admin", "read", "write"],
        "scope": "a b",
        "iat": 1000,
        "exp": 5,
        "x": 1,
    }
