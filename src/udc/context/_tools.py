"""What a context is given: something to count with, and a way to tell progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class Metrics(Protocol):
    """What a handler may count."""

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter of the droplet's own."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge of the droplet's own."""
        ...

    def book(self, cost_usd: float = 0.0, yield_usd: float = 0.0) -> None:
        """Book money: the sums are `cost_usd` and `yield_usd` of `/health`."""
        ...


Progress = Callable[[float, str], Awaitable[None]]
"""Takes a task's percentage and note on their way to the Orchestrator."""
