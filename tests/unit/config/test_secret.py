"""A secret is given out by `reveal()` and by nothing else."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from udc.config import DropletConfig, Secret, load
from udc.errors import ConfigError

TEXT = "correct horse battery staple"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIhidden\n-----END PRIVATE KEY-----\n"
CONFIG = DropletConfig.model_validate({"droplet": {"secret": TEXT}, "security": {"signing_key": PRIVATE}})


def test_it_gives_itself_out_when_asked() -> None:
    assert Secret(TEXT).reveal() == TEXT


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, lambda s: repr({"a": [s]}), lambda s: f"{s}"])
def test_it_shows_nothing(show: object) -> None:
    assert callable(show)
    shown = show(Secret(TEXT))

    assert "horse" not in shown
    assert "****" in shown


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        DropletConfig.model_dump_json,
        lambda c: repr(c.model_dump()),
        lambda c: json.dumps(c.model_dump(mode="json")),
    ],
)
def test_a_configuration_shows_none_of_its_secrets(show: object) -> None:
    assert callable(show)
    shown = show(CONFIG)

    assert "horse" not in shown
    assert "hidden" not in shown


def test_two_of_the_same_text_are_equal() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")
    assert Secret("ümlaut") != Secret("other")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT), Secret("other")}) == 2


@pytest.mark.parametrize("text", ["", "  \n"])
def test_it_cannot_be_empty(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        Secret(text)


def test_it_cannot_be_written_down() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(TEXT))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_itself(copied: object) -> None:
    assert callable(copied)
    secret = Secret(TEXT)

    assert copied(secret) is secret
    assert copied(CONFIG).droplet.secret == secret


def test_a_secret_stays_one_through_validation() -> None:
    secret = Secret(TEXT)

    assert DropletConfig.model_validate({"droplet": {"secret": secret}}).droplet.secret is secret


@pytest.mark.parametrize(
    "environ",
    [
        {"UDC_SECURITY__SIGNING_KEY": TEXT},
        {"UDC_SECURITY__PUBLIC_KEY": TEXT},
        {"UDC_SECURITY__PUBLIC_KEY": PRIVATE},
        {"REGISTRY_URL": f"http://user:{TEXT.replace(' ', '')}@host"},
        {"REGISTRY_URL": f"http://host/?token={TEXT.replace(' ', '')}"},
        {"REGISTRY_URL": f"http://user:it's {TEXT}@host"},
        {"UDC_PEERS": f'[{{"endpoint": "http://u:{TEXT}@host"}}]'},
        {"UDC_PEERS": f'[{{"endpoint": "http://u:{TEXT}/@host"'},
    ],
)
def test_a_refused_value_is_not_repeated(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, file=None)

    assert "horse" not in repr(caught.value) + str(caught.value)
    assert "hidden" not in str(caught.value)
    # A traceback prints the causes too.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_secret_that_is_no_text_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={}, file=None, explicit={"droplet.secret": 31337})

    assert caught.value.problems == ("droplet.secret: ********** from argument; wanted a text that is not empty",)


def test_pydantic_itself_does_not_show_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="signing_key") as caught:
        DropletConfig.model_validate({"security": {"signing_key": TEXT}})

    assert "horse" not in str(caught.value)
