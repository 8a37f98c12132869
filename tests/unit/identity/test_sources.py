from __future__ import annotations

import json
import math
from typing import Any

import jwt
import pytest

from tests.unit.identity.conftest import EPOCH, Wall, at_once
from udc._ids import Ambient
from udc.errors import ConfigError, TokenError
from udc.identity import _base64url
from udc.identity.jwks import FixedKeys
from udc.identity.keys import SigningKey
from udc.identity.sources import received_token, unverified_claims
from udc.identity.tokens import FixedToken, RegistryTokens, SelfSigned
from udc.identity.verify import TokenVerifier

SECRET = "hunter2-of-droplet-14"


def raw(payload: Any) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"x.{_base64url.encode(data)}.x"


class TestReceived:
    @pytest.mark.parametrize(
        ("claims", "expires_in", "life"),
        [
            ({}, 3600, 3600),
            ({}, 59.5, 59.5),
            ({"iat": EPOCH, "exp": EPOCH + 600}, None, 600),
            # The issuer's clock is an hour ahead, or a day behind: the life is the same.
            ({"iat": EPOCH + 3600, "exp": EPOCH + 4200}, None, 600),
            ({"iat": EPOCH - 86400, "exp": EPOCH - 85800}, None, 600),
            ({"iat": EPOCH, "exp": EPOCH + 600}, 3600, 600),
            ({"iat": EPOCH, "exp": EPOCH + 600}, 60, 60),
            ({"exp": EPOCH + 500}, None, 500),
            # An absolute time in the field of a life; rubbish in it.
            ({"iat": EPOCH, "exp": EPOCH + 600}, EPOCH + 600, 600),
            ({"iat": EPOCH, "exp": EPOCH + 600}, (EPOCH + 600) * 1000, 600),
            ({}, EPOCH + 600, 300),
            ({}, None, 300),
            ({}, True, 300),
            ({}, "3600", 300),
            ({}, -5, 300),
            ({}, math.nan, 300),
            ({}, math.inf, 300),
            ({}, 10**400, 300),
            ({"iat": "x", "exp": True}, None, 300),
        ],
    )
    def test_its_life_is_measured_from_our_own_clock(self, claims: Any, expires_in: Any, life: float) -> None:
        token = received_token(raw(claims), now=EPOCH, expires_in=expires_in)
        assert (token.issued_at, token.expires_at) == (EPOCH, EPOCH + life)

    @pytest.mark.parametrize("claims", [{"exp": EPOCH - 1}, {"iat": EPOCH, "exp": EPOCH}])
    def test_one_without_life_is_refused(self, claims: Any) -> None:
        with pytest.raises(TokenError, match="already expired"):
            received_token(raw(claims), now=EPOCH)

    @pytest.mark.parametrize("value", ["", "a b", "a\r\nX-Evil: 1", "ä", "x" * 8193])
    def test_one_that_fits_no_header_is_refused(self, value: str) -> None:
        with pytest.raises(TokenError, match="cannot stand") as caught:
            received_token(value, now=EPOCH)
        assert not value or value not in str(caught.value)

    @pytest.mark.parametrize(
        "value", ["opaque", "a.b", "a.!!.c", raw(b"{"), raw(b"[1]"), raw(b"[" * 6000), raw(b"\xff")]
    )
    def test_an_opaque_one_says_nothing_of_itself(self, value: str) -> None:
        assert unverified_claims(value) == {}


class TestFixed:
    def test_its_end_is_read(self, key: SigningKey, ambient: Ambient, wall: Wall) -> None:
        value = key.sign({"exp": EPOCH + 60})
        source = FixedToken(value, ambient=ambient)
        for audience in (None, "a"):
            token = at_once(source.fetch(audience))
            assert (token.value, token.expires_at) == (value, EPOCH + 60)
        wall.now = EPOCH + 119
        assert at_once(source.fetch("a")).expires_at == wall.now + 1
        wall.now = EPOCH + 120
        with pytest.raises(TokenError, match="this machine's clock"):
            at_once(source.fetch("a"))

    def test_an_opaque_one_is_endless(self, ambient: Ambient) -> None:
        assert at_once(FixedToken("opaque", ambient=ambient).fetch(None)).expires_at == math.inf

    @pytest.mark.parametrize("value", ["", "two words", "a\nb"])
    def test_one_that_fits_no_header_is_refused(self, ambient: Ambient, value: str) -> None:
        with pytest.raises(ConfigError, match="fixed token"):
            FixedToken(value, ambient=ambient)

    def test_it_is_never_shown(self, ambient: Ambient) -> None:
        source = FixedToken("opaque-secret", ambient=ambient)
        assert "opaque-secret" not in repr(source) + repr(at_once(source.fetch(None)))


class TestSelfSigned:
    def test_it_has_the_contracts_claims(self, key: SigningKey, ambient: Ambient) -> None:
        source = SelfSigned(
            key, droplet_id=14, ambient=ambient, steward="ada", permissions=["write", "read"], scopes=["b", "a"]
        )
        token = at_once(source.fetch("m/15"))
        assert jwt.decode(token.value, options={"verify_signature": False}) == {
            "iss": "registry.fullpotential.ai",
            "aud": "m/15",
            "droplet_id": 14,
            "sub": "droplet-14",
            "steward": "ada",
            "permissions": ["read", "write"],
            "scope": "a b",
            "iat": EPOCH,
            "exp": EPOCH + 3600,
            "jti": "00000000-0000-4000-8000-000000000000",
        }
        assert (token.issued_at, token.expires_at) == (EPOCH, EPOCH + 3600)

    def test_it_verifies_and_no_two_are_alike(self, key: SigningKey, ambient: Ambient) -> None:
        source = SelfSigned(key, droplet_id=14, ambient=ambient, issuer="me", instance_id="i", lifetime_seconds=60)
        first, second = at_once(source.fetch("a")), at_once(source.fetch("a"))
        assert first.value != second.value
        verifier = TokenVerifier(FixedKeys(key.public_pem), issuer="me", audiences=frozenset({"a"}), ambient=ambient)
        assert at_once(verifier.verify(first.value)).instance_id == "i"

    def test_without_an_audience_it_has_no_aud(self, key: SigningKey, ambient: Ambient) -> None:
        token = at_once(SelfSigned(key, droplet_id="node", ambient=ambient).fetch(None))
        claims = unverified_claims(token.value)
        assert "aud" not in claims
        assert (claims["droplet_id"], claims["sub"]) == ("node", "droplet-node")

    def test_an_audience_may_have_less(self, key: SigningKey, ambient: Ambient) -> None:
        signing = SelfSigned(
            key, droplet_id=14, ambient=ambient, scopes=["udc:send"], narrow={"m": frozenset({"write", "admin"})}
        )
        shown = unverified_claims(at_once(signing.fetch("m")).value)
        own = unverified_claims(at_once(signing.fetch("m/15")).value)
        assert (shown["permissions"], "scope" in shown) == (["write"], False)
        assert (own["permissions"], own["scope"]) == (["read", "write"], "udc:send")

    def test_a_life_must_be_positive(self, key: SigningKey, ambient: Ambient) -> None:
        with pytest.raises(ConfigError, match="not positive"):
            SelfSigned(key, droplet_id=14, ambient=ambient, lifetime_seconds=0)

    def test_its_repr_names_key_and_subject(self, key: SigningKey, ambient: Ambient) -> None:
        assert repr(SelfSigned(key, droplet_id=14, ambient=ambient)) == f"SelfSigned({key!r}, sub='droplet-14')"


class Registry:
    """Answers `POST /auth/token` with what it is told to."""

    def __init__(self, status: int = 200, answer: Any = None) -> None:
        self.status = status
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    async def __call__(self, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[int, bytes]:
        self.asked.append((url, dict(headers), json.loads(body)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.status, self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()


def source(registry: Any, ambient: Ambient, url: str = "https://r.example/", **more: Any) -> RegistryTokens:
    return RegistryTokens(url, droplet_id=14, secret=SECRET, post=registry, ambient=ambient, **more)


class TestRegistry:
    @pytest.mark.parametrize("field", ["token", "access_token"])
    @pytest.mark.parametrize("audience", ["m", None])
    def test_it_asks_as_the_contract_says(self, ambient: Ambient, field: str, audience: str | None) -> None:
        registry = Registry(200, {field: "opaque", "expires_in": 60})
        token = at_once(source(registry, ambient).fetch(audience))
        assert (token.value, token.issued_at, token.expires_at) == ("opaque", EPOCH, EPOCH + 60)
        [(url, headers, body)] = registry.asked
        assert url == "https://r.example/auth/token"
        assert headers == {"Content-Type": "application/json", "X-Droplet-Secret": SECRET}
        assert body == {"droplet_id": 14, "secret": SECRET, "audience": audience}

    def test_it_asks_for_no_more_than_an_audience_may_have(self, ambient: Ambient) -> None:
        registry = Registry(200, {"token": "opaque", "expires_in": 60})
        asking = source(registry, ambient, narrow={"m": frozenset({"read", "write"}), None: frozenset({"read"})})
        for audience in ("m", None, "m/15", "m/registry"):
            at_once(asking.fetch(audience))
        wishes = [{name: body.get(name) for name in ("permissions", "scope")} for _, _, body in registry.asked]
        assert wishes == [
            {"permissions": ["read", "write"], "scope": ""},
            {"permissions": ["read"], "scope": ""},
            {"permissions": None, "scope": None},
            {"permissions": None, "scope": None},
        ]

    def test_enrolled_with_less_it_asks_for_what_there_is(self, ambient: Ambient) -> None:
        registry = Registry()

        async def answer(url: str, headers: Any, body: bytes) -> tuple[int, bytes]:
            await registry(url, headers, body)
            if "write" in json.loads(body)["permissions"]:
                return 403, json.dumps({"error": {"details": {"missing": ["write"]}}}).encode()
            return 200, b'{"token": "opaque"}'

        asking = source(answer, ambient, narrow={"m": frozenset({"read", "write"}), "n": frozenset({"write"})})
        assert at_once(asking.fetch("m")).value == "opaque"
        assert [body["permissions"] for _, _, body in registry.asked] == [["read", "write"], ["read"]]
        with pytest.raises(TokenError, match="answered 403"):
            at_once(asking.fetch("n"))

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"error": {"details": {"missing": 5}}}', b'{"error": "no"}'])
    def test_a_refusal_that_names_nothing_missing_is_one(self, ambient: Ambient, body: bytes) -> None:
        registry = Registry(403, body)
        with pytest.raises(TokenError, match="answered 403"):
            at_once(source(registry, ambient, narrow={"m": frozenset({"read", "write"})}).fetch("m"))
        assert len(registry.asked) == 1

    def test_a_foreign_answer_without_a_life_is_decoded(self, ambient: Ambient) -> None:
        value = raw({"sub": "14", "iat": EPOCH, "exp": EPOCH + 77})
        token = at_once(
            source(Registry(201, {"token": value, "droplet_id": 14, "algorithm": "RS256"}), ambient).fetch("")
        )
        assert token.expires_at == EPOCH + 77

    @pytest.mark.parametrize(
        ("status", "answer", "reason"),
        [
            (401, {"detail": SECRET}, "answered 401; it does not take the secret of droplet 14"),
            (403, {}, "does not take the secret"),
            (404, {}, "is that the Registry's base URL"),
            (302, {}, "answered 302"),
            (500, SECRET.encode(), "answered 500; it will be asked again"),
            (200, b"<html>", "not JSON"),
            (200, b"[" * 60_000, "not JSON"),
            (200, b"x" * 65_537, "65537 bytes"),
            (200, [], "without a token"),
            (200, {"token": None}, "without a token"),
            (200, {"token": 7}, "without a token"),
            (200, {"token": "a b"}, "cannot stand"),
            (200, {"token": raw({"exp": 5})}, "already expired"),
            (200, OSError(SECRET), r"could not be reached \(OSError\)"),
        ],
    )
    def test_what_goes_wrong_is_said_without_the_secret(
        self, ambient: Ambient, status: int, answer: Any, reason: str
    ) -> None:
        with pytest.raises(TokenError, match=reason) as caught:
            at_once(source(Registry(status, answer), ambient).fetch("m"))
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_the_secret_goes_to_secure_addresses_only(self, ambient: Ambient) -> None:
        with pytest.raises(ConfigError, match="neither https nor loopback"):
            source(Registry(), ambient, "http://r.example")
        source(Registry(), ambient, "http://127.0.0.1:8000")
        more: dict[str, Any] = {"droplet_id": 14, "post": Registry(), "ambient": ambient}
        RegistryTokens("http://r.example", secret=SECRET, insecure_hosts=frozenset({"r.example"}), **more)
        for secret in ("", "a\nb"):
            with pytest.raises(ConfigError, match="droplet secret"):
                RegistryTokens("https://r.example", secret=secret, **more)

    def test_the_secret_is_never_shown(self, ambient: Ambient) -> None:
        assert repr(source(Registry(), ambient)) == "RegistryTokens('https://r.example/auth/token', droplet_id=14)"
