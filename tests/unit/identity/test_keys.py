from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from udc.errors import ConfigError
from udc.identity.keys import SigningKey, thumbprint

# RFC 7638 section 3.1
RFC_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
    "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQv"
    "RL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_the_thumbprint_is_the_one_of_the_rfc() -> None:
    assert thumbprint(RFC_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "oct", "k": "x"}, {"kty": "RSA", "n": "x"}, {"kty": "RSA", "n": 1, "e": "x"}]
)
def test_no_thumbprint_without_public_members(jwk: dict) -> None:
    with pytest.raises(ValueError, match="no thumbprint"):
        thumbprint(jwk)


def test_a_key_survives_its_pem(key: SigningKey) -> None:
    again = SigningKey.from_pem(key.private_pem)
    assert again.jwk() == key.jwk()
    assert SigningKey.from_pem(key.private_pem.encode(), kid="mine").kid == "mine"


def test_the_jwk_is_public_and_named(key: SigningKey) -> None:
    jwk = key.jwk()
    assert set(jwk) == {"kty", "use", "alg", "kid", "n", "e"}
    assert jwk["kid"] == key.kid == thumbprint(jwk)
    jwk["n"] = "changed"
    assert key.jwk()["n"] != "changed"


def test_what_it_signs_carries_its_name(key: SigningKey) -> None:
    token = key.sign({"a": 1}, {"typ": "at+jwt"})
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}
    assert jwt.decode(token, key.public_pem, algorithms=["RS256"]) == {"a": 1}


@pytest.mark.parametrize("headers", [{"alg": "none"}, {"kid": "x"}])
def test_headers_cannot_change_algorithm_or_name(key: SigningKey, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="leave them out"):
        key.sign({}, headers)


def test_unfit_pems_say_what_they_are(key: SigningKey) -> None:
    cases: dict[str, str | bytes] = {
        "at least 2048": pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        "a public key": key.public_pem,
        "no PEM private key": "hunter2",
        "passphrase": pem(ec.generate_private_key(ec.SECP256R1()), b"hunter2"),
        "ECPrivateKey": pem(ec.generate_private_key(ec.SECP256R1())),
    }
    for text, data in cases.items():
        with pytest.raises(ConfigError, match=text) as caught:
            SigningKey.from_pem(data)
        assert "hunter2" not in str(caught.value)


def test_an_empty_name_is_refused(key: SigningKey) -> None:
    with pytest.raises(ConfigError, match="kid is empty"):
        SigningKey.from_pem(key.private_pem, kid="")


def test_the_repr_shows_the_name_only(key: SigningKey) -> None:
    assert repr(key) == f"SigningKey(kid={key.kid!r})"
