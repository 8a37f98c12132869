"""What must hold between settings before a droplet starts."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from udc.config import (
    DropletConfig,
    Loaded,
    beyond_loopback,
    check_start,
    has_key_source,
    is_loopback,
    load,
    load_for_start,
    require_startable,
)
from udc.errors import ConfigError

PUBLIC = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"
WHO: dict[str, object] = {"droplet.id": 14, "droplet.name": "R", "droplet.steward": "s"}


def config(**settings: object) -> DropletConfig:
    """A droplet that may start on loopback, with further settings (`registry__url=…`)."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return load(environ={}, file=None, explicit={**WHO, **given}).config


LOOPBACK = ["127.0.0.1", "127.8.9.1", "localhost", "LocalHost", "::1", "[::1]", "::ffff:127.0.0.1"]
BEYOND = [
    "0.0.0.0",
    "::",
    "",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "a.example",
    "localhost.example",
    "127.0.0.1.example",
    "1",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_host_that_is_only_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert not beyond_loopback(config(), listen_host=host)


@pytest.mark.parametrize("host", BEYOND)
def test_a_host_that_others_may_reach(host: str) -> None:
    assert not is_loopback(host)
    assert beyond_loopback(config(), listen_host=host)


@pytest.mark.parametrize(
    ("url", "beyond"),
    [(None, True), ("http://127.0.0.1:1", False), ("http://[::1]:1/x", False), ("https://a.example", True)],
)
def test_attached_the_url_decides_and_a_missing_one_counts_as_beyond(url: str | None, beyond: bool) -> None:
    assert beyond_loopback(config(droplet__url=url), listen_host=None) is beyond


@pytest.mark.parametrize(
    ("settings", "beyond"),
    [
        ({}, False),
        ({"droplet__url": "http://localhost:8014"}, False),
        ({"droplet__url": "https://droplets.example/resizer"}, True),
        ({"server__trusted_proxies": "127.0.0.1"}, True),
        ({"droplet__url": "http://localhost:8014", "server__trusted_proxies": "127.0.0.1"}, True),
    ],
)
def test_a_proxy_on_this_machine_lets_others_in(settings: dict[str, object], beyond: bool) -> None:
    assert beyond_loopback(config(**settings), listen_host="127.0.0.1") is beyond
    problems = check_start(config(security__require_auth=False, **settings), listen_host="127.0.0.1")
    assert any("security.require_auth: False beyond loopback" in line for line in problems) is beyond


def test_all_origins_never_with_credentials() -> None:
    (problem,) = check_start(config(cors__origins="*", cors__credentials=True), listen_host="127.0.0.1")
    assert problem.startswith("cors.origins: '*' together with cors.credentials; wanted the origins by name")
    assert check_start(config(cors__origins="*"), listen_host="127.0.0.1") == []


@pytest.mark.parametrize("whose", ["caller", "address"])
def test_a_burst_without_a_rate_limits_nothing(whose: str) -> None:
    burst, rate = f"rate.{whose}_burst", f"rate.{whose}_per_second"
    (problem,) = check_start(config(**{burst: 5}), listen_host="127.0.0.1")
    assert problem.startswith(f"{burst}: limits nothing without {rate}; wanted both, or neither")
    assert check_start(config(**{burst: 5, rate: 1}), listen_host="127.0.0.1") == []


@pytest.mark.parametrize(("listen", "loopback"), list(itertools.product([None, "0.0.0.0", "127.0.0.1"], [True, False])))
def test_what_is_known_from_elsewhere_decides_alone(listen: str | None, loopback: bool) -> None:
    assert beyond_loopback(config(), listen_host=listen, loopback=loopback) is not loopback


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        ({}, False),
        ({"registry__url": "http://r:1"}, True),
        ({"security__public_key": PUBLIC}, True),
        ({"security__jwks_url": "https://k.example/jwks"}, True),
        ({"security__signing_key": PRIVATE}, True),
        ({"security__token": "t"}, False),
        ({"orchestrator__url": "http://o:1"}, False),
    ],
)
def test_where_verification_keys_come_from(settings: dict[str, object], has: bool) -> None:
    assert has_key_source(config(**settings)) is has
    problems = check_start(config(droplet__url="http://a.example", **settings), listen_host="10.0.0.1")
    assert any("no source of verification keys" in line for line in problems) is not has


def test_on_loopback_nothing_more_is_needed() -> None:
    assert check_start(config(), listen_host="127.0.0.1") == []
    assert check_start(config(security__require_auth=False), listen_host="127.0.0.1") == []
    require_startable(config(), listen_host=None, loopback=True)


@pytest.mark.parametrize("settings", [{}, {"registry__url": "http://r:1"}, {"droplet__url": "http://10.0.0.1"}])
def test_without_authentication_it_stays_on_loopback(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"security\.require_auth: False beyond loopback; wanted true"):
        require_startable(config(security__require_auth=False, **settings), listen_host="10.0.0.1")


def test_a_server_whose_place_nobody_told_is_said_to_count_as_beyond_loopback() -> None:
    (problem,) = check_start(config(), listen_host=None)

    assert problem.startswith(
        "security: no source of verification keys beyond loopback (as it counts without DROPLET_URL); wanted one of "
    )
    assert check_start(config(droplet__url="http://127.0.0.1:8000"), listen_host=None) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_bound_to_everything_it_must_say_its_url(host: str) -> None:
    keys: dict[str, object] = {"security__public_key": PUBLIC}

    (problem,) = check_start(config(**keys), listen_host=host)

    assert problem == (
        f"droplet.url: missing while the server binds to {host!r}; wanted the URL that others reach it by (DROPLET_URL)"
    )
    assert check_start(config(droplet__url="http://a.example", **keys), listen_host=host) == []


def test_attached_and_registering_it_must_say_its_url() -> None:
    registry: dict[str, object] = {"registry__url": "http://r:1"}

    (problem,) = check_start(config(**registry), listen_host=None)

    assert problem.startswith("droplet.url: missing while attached to another server and registering")
    assert check_start(config(**registry, registry__auto_register=False), listen_host=None) == []
    assert check_start(config(**registry, droplet__url="http://a.example"), listen_host=None) == []
    assert check_start(config(security__public_key=PUBLIC), listen_host=None) == []


def test_it_must_be_somebody() -> None:
    assert check_start(DropletConfig(), listen_host="127.0.0.1") == [
        "droplet.id: missing; wanted a class attribute 'id', or DROPLET_ID",
        "droplet.name: missing; wanted a class attribute 'name', or DROPLET_NAME",
        "droplet.steward: missing; wanted a class attribute 'steward', or DROPLET_STEWARD",
    ]


def test_it_is_not_the_operator() -> None:
    (problem,) = check_start(config(operator__id=14), listen_host="127.0.0.1")

    assert problem == "droplet.id: 14 is also operator.id; wanted an id of its own"


def test_of_two_ways_to_get_tokens_one_is_wanted() -> None:
    (problem,) = check_start(config(security__token="t", security__signing_key=PRIVATE), listen_host="127.0.0.1")

    assert problem == "security.token: given together with security.signing_key; wanted one of the two"


def test_peers_are_told_apart() -> None:
    peers = [
        {"id": 2, "name": "Billing", "endpoint": "http://b:1"},
        {"id": 2, "name": "Shop", "endpoint": "http://b:2"},
        {"name": "Billing", "endpoint": "http://b:3"},
        {"id": 14, "endpoint": "http://b:4"},
        {"id": 15, "endpoint": "http://b:5"},
    ]

    assert check_start(config(peers=peers), listen_host="127.0.0.1") == [
        "peers: 2 of them have the id 2; wanted each only once",
        "peers: 2 of them have the name 'Billing'; wanted each only once",
        "peers: the id 14 is this droplet's own; wanted only others",
    ]


def test_a_line_says_where_the_values_come_from() -> None:
    origins = {"security.require_auth": "file udc_config.json", "server.host": "environment UDC_SERVER__HOST"}
    lines = check_start(config(security__require_auth=False), listen_host="10.0.0.1", origins=origins)

    assert lines[0].endswith(
        " (security.require_auth from file udc_config.json, server.host from environment UDC_SERVER__HOST)"
    )


def start(**environ: str) -> Loaded:
    who = {"DROPLET_ID": "14", "DROPLET_NAME": "R", "DROPLET_STEWARD": "s"}
    return load_for_start(environ={**who, **environ}, file=None, listening=True)


def test_the_normal_start_lists_wrong_values_and_broken_rules_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        start(DROPLET_STEWARD="", PORT="http", UDC_SERVER__HOST="0.0.0.0", UDC_ZZZ="1")

    assert [line.split(":")[0] for line in caught.value.problems] == [
        "UDC_ZZZ",
        "server.port",
        "droplet.steward",
        "droplet.url",
        "security",
    ]


@pytest.mark.parametrize(
    ("environ", "blamed"),
    [
        # A value that is refused is not also called missing.
        ({"DROPLET_ID": "x"}, ["droplet.id"]),
        ({"UDC_SERVER__HOST": "0.0.0.0", "DROPLET_URL": "nowhere", "REGISTRY_URL": "http://r:1"}, ["droplet.url"]),
        ({"UDC_SERVER__HOST": "10.0.0.1", "DROPLET_URL": "http://d", "REGISTRY_URL": "r"}, ["registry.url"]),
        ({"UDC_SERVER__HOST": "10.0.0.1", "UDC_SECURITY__PUBLIC_KEY_FILE": "/no"}, ["security.public_key_file"]),
    ],
)
def test_a_wrong_value_is_blamed_once(environ: dict[str, str], blamed: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        start(**environ)

    assert [line.split(":")[0] for line in caught.value.problems] == blamed


def test_when_the_file_cannot_be_read_nothing_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_for_start(environ={"UDC_SERVER__HOST": "0.0.0.0"}, file=tmp_path / "absent.json", listening=True)

    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(("listening", "starts"), [(True, True), (False, False)])
def test_who_owns_the_server_decides_what_loopback_is(listening: bool, starts: bool) -> None:
    """The same settings: our own server on 127.0.0.1, or somebody else's that listens nobody knows where."""
    if starts:
        assert load_for_start(environ={}, file=None, explicit=WHO, listening=listening).config.droplet.id == 14
        return
    with pytest.raises(ConfigError, match="no source of verification keys"):
        load_for_start(environ={}, file=None, explicit=WHO, listening=listening)


def test_in_memory_the_caller_knows_better() -> None:
    loaded = load_for_start(environ={}, file=None, attributes={"id": 14, "name": "R", "steward": "s"}, loopback=True)

    assert loaded.config.droplet.id == 14


@pytest.mark.parametrize("style", ["v2", "sqlite"])
def test_a_registry_of_a_keyed_style_needs_its_key(style: str) -> None:
    made = config(registry__url="http://127.0.0.1:1", registry__style=style)
    (line,) = check_start(made, listen_host="127.0.0.1")
    assert line.startswith(f"registry.key: missing; a Registry of style {style!r}")
    with_key = config(registry__url="http://127.0.0.1:1", registry__style=style, registry__key="k")
    assert check_start(with_key, listen_host="127.0.0.1") == []
