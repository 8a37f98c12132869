"""`udc_config.json`: the contract's keys verbatim, unknown ones ignored but noted, rubbish refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.config.test_loading import config_file
from udc.config import load
from udc.errors import ConfigError

CONTRACT = {
    "droplet": {"id": 14, "name": "Resizer", "steward": "media-team", "version": "1.2.3"},
    "registry": {"url": "https://registry.example", "auto_register": False, "heartbeat_interval": 30},
    "orchestrator": {"url": "https://orchestrator.example/", "report_state": False, "report_interval": 90},
    "security": {"jwt_issuer": "issuer", "jwt_audience": "audience", "require_auth": False},
}


def test_the_contracts_own_file_works_verbatim(tmp_path: Path) -> None:
    loaded = load(environ={}, file=config_file(tmp_path, CONTRACT))
    config = loaded.config

    assert config.droplet.model_dump(include={"id", "name", "steward", "version"}) == CONTRACT["droplet"]
    assert config.registry.model_dump(include=set(CONTRACT["registry"])) == CONTRACT["registry"]
    assert (config.orchestrator.url, config.orchestrator.report_state) == ("https://orchestrator.example", False)
    assert config.orchestrator.report_interval == 90.0
    assert config.security.model_dump(include={"jwt_issuer", "jwt_audience", "require_auth"}) == CONTRACT["security"]
    named = {f"{section}.{key}" for section, keys in CONTRACT.items() for key in keys}
    assert {name for name, origin in loaded.origins.items() if origin == "file udc_config.json"} == named
    assert loaded.notes == ()


def test_unknown_keys_are_ignored_and_noted(tmp_path: Path) -> None:
    content = {
        "droplet": {"id": 14, "nmae": "R", "paint": {"deep": 1}},
        "telemetry": {"url": "x"},
        "peers": [{"id": 2, "endpoint": "http://b:1", "our": True, "zzz": 1}],
    }
    loaded = load(environ={}, file=config_file(tmp_path, content))

    assert loaded.config.droplet.id == 14
    assert loaded.notes == (
        "file udc_config.json: 'droplet.nmae' is unknown and ignored; did you mean 'droplet.name'?",
        "file udc_config.json: 'droplet.paint' is unknown and ignored",
        "file udc_config.json: 'telemetry' is unknown and ignored",
        "file udc_config.json: 'peers.0.our' is unknown and ignored; did you mean 'ours'?",
        "file udc_config.json: 'peers.0.zzz' is unknown and ignored",
    )


def test_keys_of_a_peer_in_a_variable_are_noted_too() -> None:
    loaded = load(environ={"UDC_PEERS": '[{"id": 2, "endpoint": "http://b:1", "zzz": 1}]'}, file=None)

    assert loaded.notes == ("environment UDC_PEERS: 'peers.0.zzz' is unknown and ignored",)


def test_null_counts_as_not_given(tmp_path: Path) -> None:
    content = {"droplet": {"id": None, "name": "R"}, "registry": None}
    loaded = load(environ={}, file=config_file(tmp_path, content), attributes={"id": 3})

    assert (loaded.config.droplet.id, loaded.config.droplet.name) == (3, "R")
    assert loaded.notes == ()


def test_of_duplicate_keys_the_last_wins(tmp_path: Path) -> None:
    assert load(environ={}, file=config_file(tmp_path, '{"droplet": {"id": 1, "id": 2}}')).config.droplet.id == 2


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert load(environ={}, file=config_file(tmp_path, '\ufeff{"droplet": {"id": 2}}')).config.droplet.id == 2


def test_the_directory_of_the_file_is_where_reload_may_look(tmp_path: Path) -> None:
    file = config_file(tmp_path, {})

    assert load(environ={}, file=file).config.config_dir == tmp_path
    assert load(environ={"UDC_CONFIG_DIR": "/etc"}, file=file).config.config_dir == Path("/etc")
    assert load(environ={}, file=None).config.config_dir == Path()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{\n oops}", "no JSON: Expecting property name enclosed in double quotes in line 2, column 2"),
        ("", "no JSON: Expecting value in line 1, column 1"),
        ("[]", 'wanted a JSON object with sections, for example {"droplet": {"id": 14}}'),
        ("[" * 100_000, "no JSON in UTF-8"),
        ('{"droplet": {"id": ' + "9" * 5000 + "}}", "no JSON in UTF-8"),
    ],
)
def test_a_file_that_is_no_json_object_is_a_problem(content: str, problem: str, tmp_path: Path) -> None:
    file = config_file(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load(environ={}, file=file)

    assert caught.value.problems == (f"{file}: {problem}",)


def test_a_file_in_another_encoding_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "udc_config.json"
    file.write_bytes('{"droplet": {"name": "ü"}}'.encode("latin-1"))
    with pytest.raises(ConfigError, match="no JSON in UTF-8"):
        load(environ={}, file=file)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot be read: {os.strerror(2)}"):
        load(environ={}, file=tmp_path / "absent.json")


def test_a_section_that_is_no_object_is_a_problem_and_keeps_its_value_to_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={}, file=config_file(tmp_path, {"security": "hunter2", "droplet": [1]}))

    assert caught.value.problems == (
        "security: a str from file udc_config.json; wanted an object",
        "droplet: a list from file udc_config.json; wanted an object",
    )
