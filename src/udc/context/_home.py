"""What the contexts of one droplet have in common."""

from __future__ import annotations

from typing import Protocol

from udc._ids import Ambient
from udc.context._order import Courier, Spreader
from udc.context._tools import Metrics


class Home(Protocol):
    """Where a context comes from. `udc.dispatch.contexts.Contexts` is one."""

    @property
    def sender(self) -> Spreader:
        """Sends onward calls."""
        ...

    @property
    def courier(self) -> Courier | None:
        """Calls peers' own endpoints."""
        ...

    @property
    def ambient(self) -> Ambient:
        """Gives the ids of new traces."""
        ...

    @property
    def metrics(self) -> Metrics:
        """What is counted with."""
        ...

    @property
    def instance_id(self) -> str | None:
        """The instance it belongs to; `None` outside a droplet."""
        ...
