"""Each kind of value: what it takes, what it makes of it, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from udc.config import DropletConfig, PeerConfig, load
from udc.config.fields import base_url
from udc.config.names import FIELDS, shown, wanted
from udc.errors import ConfigError

PUBLIC = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"


def value(name: str, given_value: object) -> object:
    """What a setting becomes when it is given as an argument."""
    found: object = load(environ={}, file=None, explicit={name: given_value}).config
    for part in name.split("."):
        found = getattr(found, part)
    return found


TAKEN: list[tuple[str, object, object]] = [
    ("droplet.id", 14, 14),
    ("droplet.id", "14", 14),
    ("droplet.id", 14.0, 14),
    ("server.port", 0, 0),
    ("server.port", "65535", 65535),
    ("registry.heartbeat_interval", 5, 5.0),
    ("registry.heartbeat_interval", "2.5", 2.5),
    ("limits.grace_seconds", 0, 0.0),
    ("registry.auto_register", "no", False),
    ("registry.auto_register", 0, False),
    ("droplet.name", " Resizer ", "Resizer"),
    ("droplet.url", None, None),
    ("droplet.url", "https://a.example/", "https://a.example"),
    ("security.insecure_hosts", "a, b ,,c", ("a", "b", "c")),
    ("security.insecure_hosts", '["a", "b"]', ("a", "b")),
    ("security.insecure_hosts", ["a"], ("a",)),
    ("security.insecure_hosts", (), ()),
    ("security.foreign_permissions", "read", ("read",)),
    ("security.foreign_permissions", "write, admin", ("write", "admin")),
    ("security.foreign_permissions", ["read"], ("read",)),
    ("security.public_key", PUBLIC, f"{PUBLIC}\n"),
    ("security.public_key", PUBLIC.replace("\n", "\\n"), f"{PUBLIC}\n"),
    ("security.public_key", PUBLIC.replace("PUBLIC", "RSA PUBLIC"), f"{PUBLIC}\n".replace("PUBLIC", "RSA PUBLIC")),
    (
        "cors.origins",
        "HTTPS://App.example:443/, http://localhost:3000",
        ("https://app.example", "http://localhost:3000"),
    ),
    ("cors.origins", ["http://a.example:80", "*"], ("http://a.example", "*")),
    ("cors.methods", "GET, PATCH", ("GET", "PATCH")),
    ("cors.max_age_seconds", 0, 0),
    ("rate.caller_per_second", "0.5", 0.5),
    ("server.trusted_proxies", "127.0.0.1, 10.1.2.3/8,::1", ("127.0.0.1/32", "10.0.0.0/8", "::1/128")),
    ("log_level", "debug", "DEBUG"),
    ("data", "/var/lib/udc", Path("/var/lib/udc")),
    ("build.commit_hash", "2fddf68", "2fddf68"),
    (
        "peers",
        [{"id": 15, "name": "Billing", "endpoint": "http://b:1", "ours": True}],
        (PeerConfig(id=15, name="Billing", endpoint="http://b:1", ours=True),),
    ),
    ("peers", '[{"id": 15, "endpoint": "http://b:1"}]', (PeerConfig(id=15, endpoint="http://b:1"),)),
    ("peers", (PeerConfig(id=15, endpoint="http://b:1"),), (PeerConfig(id=15, endpoint="http://b:1"),)),
]


@pytest.mark.parametrize(("name", "given_value", "expected"), TAKEN)
def test_a_value_is_taken(name: str, given_value: object, expected: object) -> None:
    assert value(name, given_value) == expected


@pytest.mark.parametrize("kind", ["", "RSA ", "EC "])
def test_a_signing_key_may_come_with_escaped_line_ends(kind: str) -> None:
    pem = PRIVATE.replace("PRIVATE", f"{kind}PRIVATE")
    config = load(environ={}, file=None, explicit={"security.signing_key": pem.replace("\n", "\\n")}).config

    assert config.security.signing_key is not None
    assert config.security.signing_key.reveal() == f"{pem}\n"


REFUSED: list[tuple[str, object]] = [
    ("droplet.id", 0),
    ("droplet.id", True),
    ("droplet.id", "billing"),
    ("droplet.id", 1.5),
    ("operator.id", None),
    ("server.port", 65536),
    ("server.port", -1),
    ("server.port", False),
    ("server.host", ""),
    ("registry.heartbeat_interval", 0),
    ("registry.heartbeat_interval", "nan"),
    ("registry.heartbeat_interval", float("inf")),
    ("registry.heartbeat_interval", True),
    ("limits.grace_seconds", -1),
    ("limits.in_flight", 0),
    ("registry.auto_register", "perhaps"),
    ("droplet.name", "two\nlines"),
    ("droplet.name", "x" * 257),
    ("droplet.version", 1.0),
    ("security.public_key", PRIVATE),
    ("security.public_key", "MIIB"),
    ("security.signing_key", PUBLIC),
    ("security.insecure_hosts", '["a", 5]'),
    ("security.insecure_hosts", "[a"),
    ("security.insecure_hosts", 5),
    ("security.foreign_permissions", "fly"),
    ("security.foreign_permissions", []),
    ("cors.origins", "app.example"),
    ("cors.origins", "null"),
    ("cors.origins", "https://app.example/path"),
    ("cors.headers", "two words"),
    ("cors.headers", "x\r\ny"),
    ("cors.max_age_seconds", -1),
    ("rate.caller_per_second", 0),
    ("rate.address_burst", 0),
    ("security.hsts_seconds", -1),
    ("server.trusted_proxies", "*"),
    ("server.trusted_proxies", "proxy.example"),
    ("log_level", "LOUD"),
    ("log_level", 10),
    ("data", 5),
    ("peers", {}),
    ("peers", "[" * 100_000),
]


@pytest.mark.parametrize(("name", "given_value"), REFUSED, ids=[f"{name}-{value!r:.20}" for name, value in REFUSED])
def test_a_value_is_refused_with_the_words_for_it(name: str, given_value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        value(name, given_value)

    expected = f"{name}: {shown(name, given_value)} from argument; wanted {wanted(name)}"
    assert caught.value.problems == (expected,)


URLS = {
    "http://a.example": "http://a.example",
    "HTTPS://A.Example:443/Base/": "https://a.example:443/Base",
    "http://127.0.0.1:8000": "http://127.0.0.1:8000",
    "http://[::1]:8000/": "http://[::1]:8000",
    "http://a.example:": "http://a.example",
    "http://my_service-1.local./x/y//": "http://my_service-1.local./x/y",
}


@pytest.mark.parametrize(("text", "expected"), URLS.items())
def test_a_url_gets_one_form(text: str, expected: str) -> None:
    assert base_url(text) == expected
    assert base_url(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "//a.example",
        "/path",
        "ftp://a.example",
        "javascript://a.example",
        "http:a.example",
        "http://",
        "http:///path",
        "http://:8000",
        "http://user@a.example",
        "http://user:pass@a.example",
        "http://@a.example",
        "http://a.example?x=1",
        "http://a.example?",
        "http://a.example#top",
        "http://a.example/ b",
        "http://a.exa\tmple",
        "http://a.example\n",
        "http://a.example\\@b.example",
        "http://a.example:0",
        "http://a.example:65536",
        "http://a.example:port",
        "http://[::1",
        "http://[::1%25eth0]",
        "http://a,b",
        "http://a%2e",
        "http://bücher.example",
    ],
)
def test_a_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        base_url(text)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_a_url_is_in_its_one_form_or_refused(text: str) -> None:
    try:
        url = base_url(text)
    except ValueError:
        return
    assert base_url(url) == url
    assert url.startswith(("http://", "https://"))


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.sampled_from(sorted(FIELDS)),
    st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.text())),
)
def test_any_value_is_taken_or_refused_by_name(name: str, given_value: object) -> None:
    if name.endswith("_file"):
        return  # those read the disk
    problems: tuple[str, ...] = ()
    try:
        value(name, given_value)
    except ConfigError as error:
        problems = error.problems
    assert all(line.startswith((f"{name}:", f"{name}.")) for line in problems)


def test_every_setting_says_what_it_wants() -> None:
    assert {name for name in FIELDS if wanted(name) == "something else"} == set()
    assert {name for name in PeerConfig.model_fields if wanted(f"peers.0.{name}") == "something else"} == set()


def test_a_setting_without_words_of_its_own_still_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(BaseModel):
        plain: int

    monkeypatch.setitem(FIELDS, "bare.plain", Bare.model_fields["plain"])

    assert wanted("bare.plain") == "something else"


def test_a_long_value_is_cut() -> None:
    assert shown("droplet.name", "x" * 500) == f"'{'x' * 76}..."


def test_a_configuration_is_frozen_and_takes_no_unknown_names() -> None:
    config = DropletConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.droplet.id = 3
    with pytest.raises(ValueError, match="not permitted"):
        DropletConfig.model_validate({"droplet": {"idd": 3}})


def test_the_frozen_defaults() -> None:
    """Others build on these names and numbers."""
    config = DropletConfig()

    assert (config.droplet.id, config.droplet.version, config.droplet.url) == (None, "0.1.0", None)
    assert (config.registry.id, config.registry.auto_register, config.registry.heartbeat_interval) == (1, True, 10.0)
    assert (config.orchestrator.id, config.orchestrator.report_state, config.orchestrator.report_interval) == (
        10,
        True,
        60.0,
    )
    assert (config.dashboard.id, config.operator.id, config.peers) == (2, 999, ())
    assert (config.security.jwt_issuer, config.security.jwt_audience) == (
        "registry.fullpotential.ai",
        "fullpotential.droplets",
    )
    assert config.security.require_auth
    assert config.security.foreign_permissions == ("read", "write")
    assert not any(
        getattr(config.security, name)
        for name in type(config.security).model_fields
        if name not in ("jwt_issuer", "jwt_audience", "require_auth", "foreign_permissions", "hsts_seconds")
        and "failed" not in name
    )
    assert config.security.hsts_seconds == 365 * 24 * 3600
    assert (config.security.failed_auth_limit, config.security.failed_auth_window_seconds) == (100, 60)
    assert config.limits.model_dump() == {
        "max_body_bytes": 1_048_576,
        "body_timeout_seconds": 30.0,
        "in_flight": 1000,
        "handler_timeout_seconds": 30.0,
        "call_timeout_seconds": 10.0,
        "grace_seconds": 25.0,
        "sync_threads": 40,
        "dedup_window_seconds": 600.0,
        "dedup_entries": 10_000,
        "dedup_bytes": 16_777_216,
    }
    assert not any(config.rate.model_dump().values())
    assert (config.cors.origins, config.cors.methods, config.cors.credentials) == ((), (), False)
    assert (config.server.host, config.server.port, config.server.trusted_proxies) == ("127.0.0.1", 8000, ())
    assert (config.environment, config.log_level, config.data) == ("development", "INFO", Path(".udc"))
    assert set(config.build.model_dump().values()) == {None}


def test_what_is_wrong_with_a_peer_is_told_by_its_place() -> None:
    peers = '[{"id": true, "name": "B"}, 3, {"endpoint": "http://b:1"}, {"id": 1, "endpoint": "b"}]'
    with pytest.raises(ConfigError) as caught:
        load(environ={"UDC_PEERS": peers}, file=None)

    url = wanted("peers.0.endpoint")
    assert caught.value.problems == (
        "peers.0.id: True from environment UDC_PEERS; wanted a whole number from 1 up",
        f"peers.0.endpoint: missing from environment UDC_PEERS; wanted {url}",
        "peers.1: 3 from environment UDC_PEERS; wanted an endpoint, and an id or a name",
        "peers.2: {'endpoint': 'http://b:1'} from environment UDC_PEERS; wanted an endpoint, and an id or a name",
        f"peers.3.endpoint: 'b' from environment UDC_PEERS; wanted {url}",
    )
