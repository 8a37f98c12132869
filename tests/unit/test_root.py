"""The root gives every public name when it is asked for it, and loads none before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import udc


@pytest.mark.parametrize("name", udc.__all__)
def test_every_name_is_there_and_listed(name: str) -> None:
    assert getattr(udc, name) is getattr(udc, name)
    assert name in dir(udc)


@pytest.mark.parametrize("room", ["asgi", "errors", "instrument", "testing"])
def test_the_root_alone_leads_to_the_rooms(room: str) -> None:
    assert getattr(udc, room).__name__ == f"udc.{room}"


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Droplett'"):
        _ = udc.Droplett  # type: ignore[attr-defined]  # that is the test


def test_the_bare_import_loads_no_library() -> None:
    code = "import sys, udc; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "anyio", "httpx2", "jwt"}.isdisjoint(loaded)
