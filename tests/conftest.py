"""What every test shares: the two backends."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Core tests run on both; a module for one backend overrides this fixture."""
    backend: str = request.param
    return backend
