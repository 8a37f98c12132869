from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK
from jwt.api_jws import PyJWS

from tests.unit.identity.conftest import EPOCH, Wall, at_once
from udc._ids import Ambient
from udc.errors import ConfigError, KeysUnavailable, Unauthorized
from udc.identity.claims import Principal
from udc.identity.jwks import FixedKeys
from udc.identity.keys import SigningKey
from udc.identity.revocations import Revocations
from udc.identity.verify import IssuerPolicy, NoAuth, TokenVerifier

ISSUER = "registry.fullpotential.ai"
MESH = "fullpotential.droplets"
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": MESH,
    "droplet_id": 77,
    "sub": "droplet-77",
    "steward": "ada",
    "permissions": ["read", "write", "fly", 3],
    "scope": "udc:send images",
    "instance_id": "i-1",
    "jti": "t-1",
    "iat": EPOCH - 60,
    "exp": EPOCH + 3540,
}
ABSENT = object()


def claims(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}


def b64(data: bytes | dict[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(key: SigningKey, header: Any, payload: Any, *, signature: bytes | None = None) -> str:
    """A token whose header and payload are as given, signed by the key with RS256 unless told otherwise."""
    signed = f"{b64(header)}.{b64(payload)}"
    if signature is None:
        algorithm = PyJWS().get_algorithm_by_name("RS256")
        signature = algorithm.sign(signed.encode(), key._private)
    return f"{signed}.{b64(signature)}"


def header(key: SigningKey, **changes: Any) -> dict[str, Any]:
    full = {"alg": "RS256", "typ": "JWT", "kid": key.kid, **changes}
    return {name: value for name, value in full.items() if value is not ABSENT}


@pytest.fixture
def verifier(key: SigningKey, ambient: Ambient) -> TokenVerifier:
    return make(key, ambient)


def make(key: SigningKey, ambient: Ambient, **more: Any) -> TokenVerifier:
    keys = FixedKeys({key.kid: key.public_pem})
    return TokenVerifier(keys, issuer=ISSUER, audiences=frozenset({MESH, f"{MESH}/14"}), ambient=ambient, **more)


def refused(verifier: TokenVerifier, token: Any) -> str:
    with pytest.raises(Unauthorized) as caught:
        at_once(verifier.verify(token))
    assert caught.value.__cause__ is None
    assert not verifier._seen
    return caught.value.message


def test_a_good_token_becomes_its_principal(verifier: TokenVerifier, key: SigningKey) -> None:
    assert at_once(verifier.verify(key.sign(GOOD))) == Principal(
        subject="droplet-77",
        droplet_id=77,
        issuer=ISSUER,
        permissions=frozenset({"read", "write"}),
        scopes=frozenset({"udc:send", "images"}),
        audience=MESH,
        expires_at=EPOCH + 3540,
        steward="ada",
        instance_id="i-1",
        token_id="t-1",
    )


def test_the_barest_good_token(verifier: TokenVerifier, key: SigningKey) -> None:
    bare = {name: GOOD[name] for name in ("iss", "aud", "droplet_id", "iat", "exp")}
    principal = at_once(verifier.verify(forge(key, header(key, typ=ABSENT, kid=ABSENT), bare)))
    assert (principal.subject, principal.permissions, principal.scopes) == ("droplet-77", frozenset(), frozenset())


@pytest.mark.parametrize(
    "change",
    [
        {"aud": ["x", MESH]},
        {"aud": f"{MESH}/14"},
        {"scope": ["a", 1, "", "b"]},
        {"scope": None},
        {"nbf": EPOCH + 29},
        {"iat": EPOCH + 29},
        {"exp": EPOCH - 29},
        {"iat": EPOCH - 60.5, "exp": EPOCH + 0.5},
        {"typ": "Bearer"},
        {"token_use": "access"},
        {"type": 7},
        {"unknown": {"deep": [1]}},
    ],
)
def test_what_is_accepted_besides(verifier: TokenVerifier, key: SigningKey, change: dict[str, Any]) -> None:
    assert at_once(verifier.verify(key.sign(claims(**change)))).droplet_id == 77


BAD_CLAIMS: dict[str, tuple[str, dict[str, Any]]] = {
    "no exp": ("has no exp", {"exp": ABSENT}),
    "no iat": ("has no iat", {"iat": ABSENT}),
    "no iss": ("another issuer", {"iss": ABSENT}),
    "no aud": ("another audience", {"aud": ABSENT}),
    "no droplet_id": ("names no droplet", {"droplet_id": ABSENT}),
    "expired": ("has expired", {"exp": EPOCH - 30}),
    "expired long ago": ("has expired", {"iat": 0, "exp": 1}),
    "exp true": ("not a time", {"exp": True}),
    "exp null": ("not a time", {"exp": None}),
    "exp text": ("not a time", {"exp": str(EPOCH + 60)}),
    "exp list": ("not a time", {"exp": [EPOCH + 60]}),
    "exp in milliseconds": ("not a time", {"exp": (EPOCH + 60) * 1000}),
    "exp huge": ("not a time", {"exp": 10**400}),
    "exp negative": ("not a time", {"exp": -1}),
    "iat false": ("not a time", {"iat": False}),
    "iat text": ("not a time", {"iat": "now"}),
    "iat in the future": ("in the future", {"iat": EPOCH + 31}),
    "ends before it begins": ("ends before", {"iat": EPOCH, "exp": EPOCH}),
    "nbf in the future": ("not valid yet", {"nbf": EPOCH + 31}),
    "nbf text": ("not a time", {"nbf": "soon"}),
    "nbf null": ("not a time", {"nbf": None}),
    "foreign issuer": ("another issuer", {"iss": "evil.example"}),
    "issuer prefix": ("another issuer", {"iss": ISSUER + ".evil.example"}),
    "foreign audience": ("another audience", {"aud": f"{MESH}/15"}),
    "registry audience": ("another audience", {"aud": f"{MESH}/registry"}),
    "audience prefix": ("another audience", {"aud": MESH[:-1]}),
    "audience null": ("another audience", {"aud": None}),
    "audience empty": ("another audience", {"aud": []}),
    "audience nested": ("another audience", {"aud": [[MESH]]}),
    "audience object": ("another audience", {"aud": {MESH: 1}}),
    "droplet true": ("names no droplet", {"droplet_id": True}),
    "droplet zero": ("names no droplet", {"droplet_id": 0}),
    "droplet negative": ("names no droplet", {"droplet_id": -14}),
    "droplet text": ("names no droplet", {"droplet_id": "77"}),
    "droplet float": ("names no droplet", {"droplet_id": 77.0}),
    "droplet huge": ("names no droplet", {"droplet_id": 2**63}),
    "droplet null": ("names no droplet", {"droplet_id": None}),
    "subject number": ("sub is malformed", {"sub": 77}),
    "subject long": ("sub is malformed", {"sub": "x" * 257}),
    "subject line break": ("sub is malformed", {"sub": "droplet-77\nadmin"}),
    "steward surrogate": ("steward is malformed", {"steward": "\ud800"}),
    "jti list": ("jti is malformed", {"jti": ["t-1"]}),
    "instance object": ("instance_id is malformed", {"instance_id": {}}),
    "permissions text": ("permissions are not a list", {"permissions": "admin"}),
    "permissions object": ("permissions are not a list", {"permissions": {"admin": True}}),
    "permissions null": ("permissions are not a list", {"permissions": None}),
    "scope number": ("neither text nor a list", {"scope": 7}),
    "refresh by token_use": ("not an access token", {"token_use": "refresh"}),
    "refresh by typ": ("not an access token", {"typ": "Refresh"}),
    "refresh by token_type": ("not an access token", {"token_type": "refresh_token"}),
    "refresh by type": ("not an access token", {"type": "refresh"}),
    "identity token": ("not an access token", {"token_use": "id"}),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
def test_signed_but_bad_claims_are_refused(verifier: TokenVerifier, key: SigningKey, case: str) -> None:
    reason, change = BAD_CLAIMS[case]
    assert reason in refused(verifier, key.sign(claims(**change)))


BAD_PAYLOADS = {
    "not JSON": b"{",
    "empty": b" ",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "NaN": json.dumps(GOOD).replace(str(GOOD["exp"]), "NaN").encode(),
    "Infinity": json.dumps(GOOD).replace(str(GOOD["exp"]), "Infinity").encode(),
    "1e999": json.dumps(GOOD).replace(str(GOOD["exp"]), "1e999").encode(),
    "5,000 digits": json.dumps(GOOD).replace(str(GOOD["exp"]), "9" * 5000).encode(),
    "deep": b'{"a":' + b"[" * 5000,
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "not UTF-8": b'{"sub":"\xff"}',
    "a second exp wins": json.dumps(GOOD)[:-1].encode() + b',"exp":1}',
    "two documents": json.dumps(GOOD).encode() + b"{}",
}


@pytest.mark.parametrize("case", BAD_PAYLOADS)
def test_signed_but_odd_payloads_are_refused(verifier: TokenVerifier, key: SigningKey, case: str) -> None:
    refused(verifier, forge(key, header(key), BAD_PAYLOADS[case]))


def _hs256(key: SigningKey, secret: bytes) -> str:
    signed = f"{b64(header(key, alg='HS256'))}.{b64(GOOD)}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _with_own_key(key: SigningKey, other: SigningKey) -> str:
    own = {"jwk": other.jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["x"]}
    return forge(other, header(key, **own), GOOD)


def _es256(key: SigningKey, _: SigningKey) -> str:
    algorithm = PyJWS().get_algorithm_by_name("ES256")
    signed = f"{b64(header(key, alg='ES256'))}.{b64(GOOD)}"
    return f"{signed}.{b64(algorithm.sign(signed.encode(), ec.generate_private_key(ec.SECP256R1())))}"


Attack = Callable[[SigningKey, SigningKey], Any]
ATTACKS: dict[str, tuple[str, Attack]] = {
    "nothing": ("no bearer", lambda k, o: ""),
    "not text": ("no bearer", lambda k, o: None),
    "bytes": ("no bearer", lambda k, o: k.sign(GOOD).encode()),
    "word": ("not a signed JWT", lambda k, o: "secret"),
    "two parts": ("not a signed JWT", lambda k, o: k.sign(GOOD).rsplit(".", 1)[0]),
    "no signature": ("not a signed JWT", lambda k, o: k.sign(GOOD).rsplit(".", 1)[0] + "."),
    "four parts": ("not a signed JWT", lambda k, o: k.sign(GOOD) + ".x"),
    "five parts (JWE)": ("not a signed JWT", lambda k, o: "a.b.c.d.e"),
    "padded": ("not a signed JWT", lambda k, o: k.sign(GOOD) + "=="),
    "line break at the end": ("not a signed JWT", lambda k, o: k.sign(GOOD) + "\n"),
    "space before": ("not a signed JWT", lambda k, o: " " + k.sign(GOOD)),
    "not ASCII": ("not a signed JWT", lambda k, o: k.sign(GOOD) + "ä"),
    "lone surrogate": ("not a signed JWT", lambda k, o: k.sign(GOOD) + "\ud800"),
    "full-width digits": ("not a signed JWT", lambda k, o: k.sign(GOOD).replace(".", "．")),
    "too long": ("longer than 8192", lambda k, o: k.sign(claims(sub="x" * 9000))),
    "header of bad base64": ("header is malformed", lambda k, o: "A" + k.sign(GOOD)),
    "header not JSON": ("header is malformed", lambda k, o: forge(k, b"{", GOOD)),
    "header a list": ("header is malformed", lambda k, o: forge(k, b"[]", GOOD)),
    "header UTF-16": (
        "header is malformed",
        lambda k, o: forge(k, json.dumps(header(k)).encode("utf-16"), GOOD),
    ),
    "header deep": ("header is malformed", lambda k, o: forge(k, b'{"a":' + b"[" * 5000, {})),
    "no alg": ("algorithm", lambda k, o: forge(k, header(k, alg=ABSENT), GOOD)),
    "alg null": ("algorithm", lambda k, o: forge(k, header(k, alg=None), GOOD)),
    "alg list": ("algorithm", lambda k, o: forge(k, header(k, alg=["RS256"]), GOOD)),
    "alg none": ("algorithm", lambda k, o: forge(k, header(k, alg="none"), GOOD, signature=b"x")),
    "alg None": ("algorithm", lambda k, o: forge(k, header(k, alg="None"), GOOD, signature=b"x")),
    "alg rs256": ("algorithm", lambda k, o: forge(k, header(k, alg="rs256"), GOOD)),
    "alg RS512": ("algorithm", lambda k, o: forge(k, header(k, alg="RS512"), GOOD)),
    "HS256 with the public PEM": ("algorithm", lambda k, o: _hs256(k, k.public_pem.encode())),
    "HS256 with the modulus": ("algorithm", lambda k, o: _hs256(k, k.jwk()["n"].encode())),
    "HS256 with nothing": ("algorithm", lambda k, o: _hs256(k, b"")),
    "ES256 with a key of one's own": ("algorithm", _es256),
    "the HS256 digest called RS256": (
        "signature",
        lambda k, o: forge(k, header(k), GOOD, signature=hmac.digest(k.public_pem.encode(), b"x", "sha256")),
    ),
    "signed by somebody else": ("signature", lambda k, o: forge(o, header(k), GOOD)),
    "brings its own key": ("signature", _with_own_key),
    "signature empty bytes": ("signature", lambda k, o: forge(k, header(k), GOOD, signature=b"\0")),
    "signature zero": ("signature", lambda k, o: forge(k, header(k), GOOD, signature=b"\0" * 256)),
    "payload of another token": (
        "signature",
        lambda k, o: ".".join([*k.sign(GOOD).split(".")[:1], b64(claims(droplet_id=1)), k.sign(GOOD).split(".")[2]]),
    ),
    "kid unknown": ("not known here", lambda k, o: o.sign(GOOD)),
    "kid a path": ("not known here", lambda k, o: forge(k, header(k, kid="../../../../dev/null"), GOOD)),
    "kid SQL": ("not known here", lambda k, o: forge(k, header(k, kid="x' UNION SELECT 'k"), GOOD)),
    "kid a URL": ("not known here", lambda k, o: forge(k, header(k, kid="https://evil.example"), GOOD)),
    "kid a number": ("kid is malformed", lambda k, o: forge(k, header(k, kid=1), GOOD)),
    "kid a list": ("kid is malformed", lambda k, o: forge(k, header(k, kid=[k.kid]), GOOD)),
    "kid an object": ("kid is malformed", lambda k, o: forge(k, header(k, kid={}), GOOD)),
    "kid empty": ("kid is malformed", lambda k, o: forge(k, header(k, kid=""), GOOD)),
    "kid long": ("kid is malformed", lambda k, o: forge(k, header(k, kid="x" * 257), GOOD)),
    "crit unknown": ("extension", lambda k, o: forge(k, header(k, crit=["exp"]), GOOD)),
    "crit b64": ("extension", lambda k, o: forge(k, header(k, crit=["b64"], b64=True), GOOD)),
    "crit empty": ("extension", lambda k, o: forge(k, header(k, crit=[]), GOOD)),
    "crit null": ("extension", lambda k, o: forge(k, header(k, crit=None), GOOD)),
    "b64 false": ("extension", lambda k, o: forge(k, header(k, b64=False), GOOD)),
    "typ refresh": ("not an access token", lambda k, o: forge(k, header(k, typ="refresh"), GOOD)),
    "typ rt+jwt": ("not an access token", lambda k, o: forge(k, header(k, typ="rt+jwt"), GOOD)),
    "typ dpop+jwt": ("not an access token", lambda k, o: forge(k, header(k, typ="dpop+jwt"), GOOD)),
    "typ number": ("not an access token", lambda k, o: forge(k, header(k, typ=1), GOOD)),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_attacks_are_refused(verifier: TokenVerifier, key: SigningKey, other_key: SigningKey, case: str) -> None:
    reason, attack = ATTACKS[case]
    token = attack(key, other_key)
    message = refused(verifier, token)
    assert reason in message
    for part in str(token).split("."):
        assert len(part) < 8 or part not in message


def test_a_hundred_kilobytes_are_refused_without_a_look(verifier: TokenVerifier, key: SigningKey) -> None:
    token = key.sign(claims(sub="x" * 75_000))
    assert len(token) > 100_000
    before = time.process_time()
    for _ in range(1000):
        with pytest.raises(Unauthorized):
            at_once(verifier.verify(token))
    assert time.process_time() - before < 1


def test_a_missing_kid_is_enough_only_for_a_single_key(
    key: SigningKey, other_key: SigningKey, ambient: Ambient
) -> None:
    nameless = forge(key, header(key, kid=ABSENT), GOOD)
    both = FixedKeys([key.public_pem, other_key.public_pem])
    verifier = TokenVerifier(both, issuer=ISSUER, audiences=frozenset({MESH}), ambient=ambient)
    assert "names no key" in refused(verifier, nameless)
    assert at_once(verifier.verify(key.sign(GOOD))).droplet_id == 77
    assert at_once(verifier.verify(other_key.sign(GOOD))).droplet_id == 77


class TestPolicy:
    def test_a_missing_issuer_and_audience_need_their_switches(self, key: SigningKey, ambient: Ambient) -> None:
        bare = key.sign(claims(iss=ABSENT, aud=ABSENT))
        both = IssuerPolicy(allow_missing_issuer=True, allow_missing_audience=True)
        principal = at_once(make(key, ambient, policy=both).verify(bare))
        assert (principal.issuer, principal.audience) == (ISSUER, "")
        refused(make(key, ambient, policy=IssuerPolicy(allow_missing_issuer=True)), bare)
        refused(make(key, ambient, policy=IssuerPolicy(allow_missing_audience=True)), bare)

    @pytest.mark.parametrize("change", [{"iss": "x"}, {"iss": None}, {"aud": "x"}, {"aud": None}, {"aud": []}])
    def test_a_wrong_one_is_refused_all_the_same(
        self, key: SigningKey, ambient: Ambient, change: dict[str, Any]
    ) -> None:
        both = IssuerPolicy(allow_missing_issuer=True, allow_missing_audience=True)
        refused(make(key, ambient, policy=both), forge(key, header(key), claims(**change)))

    @pytest.mark.parametrize(
        ("subject", "droplet_id"),
        [
            ("droplet-14", 14),
            ("14", 14),
            ("drop14.example.org", 14),
            ("droplet-007", 7),
            ("worker-2", "worker-2"),
            ("14.example", "14.example"),
            ("drop14x", "drop14x"),
        ],
    )
    def test_the_subject_may_name_the_droplet(
        self, key: SigningKey, ambient: Ambient, subject: str, droplet_id: int | str
    ) -> None:
        verifier = make(key, ambient, policy=IssuerPolicy(droplet_id_from_sub=True))
        token = key.sign(claims(droplet_id=ABSENT, sub=subject))
        assert at_once(verifier.verify(token)).droplet_id == droplet_id
        refused(make(key, ambient), token)

    @pytest.mark.parametrize("subject", [ABSENT, "", None, "droplet-0", "0"])
    def test_a_subject_that_names_none_is_refused(self, key: SigningKey, ambient: Ambient, subject: Any) -> None:
        verifier = make(key, ambient, policy=IssuerPolicy(droplet_id_from_sub=True))
        assert "names no droplet" in refused(verifier, key.sign(claims(droplet_id=ABSENT, sub=subject)))

    def test_the_droplet_id_counts_where_there_is_one(self, key: SigningKey, ambient: Ambient) -> None:
        verifier = make(key, ambient, policy=IssuerPolicy(droplet_id_from_sub=True))
        assert at_once(verifier.verify(key.sign(claims(sub="droplet-1")))).droplet_id == 77
        refused(
            make(key, ambient, policy=verifier._expected.policy), key.sign(claims(droplet_id=True, sub="droplet-9"))
        )

    @pytest.mark.parametrize(
        ("role", "permissions"), [("boss", {"admin"}), ("guest", set()), (ABSENT, set()), (["boss"], set())]
    )
    def test_a_role_stands_for_permissions_where_it_is_mapped(
        self, key: SigningKey, ambient: Ambient, role: Any, permissions: set[str]
    ) -> None:
        policy = IssuerPolicy(role_permissions={"boss": frozenset({"admin"})})
        token = key.sign(claims(permissions=ABSENT, role=role))
        assert at_once(make(key, ambient, policy=policy).verify(token)).permissions == permissions
        assert at_once(make(key, ambient).verify(token)).permissions == set()
        told = at_once(make(key, ambient, policy=policy).verify(key.sign(claims(role="boss"))))
        assert told.permissions == {"read", "write"}

    @pytest.mark.parametrize(
        "bad",
        [
            {"algorithms": ()},
            {"algorithms": "RS256"},
            {"algorithms": ("none",)},
            {"algorithms": ("RS256", "HS256")},
            {"leeway_seconds": 61},
            {"leeway_seconds": -1},
            {"leeway_seconds": float("nan")},
            {"role_permissions": {"boss": frozenset({"root"})}},
        ],
    )
    def test_what_would_open_a_hole_cannot_be_built(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            IssuerPolicy(**bad)

    def test_leeway_is_the_policys(self, key: SigningKey, ambient: Ambient) -> None:
        strict = make(key, ambient, policy=IssuerPolicy(leeway_seconds=0))
        assert "expired" in refused(strict, key.sign(claims(exp=EPOCH)))
        assert "in the future" in refused(strict, key.sign(claims(iat=EPOCH + 1)))


@pytest.mark.parametrize(
    "bad", [{"issuer": ""}, {"audiences": frozenset()}, {"audiences": frozenset({""})}, {"cache_entries": 0}]
)
def test_a_verifier_that_would_accept_too_much_cannot_be_built(
    key: SigningKey, ambient: Ambient, bad: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        TokenVerifier(
            FixedKeys(key.public_pem), **{"issuer": "i", "audiences": frozenset({"a"}), "ambient": ambient, **bad}
        )


class CountingKeys:
    """A key set that counts look-ups, and can change."""

    def __init__(self, *keys: SigningKey) -> None:
        self.revision = 1
        self.asked = 0
        self.keys = FixedKeys({key.kid: key.public_pem for key in keys})

    async def key(self, kid: str | None) -> PyJWK:
        self.asked += 1
        return await self.keys.key(kid)


class TestMemory:
    def build(self, keys: CountingKeys, ambient: Ambient, **more: Any) -> TokenVerifier:
        return TokenVerifier(keys, issuer=ISSUER, audiences=frozenset({MESH}), ambient=ambient, **more)

    def test_a_seen_token_is_not_verified_again(self, key: SigningKey, ambient: Ambient) -> None:
        keys = CountingKeys(key)
        verifier, token = self.build(keys, ambient), key.sign(GOOD)
        first, second = at_once(verifier.verify(token)), at_once(verifier.verify(token))
        assert first is second
        assert keys.asked == 1

    def test_it_dies_with_exp(self, key: SigningKey, ambient: Ambient, wall: Wall) -> None:
        verifier, token = self.build(CountingKeys(key), ambient), key.sign(GOOD)
        at_once(verifier.verify(token))
        wall.now = GOOD["exp"] + 29
        at_once(verifier.verify(token))
        wall.now = GOOD["exp"] + 30
        assert "expired" in refused(verifier, token)

    def test_it_dies_with_the_keys_it_was_checked_with(
        self, key: SigningKey, other_key: SigningKey, ambient: Ambient
    ) -> None:
        keys = CountingKeys(key)
        verifier, token = self.build(keys, ambient), key.sign(GOOD)
        at_once(verifier.verify(token))
        keys.keys, keys.revision = FixedKeys({other_key.kid: other_key.public_pem}), 2
        assert "not known here" in refused(verifier, token)

    def test_failures_never_enter_it(self, key: SigningKey, ambient: Ambient) -> None:
        keys = CountingKeys(key)
        verifier, good = self.build(keys, ambient, cache_entries=2), key.sign(GOOD)
        at_once(verifier.verify(good))
        for n in range(20):
            with pytest.raises(Unauthorized):
                at_once(verifier.verify(key.sign(claims(aud="x", n=n))))
        keys.asked = 0
        at_once(verifier.verify(good))
        assert keys.asked == 0

    def test_it_is_bounded_and_the_oldest_goes(self, key: SigningKey, ambient: Ambient) -> None:
        keys = CountingKeys(key)
        verifier = self.build(keys, ambient, cache_entries=3)
        tokens = [key.sign(claims(jti=str(n))) for n in range(5)]
        for token in tokens:
            at_once(verifier.verify(token))
        assert len(verifier._seen) == 3
        keys.asked = 0
        for token in tokens[2:]:
            at_once(verifier.verify(token))
        assert keys.asked == 0

    def test_it_is_bounded_in_bytes_too(self, key: SigningKey, ambient: Ambient) -> None:
        keys = CountingKeys(key)
        tokens = [key.sign(claims(jti=str(n), scope=f"{n} " + "x" * 3000)) for n in range(5)]
        size = len(tokens[0])
        verifier = self.build(keys, ambient, cache_bytes=3 * size + 10)
        for token in tokens:
            at_once(verifier.verify(token))
        assert len(verifier._seen) == 3
        assert verifier._bytes == sum(map(len, tokens[2:]))
        keys.asked = 0
        for token in tokens[2:]:
            at_once(verifier.verify(token))
        assert keys.asked == 0
        keys.revision += 1
        for token in tokens[2:]:
            at_once(verifier.verify(token))
        assert (len(verifier._seen), verifier._bytes) == (3, sum(map(len, tokens[2:])))

    def test_it_is_not_shared_between_audiences(self, key: SigningKey, ambient: Ambient) -> None:
        keys, token = CountingKeys(key), key.sign(GOOD)
        at_once(self.build(keys, ambient).verify(token))
        other = TokenVerifier(keys, issuer=ISSUER, audiences=frozenset({f"{MESH}/14"}), ambient=ambient)
        assert "another audience" in refused(other, token)

    def test_it_holds_no_token(self, key: SigningKey, ambient: Ambient) -> None:
        verifier, token = self.build(CountingKeys(key), ambient), key.sign(GOOD)
        at_once(verifier.verify(token))
        assert list(verifier._seen) == [hashlib.sha256(token.encode()).digest()]
        assert repr(verifier) == f"TokenVerifier(issuer={ISSUER!r}, audiences=[{MESH!r}])"

    def test_no_keys_is_not_the_tokens_fault(self, key: SigningKey, ambient: Ambient) -> None:
        class Nothing:
            revision = 0

            async def key(self, kid: str | None) -> PyJWK:
                raise KeysUnavailable(retry_after_seconds=1)

        verifier = TokenVerifier(Nothing(), issuer=ISSUER, audiences=frozenset({MESH}), ambient=ambient)
        with pytest.raises(KeysUnavailable):
            at_once(verifier.verify(key.sign(GOOD)))


class TestRecall:
    """A token is looked up by its hash at first, then whole for some seconds; every answer is the same both ways."""

    @pytest.fixture
    def keys(self, key: SigningKey) -> CountingKeys:
        return CountingKeys(key)

    @pytest.fixture
    def token(self, key: SigningKey) -> bytes:
        return key.sign(GOOD).encode()

    @pytest.fixture(params=["by its hash", "whole"])
    def verifier(
        self, request: pytest.FixtureRequest, keys: CountingKeys, token: bytes, ambient: Ambient
    ) -> TokenVerifier:
        verifier = TokenVerifier(keys, issuer=ISSUER, audiences=frozenset({MESH}), ambient=ambient)
        principal = at_once(verifier.verify(token.decode()))
        if request.param == "whole":
            assert verifier.recall(token) == principal
        assert list(verifier._lately) == ([token] if request.param == "whole" else [])
        return verifier

    def test_who_was_verified_is_known(self, verifier: TokenVerifier, token: bytes) -> None:
        principal = at_once(verifier.verify(token.decode()))
        assert [verifier.recall(token) for _ in range(3)] == [principal] * 3

    @pytest.mark.parametrize(
        "change", [lambda t: t[:-1], lambda t: t + b"A", lambda t: b" " + t, lambda t: t[1:], lambda _: b""]
    )
    def test_nobody_else_is(self, verifier: TokenVerifier, token: bytes, change: Callable[[bytes], bytes]) -> None:
        assert verifier.recall(change(token)) is None
        assert change(token) not in verifier._lately

    def test_not_after_its_end(self, verifier: TokenVerifier, token: bytes, wall: Wall) -> None:
        wall.now = GOOD["exp"] + 29
        assert verifier.recall(token) is not None
        wall.now = GOOD["exp"] + 30
        assert verifier.recall(token) is None

    def test_not_with_other_keys_until_it_is_verified_anew(
        self, verifier: TokenVerifier, token: bytes, keys: CountingKeys
    ) -> None:
        keys.revision = 2
        assert verifier.recall(token) is None
        assert verifier.recall(token) is None
        principal = at_once(verifier.verify(token.decode()))
        assert verifier.recall(token) == principal

    def test_not_once_it_is_revoked(self, verifier: TokenVerifier, token: bytes) -> None:
        verifier._revocations.revoke(token_id="t-1")
        assert verifier.recall(token) is None

    def test_no_token_is_kept_whole_for_long(self, verifier: TokenVerifier, token: bytes, wall: Wall) -> None:
        assert verifier.recall(token) is not None
        for later in (9.9, 0.2, -5.0):
            wall.now += later
            assert verifier.recall(b"of somebody else") is None
            assert list(verifier._lately) == ([token] if later == 9.9 else [])
            assert verifier.recall(token) is not None

    def test_nor_are_many(self, verifier: TokenVerifier, key: SigningKey) -> None:
        for number in range(100):
            token = key.sign(claims(jti=f"t-{number}"))
            principal = at_once(verifier.verify(token))
            assert verifier.recall(token.encode()) == principal
        assert len(verifier._lately) == 64

    def test_it_is_hashed_once(self, verifier: TokenVerifier, token: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        verifier.recall(token)
        monkeypatch.delattr("udc.identity.verify.sha256")
        assert verifier.recall(token) is not None


class TestRevocations:
    def test_a_revoked_token_is_refused_even_when_seen(self, key: SigningKey, ambient: Ambient) -> None:
        revocations = Revocations(wall=ambient.wall)
        verifier = make(key, ambient, revocations=revocations)
        token, sibling = key.sign(GOOD), key.sign(claims(jti="t-2"))
        at_once(verifier.verify(token))
        revocations.revoke(token_id="t-1")
        for _ in range(2):
            with pytest.raises(Unauthorized, match="revoked"):
                at_once(verifier.verify(token))
        at_once(verifier.verify(sibling))
        refused(make(key, ambient, revocations=revocations), token)

    def test_a_droplets_older_tokens_are_refused(self, key: SigningKey, ambient: Ambient) -> None:
        revocations = Revocations(wall=ambient.wall)
        verifier = make(key, ambient, revocations=revocations)
        old, new = key.sign(GOOD), key.sign(claims(iat=EPOCH))
        other = key.sign(claims(droplet_id=78, jti=ABSENT))
        at_once(verifier.verify(old))
        revocations.revoke(droplet_id=77, before=EPOCH)
        revocations.revoke(droplet_id=77, before=EPOCH - 1000)
        with pytest.raises(Unauthorized, match="revoked"):
            at_once(verifier.verify(old))
        at_once(verifier.verify(new))
        at_once(verifier.verify(other))

    def test_a_caller_that_is_no_droplet_is_on_it_only_by_token(self, ambient: Ambient) -> None:
        revocations = Revocations(wall=ambient.wall)
        revocations.revoke(droplet_id=77, before=EPOCH)
        nobody = at_once(NoAuth().verify(""))
        assert not revocations.covers(nobody, 0)

    def test_entries_go_when_all_they_are_about_has_ended(self) -> None:
        now = [float(EPOCH)]
        revocations = Revocations(wall=lambda: now[0], keep_seconds=100.0)
        revocations.revoke(token_id="t-1")
        revocations.revoke(droplet_id=77, before=EPOCH - 5)
        revocations.revoke(droplet_id=78, before=EPOCH + 50)
        now[0] += 99
        revocations.tidy()
        assert len(revocations) == 3
        revocations.revoke(token_id="t-1")  # heard of again
        now[0] += 2
        revocations.tidy()
        assert len(revocations) == 2
        now[0] += 50
        revocations.tidy()
        assert (len(revocations), revocations.active) == (1, True), "78 ended 100 s after its moment"
        now[0] += 100
        revocations.tidy()
        assert (len(revocations), revocations.active) == (0, False)

    @pytest.mark.parametrize("bad", [{}, {"droplet_id": 77}, {"before": 1.0}])
    def test_half_an_entry_is_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="revoke either"):
            Revocations(wall=lambda: 0.0).revoke(**bad)


def test_without_auth_everybody_is_the_anonymous_caller() -> None:
    caller = at_once(NoAuth().verify("whatever"))
    assert caller.anonymous
    assert caller.droplet_id is None
    assert caller.may("admin")
    assert caller.may("read")
