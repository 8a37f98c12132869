"""The pytest plugin: fixtures for meshes and keys. Loaded by pytest wherever `udc-mesh` is installed.

The fixtures that wait work with anyio's pytest plugin. Tests under pytest-asyncio use `async with mesh(...)`
themselves, because it sets fixtures up and tears them down in different tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from udc import testing  # its names are loaded when they are used: this import is light

if TYPE_CHECKING:
    from udc.droplet import Droplet

__all__ = ["udc_keys", "udc_mesh", "udc_seed"]

MeshFactory: TypeAlias = Callable[..., Awaitable["testing.World"]]
"""Takes what `mesh` takes; returns the running world."""


def pytest_configure(config: pytest.Config) -> None:
    """Put looptime's own plugin aside where it cannot work: without pytest-asyncio it breaks every fixture.

    Our virtual time needs its event loop only.
    """
    plugins = config.pluginmanager
    if plugins.hasplugin("looptime_plugin") and not plugins.hasplugin("asyncio"):
        plugins.unregister(name="looptime_plugin")


@pytest.fixture
def udc_seed() -> int:
    """The seed of meshes made by `udc_mesh`; override it to try others."""
    return 0


@pytest.fixture
def udc_keys() -> testing.Keys:
    """Keys of a mesh's Registry, to sign tokens with; the RSA key is made once per process."""
    return testing.Keys()


@pytest.fixture
async def udc_mesh(anyio_backend: object, udc_seed: int) -> AsyncIterator[MeshFactory]:
    """Starts meshes that run until the test ends.

    `world = await udc_mesh(Resizer(), Billing())`: takes what `mesh` takes.
    """
    async with AsyncExitStack() as stack:

        async def start(*droplets: Droplet | Callable[[], Droplet], **options: Any) -> testing.World:  # Any: as mesh
            seed: int = options.pop("seed", udc_seed)
            return await stack.enter_async_context(testing.mesh(*droplets, seed=seed, **options))

        yield start
