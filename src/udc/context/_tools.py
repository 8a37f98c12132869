"""What a context is given: something to count with, a way to tell progress, a log that knows the trace."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol


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


class TraceLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the trace id to every line, and keeps the caller's own `extra` (the standard adapter drops it)."""

    def process(
        self,
        msg: Any,  # Any: as the standard library has it
        kwargs: MutableMapping[str, Any],  # Any: likewise
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
