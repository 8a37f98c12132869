"""The reference pages tell what the code has: every name, code, field and path, and no other."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import udc
from udc import Droplet, errors, instrument, testing
from udc._wiring.surroundings import Surroundings
from udc.errors import BusinessError, ContractError, UdcError
from udc.models import MessageBody
from udc.wire import words

DOCS = Path(__file__).parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


def rows(text: str, start: str = "| `") -> list[list[str]]:
    """The cells of the table rows that begin so."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith(start)
    ]


def section(text: str, heading: str) -> str:
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert match, heading
    return match[1]


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)", text))


def test_every_answer_of_the_contract_stands_in_the_table_of_errors() -> None:
    answers = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, ContractError) and kind not in (ContractError, BusinessError)
    ]
    told = {
        (code.strip("`"), int(status), retryable == "yes", kind.strip("`"))
        for code, status, retryable, kind, _ in (row for row in rows(page("errors.md")) if len(row) == 5)
    }

    assert told == {(kind.code, kind.http_status, kind.retryable, kind.__name__) for kind in answers}


def test_every_error_is_told_of() -> None:
    public = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, UdcError)} - {
        "ContractError"
    }

    assert public <= names(page("errors.md"))


def test_every_public_name_stands_in_the_api() -> None:
    api = page("api.md")

    assert set(udc.__all__) <= names(section(api, "`udc`"))
    assert set(testing.__all__) <= names(section(api, "`udc.testing`"))
    for name in ("Droplet", "Context"):
        kind = getattr(udc, name)
        public = {each for each in vars(kind) if not each.startswith("_")}
        assert public - {"lineage"} <= names(section(api, f"`{name}`")) | names(section(api, "`udc`")), name


def test_the_modules_of_the_api_exist() -> None:
    for module, name in re.findall(r"`(udc(?:\.\w+)+)\.([A-Z]\w+)`", page("api.md")):
        assert hasattr(__import__(module, fromlist=[name]), name)


def test_every_event_stands_in_its_table() -> None:
    events = {
        name: [field.name for field in dataclasses.fields(kind)]
        for name, kind in vars(instrument).items()
        if inspect.isclass(kind) and issubclass(kind, instrument.Event) and kind is not instrument.Event
    }

    assert {row[0].strip("`"): re.findall(r"`(\w+)`", row[1]) for row in rows(page("events.md"))} == events


async def test_every_endpoint_of_the_contract_stands_in_the_table() -> None:
    class Somebody(Droplet):
        id, name, steward = 1234, "Any", "tests"

    hosted = Somebody()._host(Surroundings(loopback=True, explicit={"security.emergency_stop": True}))
    table = hosted.parts.surface.routes.table
    served = {
        (f"{row.method} {row.path}", row.access if row.scope is None else f"{row.access} scope {row.scope}")
        for row in table
    }
    told = {
        (row[0].strip("`"), row[1].replace("nothing", "public").replace("`", "").replace(" or ", " "))
        for row in rows(section(page("wire-format.md"), "Endpoints"))
    }

    assert told == served


def test_every_field_of_the_envelope_stands_in_its_table() -> None:
    told = [row[0].strip("`") for row in rows(section(page("wire-format.md"), "The envelope"))]

    assert set(told) == set(MessageBody.model_fields) | {"signature"}


@pytest.mark.parametrize(
    ("table", "own"),
    [
        pytest.param(words.MESSAGE_TYPES, {kind.value for kind in udc.MessageType}, id="message types"),
        pytest.param(words.STATUS_WORDS, {"active", "inactive", "error"}, id="status words"),
    ],
)
def test_the_words_of_the_dialects_stand_in_their_tables(table: dict[str, str], own: set[str]) -> None:
    told = {
        word: row[1].strip("`")
        for row in rows(section(page("wire-format.md"), "Dialects"))
        for word in re.findall(r"`(\w+)`", row[0])
        if row[1].strip("`") in own
    }

    assert {word: str(meaning) for word, meaning in table.items() if word not in own}.items() <= told.items()


def test_the_glossary_is_in_order_and_tells_each_word_once() -> None:
    told = [row[0].lower() for row in rows(page("glossary.md"), "| ")[1:]]

    assert told == sorted(set(told))
