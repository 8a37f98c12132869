"""Where values come from: the order of the sources, and that each value knows its own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from udc._types import UNSET
from udc.config import FILE_NAME, find_file, load
from udc.config.names import FIELDS
from udc.errors import ConfigError

PUBLIC = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"


def config_file(tmp_path: Path, content: object) -> Path:
    file = tmp_path / FILE_NAME
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


SOURCES = (
    "argument",
    "environment UDC_DROPLET__ID",
    "environment DROPLET_ID",
    "file udc_config.json",
    "class attribute",
)


@pytest.mark.parametrize("present", [p for n in range(6) for p in itertools.combinations(range(5), n)])
def test_the_highest_source_wins(present: tuple[int, ...], tmp_path: Path) -> None:
    """Every subset of the five sources; each gives its own number."""
    environ = {name: str(place + 1) for place, name in ((1, "UDC_DROPLET__ID"), (2, "DROPLET_ID")) if place in present}
    loaded = load(
        explicit={"droplet.id": 1} if 0 in present else {},
        environ=environ,
        file=config_file(tmp_path, {"droplet": {"id": 4}}) if 3 in present else None,
        attributes={"id": 5} if 4 in present else {},
    )

    assert loaded.config.droplet.id == (present[0] + 1 if present else None)
    assert loaded.origins["droplet.id"] == (SOURCES[present[0]] if present else "default")


def test_every_setting_has_an_origin() -> None:
    loaded = load(environ={"PORT": "9000"}, file=None)

    assert set(loaded.origins) == set(FIELDS)
    assert {name for name, origin in loaded.origins.items() if origin != "default"} == {"server.port"}


def test_origins_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        load(environ={}, file=None).origins["droplet.id"] = "me"  # type: ignore[index]  # that is the point


def test_sources_are_mixed_field_by_field(tmp_path: Path) -> None:
    loaded = load(
        environ={"UDC_SECURITY__JWT_AUDIENCE": "mine"},
        file=config_file(tmp_path, {"security": {"jwt_issuer": "issuer", "jwt_audience": "theirs"}}),
    )

    assert (loaded.config.security.jwt_issuer, loaded.config.security.jwt_audience) == ("issuer", "mine")


def test_arguments_are_nested_or_dotted() -> None:
    loaded = load(environ={}, file=None, explicit={"droplet": {"id": 14}, "droplet.name": "R", "environment": "test"})

    assert (loaded.config.droplet.id, loaded.config.droplet.name, loaded.config.environment) == (14, "R", "test")


def test_an_argument_of_none_says_none_and_unset_says_nothing() -> None:
    environ = {"REGISTRY_URL": "http://r:1", "ORCHESTRATOR_URL": "http://o:1"}
    loaded = load(environ=environ, file=None, explicit={"registry.url": None, "orchestrator.url": UNSET})

    assert (loaded.config.registry.url, loaded.origins["registry.url"]) == (None, "argument")
    assert (loaded.config.orchestrator.url, loaded.origins["orchestrator.url"]) == (
        "http://o:1",
        "environment ORCHESTRATOR_URL",
    )


def test_an_unknown_argument_is_a_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={}, file=None, explicit={"droplet": {"nam": "R"}, "zzz": 1, "registry": "http://r"})

    assert caught.value.problems == (
        "droplet.nam: unknown argument; did you mean 'droplet.name'?",
        "zzz: unknown argument",
        "registry: unknown argument; did you mean 'registry.id'?",
    )


def test_class_attributes_that_are_no_settings_do_not_count() -> None:
    attributes = {"id": None, "name": "R", "capabilities": ["x"], "needs": [], "version": UNSET, "registry.id": 7}
    loaded = load(environ={}, file=None, attributes=attributes)

    assert (loaded.config.droplet.id, loaded.config.droplet.name, loaded.config.registry.id) == (None, "R", 7)
    assert loaded.origins["droplet.version"] == "default"


ALIASES = {
    "DROPLET_ID": ("droplet.id", "14", 14),
    "DROPLET_NAME": ("droplet.name", "R", "R"),
    "DROPLET_STEWARD": ("droplet.steward", "s", "s"),
    "DROPLET_URL": ("droplet.url", "http://d:1/", "http://d:1"),
    "PORT": ("server.port", "9000", 9000),
    "REGISTRY_URL": ("registry.url", "http://r:1", "http://r:1"),
    "ORCHESTRATOR_URL": ("orchestrator.url", "http://o:1", "http://o:1"),
    "ENVIRONMENT": ("environment", "production", "production"),
    "LOG_LEVEL": ("log_level", "debug", "DEBUG"),
    "UDC_DATA": ("data", "/d", Path("/d")),
}
SHARED = {"REGISTRY_URL", "ORCHESTRATOR_URL", "ENVIRONMENT", "LOG_LEVEL", "UDC_DATA"}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("variable", ALIASES)
def test_an_alias_is_read_and_identity_only_where_one_droplet_is_hosted(variable: str, alone: bool) -> None:
    name, text, expected = ALIASES[variable]
    loaded = load(environ={variable: text}, file=None, identity_aliases=alone)

    counts = alone or variable in SHARED
    assert loaded.origins[name] == (f"environment {variable}" if counts else "default")
    value: object = loaded.config
    for part in name.split("."):
        value = getattr(value, part)
    assert (value == expected) is counts


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_variable_counts_as_unset(empty: str) -> None:
    environ = {"UDC_DROPLET__ID": empty, "DROPLET_ID": "14", "UDC_NO_SUCH": empty, "UDC_SECURITY__TOKEN_FILE": empty}
    loaded = load(environ=environ, file=None)

    assert loaded.config.droplet.id == 14
    assert loaded.origins["security.token"] == "default"


def test_other_programs_variables_are_left_alone() -> None:
    load(environ={"PATH": "/bin", "DROPLET_COLOUR": "red", "udc_droplet__id": "x", "UDC": "1", "UDCX": "1"}, file=None)


def test_an_unknown_variable_is_a_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"UDC_SECURITY__JWT_AUDIENSE": "x", "UDC_SECURITY_JWT_ISSUER": "y", "UDC_ZZZ": "z"}, file=None)

    assert caught.value.problems == (
        "UDC_SECURITY_JWT_ISSUER: unknown variable; did you mean 'UDC_SECURITY__JWT_ISSUER'?",
        "UDC_SECURITY__JWT_AUDIENSE: unknown variable; did you mean 'UDC_SECURITY__JWT_AUDIENCE'?",
        "UDC_ZZZ: unknown variable",
    )


SECRETS = {
    "DROPLET_SECRET": "droplet.secret",
    "UDC_DROPLET__SECRET": "droplet.secret",
    "UDC_SECURITY__TOKEN": "security.token",
}


@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_comes_from_a_variable_or_a_file(variable: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  s3cret\n", encoding="utf-8")
    for environ in ({variable: "s3cret"}, {f"{variable}_FILE": str(tmp_path / "secret")}):
        loaded = load(environ=environ, file=None)
        section, field = SECRETS[variable].split(".")
        assert getattr(getattr(loaded.config, section), field).reveal() == "s3cret"
        assert loaded.origins[SECRETS[variable]] == f"environment {next(iter(environ))}"


def test_a_file_replaces_a_value_of_a_lower_source_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file", encoding="utf-8")
    aliased = {"DROPLET_SECRET": "from an alias", "UDC_DROPLET__SECRET_FILE": str(tmp_path / "secret")}
    direct = {"DROPLET_SECRET_FILE": "/no/such/file", "UDC_DROPLET__SECRET": "direct"}

    by_file, by_value = (load(environ=environ, file=None) for environ in (aliased, direct))

    assert by_file.config.droplet.secret is not None
    assert by_file.config.droplet.secret.reveal() == "from a file"
    assert by_value.config.droplet.secret is not None
    assert by_value.config.droplet.secret.reveal() == "direct"
    assert by_value.config.droplet.secret_file is None


def test_a_relative_path_starts_at_the_file_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "public.pem").write_text(PUBLIC, encoding="utf-8")
    file = config_file(tmp_path, {"security": {"public_key_file": "keys/public.pem"}})

    loaded = load(environ={}, file=file)

    assert loaded.config.security.public_key == PUBLIC
    assert loaded.config.security.public_key_file == Path("keys/public.pem")
    assert loaded.origins["security.public_key"] == "file udc_config.json"


def test_a_path_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("token", encoding="utf-8")

    assert load(environ={}, file=None, explicit={"security.token_file": tmp_path / "t"}).config.security.token


def test_two_values_of_one_source_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(environ={"DROPLET_SECRET": "a", "DROPLET_SECRET_FILE": str(tmp_path / "secret")}, file=None)

    (problem,) = caught.value.problems
    assert problem == (
        "droplet.secret: given by environment DROPLET_SECRET, "
        "and droplet.secret_file by environment DROPLET_SECRET_FILE; wanted one of the two"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b" \n", "it is empty"), (b"\xff\xfe", "it is not UTF-8")],
)
def test_a_secret_file_that_cannot_be_read_is_a_problem(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(environ={"DROPLET_SECRET_FILE": str(path)}, file=None)

    assert len(caught.value.problems) == 1
    assert f"environment DROPLET_SECRET_FILE cannot be read: {reason}" in caught.value.problems[0]


def test_a_path_with_a_null_in_it_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(environ={}, file=None, explicit={"droplet.secret_file": "a\0b"})


@pytest.mark.parametrize("given_value", [5, None])
def test_a_path_that_is_none_is_left_to_validation(given_value: object) -> None:
    if given_value is None:
        assert load(environ={}, file=None, explicit={"security.token_file": None}).config.security.token is None
        return
    with pytest.raises(ConfigError, match=r"security\.token_file: 5 from argument; wanted the path of a file"):
        load(environ={}, file=None, explicit={"security.token_file": given_value})


def test_find_file(tmp_path: Path) -> None:
    assert find_file(tmp_path) is None
    (tmp_path / FILE_NAME).mkdir()
    assert find_file(tmp_path) is None
    (tmp_path / FILE_NAME).rmdir()
    assert find_file(tmp_path) is None
    file = config_file(tmp_path, {})
    assert find_file(tmp_path) == file
