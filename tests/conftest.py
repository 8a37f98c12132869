"""What every test shares: the two backends, in real and in virtual time."""

from __future__ import annotations

from typing import Any

import looptime
import pytest
import trio.testing

VIRTUAL = [
    pytest.param(("asyncio", {"loop_factory": looptime.new_event_loop}), id="asyncio-virtual"),
    pytest.param(("trio", {"clock": "autojump"}), id="trio-virtual"),
]
"""Backends whose clock leaps to the next timer: `pytestmark = virtual_time` in a module asks for them."""

virtual_time = pytest.mark.parametrize("anyio_backend", VIRTUAL, indirect=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Core tests run on both backends."""
    name, options = request.param if isinstance(request.param, tuple) else (request.param, {})
    if options.get("clock") == "autojump":
        options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return name, options
