from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.unit.identity.conftest import Recorder, Wall, at_once
from tests.unit.identity.test_verify import GOOD, ISSUER, MESH
from udc._ids import Ambient
from udc.errors import ConfigError, KeysUnavailable, PeerUnreachable, Unauthorized
from udc.identity import _jwk
from udc.identity.jwks import FixedKeys, RemoteKeys
from udc.identity.keys import SigningKey
from udc.identity.verify import TokenVerifier
from udc.instrument import KeysFailed, KeysFetched

URL = "https://registry.example.org/.well-known/jwks.json"


def document(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": [key.jwk() if isinstance(key, SigningKey) else key for key in keys], **more}).encode()


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    text: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return text.decode()


class TestFixedKeys:
    def test_one_nameless_pem_answers_for_every_kid(self, key: SigningKey) -> None:
        keys = FixedKeys(key.public_pem)
        assert at_once(keys.key("whatever its issuer calls it")).key_id is None
        assert at_once(keys.key(None)) is at_once(keys.key(key.kid))
        assert keys.revision == 0
        assert repr(keys) == f"FixedKeys(kids=[{key.kid!r}])"

    @pytest.mark.parametrize("form", ["one text", "bytes", "sequence"])
    def test_several_are_known_by_thumbprint(self, key: SigningKey, other_key: SigningKey, form: str) -> None:
        text = key.public_pem + "\n" + other_key.public_pem
        given: Any = {"one text": text, "bytes": text.encode(), "sequence": [key.public_pem, other_key.public_pem]}[
            form
        ]
        keys = FixedKeys(given)
        assert at_once(keys.key(key.kid)) is not at_once(keys.key(other_key.kid))
        for kid in (None, "other"):
            with pytest.raises(Unauthorized):
                at_once(keys.key(kid))

    def test_named_ones_are_known_by_name_only(self, key: SigningKey) -> None:
        keys = FixedKeys({"k1": key.public_pem})
        assert at_once(keys.key("k1")).key_id == "k1"
        assert at_once(keys.key(None)).key_id == "k1"
        with pytest.raises(Unauthorized):
            at_once(keys.key(key.kid))

    def test_a_jwks_document_will_do(self, key: SigningKey, other_key: SigningKey) -> None:
        keys = FixedKeys(document(key, other_key).decode())
        assert at_once(keys.key(key.kid)).key_id == key.kid
        with pytest.raises(Unauthorized):
            at_once(keys.key("x"))

    def test_other_pinned_algorithms(self) -> None:
        pair = ec.generate_private_key(ec.SECP256R1())
        assert at_once(FixedKeys(public_pem(pair), ("RS256", "ES256")).key(None)).algorithm_name == "ES256"
        assert (
            at_once(FixedKeys(public_pem(Ed25519PrivateKey.generate()), ("EdDSA",)).key(None)).algorithm_name == "EdDSA"
        )

    def test_unfit_ones_are_refused(self, key: SigningKey) -> None:
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        unfit: tuple[Any, ...] = (
            "",
            [],
            {},
            "hunter2",
            key.private_pem,
            public_pem(weak),
            public_pem(ec.generate_private_key(ec.SECP256R1())),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "{",
            '{"keys":[]}',
        )
        for given in unfit:
            with pytest.raises(ConfigError, match=r"security\.public_key") as caught:
                FixedKeys(given)
            assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("algorithms", [(), ("HS256",), ("none",), "RS256"])
    def test_only_asymmetric_algorithms_can_be_pinned(self, key: SigningKey, algorithms: Any) -> None:
        with pytest.raises(ConfigError, match="must be some of"):
            FixedKeys(key.public_pem, algorithms)


def odd_keys(key: SigningKey) -> dict[str, Any]:
    good = key.jwk()
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return {
        "null": None,
        "text": "key",
        "empty": {},
        "no modulus": {"kty": "RSA", "kid": "a", "e": "AQAB"},
        "modulus a number": {**good, "n": 5},
        "modulus nonsense": {**good, "n": "!!!"},
        "modulus zero": {**good, "n": "AA"},
        "exponent even": {**good, "e": "Ag"},
        "exponent null": {**good, "e": None},
        "unknown kty": {"kty": "FUTURE", "kid": "a"},
        "kty a list": {**good, "kty": ["RSA"]},
        "symmetric": {"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"},
        "symmetric dressed up": {**good, "k": "c2VjcmV0"},
        "private": {**good, **json.loads(RSAAlgorithm.to_jwk(key._private))},
        "for encryption": {**good, "use": "enc"},
        "use a list": {**good, "use": ["sig"]},
        "key_ops without verify": {**good, "key_ops": ["encrypt"]},
        "key_ops text": {**good, "key_ops": "verify"},
        "another algorithm": {**good, "alg": "RS512"},
        "alg HS256": {**good, "alg": "HS256"},
        "alg none": {**good, "alg": "none"},
        "alg a list": {**good, "alg": ["RS256"]},
        "alg for another kind": {
            **ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True),
            "alg": "RS256",
        },
        "kid a number": {**good, "kid": 7},
        "kid empty": {**good, "kid": ""},
        "kid long": {**good, "kid": "x" * 257},
        "1024 bits": RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True),
        "elliptic": ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True),
        "edwards": OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True),
    }


class TestReading:
    def test_an_odd_key_neither_counts_nor_spoils_the_set(self, key: SigningKey, other_key: SigningKey) -> None:
        for name, odd in odd_keys(key).items():
            assert list(_jwk.read_set(document(odd, other_key), ["RS256"])) == [other_key.kid], name
            with pytest.raises(_jwk.UnreadableKeySet):
                _jwk.read_set(document(odd), ["RS256"])

    def test_a_giant_key_is_left_out(self, other_key: SigningKey) -> None:
        numbers = rsa.RSAPublicNumbers(65537, (1 << 16383) | 1)
        giant = RSAAlgorithm.to_jwk(numbers.public_key(), as_dict=True)
        assert list(_jwk.read_set(document(giant, other_key), ["RS256"])) == [other_key.kid]

    def test_a_key_without_a_name_gets_its_thumbprint(self, key: SigningKey) -> None:
        jwk = {name: value for name, value in key.jwk().items() if name in ("kty", "n", "e")}
        assert list(_jwk.read_set(document(jwk), ["RS256"])) == [key.kid]

    def test_a_key_without_an_algorithm_serves_the_pinned_one_of_its_kind(self, key: SigningKey) -> None:
        jwk = {name: value for name, value in key.jwk().items() if name != "alg"}
        found = _jwk.read_set(document(jwk), ["ES256", "PS256", "RS256"])
        assert [k.algorithm_name for k in found.values()] == ["PS256"]

    def test_of_two_with_one_name_the_first_counts(self, key: SigningKey, other_key: SigningKey) -> None:
        found = _jwk.read_set(document(key, {**other_key.jwk(), "kid": key.kid}), ["RS256"])
        assert _jwk.members(found[key.kid])["n"] == key.jwk()["n"]

    def test_the_registrys_own_form(self, key: SigningKey) -> None:
        body = document({**key.jwk(), "pem": key.public_pem}, public_key=key.public_pem)
        assert list(_jwk.read_set(body, ["RS256"])) == [key.kid]

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"[]", b"7", b"{}", b'{"keys":{}}', b'{"keys":[]}', b"\xff", b'{"keys":' + b"[" * 60_000],
    )
    def test_what_is_no_key_set(self, body: bytes) -> None:
        with pytest.raises(_jwk.UnreadableKeySet):
            _jwk.read_set(body, ["RS256"])

    def test_size_and_number_are_limited(self, key: SigningKey) -> None:
        with pytest.raises(_jwk.UnreadableKeySet, match="at most 65536"):
            _jwk.read_set(document(key, pad="x" * 65_536), ["RS256"])
        with pytest.raises(_jwk.UnreadableKeySet, match="has 65 keys; at most 64"):
            _jwk.read_set(document(key, *[{}] * 64), ["RS256"])
        assert _jwk.read_set(document(key, *[{}] * 63), ["RS256"])


class Host:
    """Where the JWKS lies: answers after `seconds`, counts, and may be down."""

    def __init__(self, *keys: Any, seconds: float = 0.1) -> None:
        self.keys: tuple[Any, ...] = keys
        self.seconds = seconds
        self.error: BaseException | None = None
        self.body: bytes | None = None
        self.calls: list[float] = []
        self.together = 0
        self.most_together = 0

    async def __call__(self, url: str) -> bytes:
        assert url == URL
        self.calls.append(anyio.current_time())
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.together -= 1
        if self.error is not None:
            raise self.error
        return document(*self.keys) if self.body is None else self.body


Build = Callable[..., RemoteKeys]


@pytest.fixture
def build(ambient: Ambient, recorder: Recorder) -> Build:
    def build(host: Callable[[str], Awaitable[bytes]], **more: Any) -> RemoteKeys:
        return RemoteKeys(URL, fetch=host, ambient=ambient, instrument=recorder.instrument, **more)

    return build


async def outcome(keys: RemoteKeys, kid: str | None) -> Any:
    try:
        return (await keys.key(kid)).key_id
    except (Unauthorized, KeysUnavailable) as exc:
        return type(exc)


async def test_run_fetches_at_once_and_keeps_fresh(build: Build, key: SigningKey, recorder: Recorder) -> None:
    host = Host(key)
    keys = build(host, ttl_seconds=300)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        assert not keys.kids
        await anyio.sleep(1)
        assert keys.kids == (key.kid,)
        assert keys.revision == 1
        await anyio.sleep(1000)
        assert len(host.calls) == 4
        assert keys.revision == 1
        assert recorder.of(KeysFetched)[0] == KeysFetched(kids=(key.kid,))
        group.cancel_scope.cancel()


async def test_start_makes_the_first_fetch_and_survives_an_outage(build: Build, key: SigningKey) -> None:
    host = Host(key)
    keys = build(host)
    await keys.start()
    assert at_once(keys.key(key.kid)).key_id == key.kid
    assert at_once(keys.key(None)).key_id == key.kid
    host.error = OSError("down")
    down = build(host)
    await down.start()
    assert down.kids == ()


async def test_a_rotated_out_key_goes_out_of_use(build: Build, key: SigningKey, other_key: SigningKey) -> None:
    host = Host(key, other_key)
    keys = build(host)
    await keys.start()
    host.keys = (other_key,)
    await keys.start()
    assert keys.revision == 2
    assert await outcome(keys, key.kid) is Unauthorized
    assert await outcome(keys, other_key.kid) == other_key.kid


async def test_the_order_of_keys_is_no_change_but_their_material_is(
    build: Build, key: SigningKey, other_key: SigningKey
) -> None:
    host = Host(key, other_key)
    keys = build(host)
    await keys.start()
    host.keys = (other_key, {**key.jwk(), "comment": "x"})
    await keys.start()
    assert keys.revision == 1
    host.keys = (other_key, {**other_key.jwk(), "kid": key.kid})
    await keys.start()
    assert keys.revision == 2


@pytest.mark.parametrize("with_run", [True, False])
async def test_callers_without_keys_wait_for_one_fetch(build: Build, key: SigningKey, with_run: bool) -> None:
    host = Host(key, seconds=1.5)
    keys = build(host)
    found: list[Any] = []

    async def ask() -> None:
        found.append(await outcome(keys, key.kid))

    async with anyio.create_task_group() as group:
        if with_run:
            await group.start(keys.run)
        async with anyio.create_task_group() as callers:
            for _ in range(50):
                callers.start_soon(ask)
        assert found == [key.kid] * 50
        assert len(host.calls) == 1
        group.cancel_scope.cancel()


async def test_a_wait_ends_after_two_seconds_and_the_fetch_goes_on(build: Build, key: SigningKey) -> None:
    host = Host(key, seconds=5)
    keys = build(host)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        before = anyio.current_time()
        with pytest.raises(KeysUnavailable) as caught:
            await keys.key(key.kid)
        assert anyio.current_time() - before == pytest.approx(2, abs=0.01)
        assert caught.value.retry_after_seconds is not None
        assert caught.value.retry_after_seconds >= 1
        await anyio.sleep(3.1)
        assert await outcome(keys, key.kid) == key.kid
        assert len(host.calls) == 1
        group.cancel_scope.cancel()


@pytest.mark.parametrize("with_run", [True, False])
async def test_a_cancelled_caller_disturbs_no_other(build: Build, key: SigningKey, with_run: bool) -> None:
    host = Host(key, seconds=0.5)
    keys = build(host)
    found: list[Any] = []

    async def hasty() -> None:
        with anyio.move_on_after(0.1):
            await keys.key(key.kid)
            raise AssertionError("it should have been cancelled")

    async def patient() -> None:
        found.append(await outcome(keys, key.kid))

    async with anyio.create_task_group() as group:
        if with_run:
            await group.start(keys.run)
        async with anyio.create_task_group() as callers:
            callers.start_soon(hasty)
            await anyio.sleep(0.01)
            for _ in range(5):
                callers.start_soon(patient)
        assert found == [key.kid] * 5
        assert host.most_together == 1
        assert len(host.calls) == (1 if with_run else 2)
        group.cancel_scope.cancel()


async def test_an_unknown_kid_brings_one_fetch_and_a_new_key_with_it(
    build: Build, key: SigningKey, other_key: SigningKey
) -> None:
    host = Host(key)
    keys = build(host, cooldown_seconds=30)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        assert await outcome(keys, key.kid) == key.kid
        host.keys = (key, other_key)
        found: list[Any] = []

        async def ask(kid: str) -> None:
            found.append(await outcome(keys, kid))

        async with anyio.create_task_group() as callers:
            for kid in [other_key.kid] * 10 + ["made up"] * 10:
                callers.start_soon(ask, kid)
        assert sorted(map(str, found)) == sorted(map(str, [other_key.kid] * 10 + [Unauthorized] * 10))
        assert len(host.calls) == 2
        assert keys.revision == 2
        group.cancel_scope.cancel()


@pytest.mark.parametrize("down", [False, True])
async def test_made_up_kids_never_flood_the_host(build: Build, key: SigningKey, down: bool) -> None:
    host = Host(key)
    keys = build(host, cooldown_seconds=30, ttl_seconds=10_000)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        await keys.key(key.kid)
        if down:
            host.error = OSError()
        began = len(host.calls)
        for n in range(3000):
            assert await outcome(keys, f"made up {n}") is Unauthorized
            await anyio.sleep(0.02)
        took = host.calls[began:]
        # 60 s of attack: two or three fetches for its sake; while down, the loop's own attempts besides.
        assert len(took) <= (12 if down else 3)
        group.cancel_scope.cancel()


async def test_a_missing_kid_never_causes_a_fetch(build: Build, key: SigningKey, other_key: SigningKey) -> None:
    host = Host(key, other_key)
    keys = build(host)
    await keys.start()
    assert await outcome(keys, None) is Unauthorized
    assert len(host.calls) == 1


@pytest.mark.parametrize("trouble", ["error", "timeout", "rubbish", "empty set"])
async def test_an_outage_never_takes_good_keys_away(
    build: Build, key: SigningKey, recorder: Recorder, trouble: str
) -> None:
    host = Host(key)
    keys = build(host, ttl_seconds=100)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        await keys.key(key.kid)
        if trouble == "error":
            host.error = PeerUnreachable("no route", peer=1)
        elif trouble == "timeout":
            host.seconds = 60
        else:
            host.body = b"<html>" if trouble == "rubbish" else b'{"keys":[]}'
        await anyio.sleep(2000)
        assert await outcome(keys, key.kid) == key.kid
        assert keys.revision == 1
        failures = recorder.of(KeysFailed)
        assert failures
        assert all(event.have_keys for event in failures)
        # From 100 s on: backed off to one attempt in 15 to 30 s (and the 10 s it may hang).
        assert 40 < len(failures) < 130
        host.error, host.seconds, host.body = None, 0.1, None
        await anyio.sleep(60)
        assert len(recorder.of(KeysFetched)) >= 2
        group.cancel_scope.cancel()


async def test_without_any_key_it_is_tried_more_often_but_backed_off(
    build: Build, key: SigningKey, recorder: Recorder
) -> None:
    host = Host(key, seconds=0)
    host.error = OSError("https://user:hunter2@registry")
    keys = build(host)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        for _ in range(50):
            assert await outcome(keys, key.kid) is KeysUnavailable
        assert anyio.current_time() - host.calls[0] == pytest.approx(100, abs=2)
        assert 20 < len(host.calls) < 50
        assert recorder.of(KeysFailed)[-1] == KeysFailed(error="OSError", have_keys=False)
        host.error = None
        await anyio.sleep(5.1)
        assert await outcome(keys, key.kid) == key.kid
        group.cancel_scope.cancel()


async def test_our_own_errors_are_told_in_full(build: Build, recorder: Recorder) -> None:
    host = Host()
    host.error = PeerUnreachable("no route", peer=1)
    keys = build(host)
    await keys.start()
    host.error = None
    await keys.start()
    assert [event.error for event in recorder.of(KeysFailed)] == [
        "PeerUnreachable: no route",
        "UnreadableKeySet: the key set has no key to check RS256 signatures with",
    ]


async def test_retry_after_is_a_whole_number_of_seconds(build: Build) -> None:
    host = Host()
    keys = build(host, wait_seconds=0)
    with pytest.raises(KeysUnavailable) as caught:
        await keys.key("x")
    assert caught.value.retry_after_seconds == 1


async def test_without_run_a_caller_refreshes_an_old_set(build: Build, key: SigningKey, other_key: SigningKey) -> None:
    host = Host(key)
    keys = build(host, ttl_seconds=100)
    await keys.start()
    await anyio.sleep(99)
    assert await outcome(keys, key.kid) == key.kid
    assert len(host.calls) == 1
    host.keys = (other_key,)
    await anyio.sleep(10)
    assert await outcome(keys, key.kid) is Unauthorized
    assert len(host.calls) == 2
    host.error = OSError()
    await anyio.sleep(200)
    assert await outcome(keys, other_key.kid) == other_key.kid


@pytest.mark.parametrize("running", [False, True])
async def test_a_token_that_was_remembered_goes_with_its_key(
    build: Build, key: SigningKey, other_key: SigningKey, ambient: Ambient, wall: Wall, running: bool
) -> None:
    """Also where nobody runs the set, and nobody shows another token that would have it look."""
    host = Host(key)
    keys = build(host, ttl_seconds=100)
    verifier = TokenVerifier(keys, issuer=ISSUER, audiences=frozenset({MESH}), ambient=ambient)
    token = key.sign(GOOD)
    async with anyio.create_task_group() as tasks:
        if running:
            await tasks.start(keys.run)
        await verifier.verify(token)
        host.keys = (other_key,)
        await anyio.sleep(120)
        wall.now += 120
        assert verifier.recall(token.encode()) is None
        with pytest.raises(Unauthorized):
            await verifier.verify(token)
        tasks.cancel_scope.cancel()


async def test_a_word_of_the_registry_brings_the_fetch_forward(
    build: Build, key: SigningKey, other_key: SigningKey
) -> None:
    host = Host(key)
    keys = build(host, ttl_seconds=10_000)
    keys.refresh_soon()
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        await keys.key(None)
        host.keys = (other_key,)
        for _ in range(5):
            keys.refresh_soon()
        await anyio.sleep(1)
        assert keys.kids == (other_key.kid,)
        assert len(host.calls) == 2
        group.cancel_scope.cancel()


async def test_run_can_be_cancelled_in_the_midst_and_run_again(build: Build, key: SigningKey) -> None:
    host = Host(key, seconds=1)
    keys = build(host)
    with anyio.move_on_after(0.5):
        await keys.run()
    assert host.together == 0
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        assert await outcome(keys, key.kid) == key.kid
        group.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["http://registry.example.org/jwks", "ftp://x", "https://u:p@x/"])
def test_keys_come_only_over_secure_addresses(build: Build, ambient: Ambient, recorder: Recorder, url: str) -> None:
    with pytest.raises(ConfigError):
        RemoteKeys(url, fetch=Host(), ambient=ambient, instrument=recorder.instrument)


def test_named_hosts_may_be_plain(ambient: Ambient, recorder: Recorder) -> None:
    more: dict[str, Any] = {"fetch": Host(), "ambient": ambient, "instrument": recorder.instrument}
    keys = RemoteKeys("http://inside/jwks", insecure_hosts=frozenset({"inside"}), **more)
    assert repr(keys) == "RemoteKeys('http://inside/jwks', kids=[])"
    with pytest.raises(ConfigError, match="must be some of"):
        RemoteKeys(URL, algorithms=("HS256",), **more)


async def test_a_word_during_a_fetch_brings_another(build: Build, key: SigningKey, other_key: SigningKey) -> None:
    host = Host(key, seconds=1)
    keys = build(host, ttl_seconds=10_000)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        await anyio.sleep(0.5)
        keys.refresh_soon()
        await anyio.sleep(5)
        assert len(host.calls) == 2
        group.cancel_scope.cancel()


def test_a_private_key_in_place_of_a_public_one_is_named(key: SigningKey) -> None:
    with pytest.raises(ConfigError, match="give its public half"):
        FixedKeys(key.private_pem)


async def test_the_pause_after_a_failure_begins_at_its_end(build: Build, key: SigningKey) -> None:
    host = Host(key, seconds=3600)
    keys = build(host, fetch_timeout_seconds=10)
    async with anyio.create_task_group() as group:
        await group.start(keys.run)
        await anyio.sleep(30)
        assert len(host.calls) >= 2
        assert host.calls[1] - host.calls[0] >= 10.25
        group.cancel_scope.cancel()
