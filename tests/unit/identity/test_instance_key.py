from __future__ import annotations

import base64

import pytest

from udc.identity.audiences import own_audience, registry_audience
from udc.identity.instance_key import InstanceKey, verify_signature


def test_what_it_signs_verifies_and_nothing_else() -> None:
    pair, other = InstanceKey.generate(), InstanceKey.generate()
    signature = pair.sign(b"proof")
    assert verify_signature(pair.public_key, signature, b"proof")
    assert not verify_signature(pair.public_key, signature, b"proo")
    assert not verify_signature(other.public_key, signature, b"proof")
    assert not verify_signature(pair.public_key, other.sign(b"proof"), b"proof")


def test_the_wire_form_is_raw_bytes_in_unpadded_base64url() -> None:
    pair = InstanceKey.generate()
    assert len(base64.urlsafe_b64decode(pair.public_key + "=")) == 32
    assert len(base64.urlsafe_b64decode(pair.sign(b"") + "==")) == 64
    assert "=" not in pair.public_key + pair.sign(b"")


@pytest.mark.parametrize("bad", ["", "=", "AAAA", "ä", "A" * 43 + "=", "+" * 43, "A" * 42 + "B", "x" * 10_000, "A"])
def test_malformed_parts_are_false_and_raise_nothing(bad: str) -> None:
    pair = InstanceKey.generate()
    signature = pair.sign(b"x")
    assert not verify_signature(bad, signature, b"x")
    assert not verify_signature(pair.public_key, bad, b"x")


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    pair = InstanceKey.generate()
    signature = pair.sign(b"x")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    assert base64.urlsafe_b64decode(sibling + "==") == base64.urlsafe_b64decode(signature + "==")
    assert not verify_signature(pair.public_key, sibling, b"x")


def test_the_repr_shows_the_public_half_only() -> None:
    pair = InstanceKey.generate()
    assert repr(pair) == f"InstanceKey(public_key={pair.public_key!r})"


def test_the_audiences() -> None:
    assert own_audience("fullpotential.droplets", 14) == "fullpotential.droplets/14"
    assert registry_audience("m") == "m/registry"
