"""The reference page tells every setting as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from udc.config import DropletConfig, PeerConfig
from udc.config.names import ALIASES, FIELDS, IDENTITY_ALIASES, VARIABLES, wanted

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def variables_of(name: str) -> list[str]:
    return [
        variable for names in (VARIABLES, IDENTITY_ALIASES, ALIASES) for variable, of in names.items() if of == name
    ]


def default_of(name: str) -> str:
    value: object = DropletConfig()
    for part in name.split("."):
        value = getattr(value, part)
    if value in (None, "", ()):
        return "–"
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


@pytest.mark.parametrize("name", FIELDS)
def test_the_page_tells_variables_default_and_what_is_wanted(name: str) -> None:
    (row,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    _, _, variables, default, wants, meaning, _ = (cell.strip() for cell in row.split(" | ".strip()))

    assert variables == ", ".join(f"`{variable}`" for variable in variables_of(name))
    assert default == default_of(name)
    assert wants == wanted(name)
    assert meaning


def test_the_page_tells_no_settings_that_do_not_exist() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == list(FIELDS)


def test_the_page_tells_the_keys_of_a_peer() -> None:
    (line,) = [part for part in PAGE.read_text(encoding="utf-8").split("\n\n") if part.startswith("Keys of a peer:")]

    assert all(f"`{key}`" in line for key in PeerConfig.model_fields)
