"""What every test shares: the two backends, in real and in virtual time, and our own pytest plugin."""

from __future__ import annotations

from typing import Any

import pytest

from udc.testing import plugin
from udc.testing import virtual_time as virtual

VIRTUAL = ["asyncio-virtual", "trio-virtual"]
"""Backends whose clock leaps to the next timer: `pytestmark = virtual_time` in a module asks for them."""

virtual_time = pytest.mark.parametrize("anyio_backend", VIRTUAL, indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    """The plugin is there even where the installed distribution is older than its entry point."""
    if not config.pluginmanager.has_plugin("udc"):
        config.pluginmanager.register(plugin, "udc")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Core tests run on both backends."""
    backend, _, clock = request.param.partition("-")
    return virtual(backend) if clock else (backend, {})
