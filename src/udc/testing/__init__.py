"""Test your droplets: whole meshes in one test, without sockets, through the real codec and guard.

```python
from udc.testing import mesh

async def test_quota() -> None:
    async with mesh(Resizer(), FakeBilling()) as world:
        assert await world.client.query("Resizer", "quota", {"steward": "ada"}) == 3
```

Names are loaded when they are first used, for the pytest plugin lies in this package, and pytest must not start
more slowly because it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from udc.testing.answers import Answer
    from udc.testing.faults import Faults
    from udc.testing.keys import Keys
    from udc.testing.members import Instance
    from udc.testing.orchestrator import FakeOrchestrator, TaskHandle
    from udc.testing.recorder import Recorder
    from udc.testing.registry import FakeRegistry
    from udc.testing.running import mesh
    from udc.testing.virtual import virtual_time
    from udc.testing.world import World

__all__ = [
    "Answer",
    "FakeOrchestrator",
    "FakeRegistry",
    "Faults",
    "Instance",
    "Keys",
    "Recorder",
    "TaskHandle",
    "World",
    "mesh",
    "virtual_time",
]

_HOMES: Final = {
    "Answer": "answers",
    "FakeOrchestrator": "orchestrator",
    "FakeRegistry": "registry",
    "Faults": "faults",
    "Instance": "members",
    "Keys": "keys",
    "Recorder": "recorder",
    "TaskHandle": "orchestrator",
    "World": "world",
    "mesh": "running",
    "virtual_time": "virtual",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
