"""What people are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from udc.cli.inspecting import show_inspected
from udc.cli.listing import show_rows
from udc.cli.output import put_facts
from udc.cli.place import Place
from udc.config import DropletConfig
from udc.datadir import DataDirectory


def test_nothing_is_shown_as_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    put_facts({"none": None, "empty": "", "object": {}, "list": [], "zero": 0})

    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert shown == {"none": "-", "empty": "-", "object": "-", "list": "-", "zero": "0"}


def test_no_rows_say_what_was_asked_for(capsys: pytest.CaptureFixture[str], place: Place) -> None:
    show_rows([], place)
    show_rows([], place, [("capability", "zzz"), ("status", "active")])

    assert capsys.readouterr().out.splitlines() == [
        f"no droplets at {place.registry}",
        f"no droplets with capability 'zzz', status 'active' at {place.registry}",
    ]


def test_rows_come_by_id(capsys: pytest.CaptureFixture[str], place: Place) -> None:
    show_rows([{"id": 43}, {"name": "Zed"}, {"id": 1}, {"id": "x", "name": "Ann"}, {"id": 14}], place)

    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["1", "-"],
        ["14", "-"],
        ["43", "-"],
        ["x", "Ann"],
        ["-", "Zed"],
    ]


def test_dependencies_are_read_as_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    required = [
        {"id": 42, "name": "Stock", "status": "connected"},
        {"id": None, "name": "postage", "status": "disconnected"},
    ]
    nothing = dict.fromkeys(("health", "capabilities", "state", "version"), "")
    show_inspected({**nothing, "dependencies": {"required": required, "optional": [], "missing": []}})

    out = capsys.readouterr().out
    assert "required  Stock (42) connected, postage disconnected" in out
    assert "optional  - " in out


@pytest.fixture
def place() -> Place:
    return Place(
        registry="http://127.0.0.1:8000", config=DropletConfig(), data=DataDirectory(Path(".udc")), secret=None
    )
