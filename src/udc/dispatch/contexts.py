"""Makes the contexts of one droplet: for a message, for a hook or a job, for `droplet.mesh`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from udc._ids import Ambient
from udc.context import Context, Courier, Lineage, Metrics, Progress, Spreader
from udc.identity.claims import Principal
from udc.messages import Message

__all__ = ["Contexts", "NoMetrics"]


class NoMetrics:
    """Counts nothing: for a context outside a droplet."""

    __slots__ = ()

    def count(self, name: str, n: int = 1) -> None:
        """Drop it."""

    def gauge(self, name: str, value: float) -> None:
        """Drop it."""

    def book(self, cost_usd: float = 0.0, yield_usd: float = 0.0) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """Makes contexts: what all of a droplet's have in common.

    Attributes:
        sender: sends their onward calls.
        courier: calls peers' own endpoints for them.
        metrics: what they count with.
        instance_id: of the droplet that they serve, to which the log lines of its handlers belong.
    """

    sender: Spreader
    ambient: Ambient
    metrics: Metrics = NoMetrics()  # noqa: RUF009 - it holds nothing
    courier: Courier | None = None
    instance_id: str | None = None

    def answering(
        self,
        message: Message | Callable[[], Message],
        principal: Principal,
        deadline: float | None,
        progress: Progress | None = None,
    ) -> Context:
        """The context of the handler that answers the message; or that asks for it, when it does."""
        return Context(self, message, principal, deadline, progress)

    def tracing(self, lineage: Lineage | None = None) -> Context:
        """A context that answers no message, for a hook or one run of a job: all its calls share a trace."""
        return Context(self, lineage=lineage or Lineage(trace_id=self.ambient.new_id()))

    def mesh(self) -> Context:
        """The context behind `droplet.mesh`: inside a handler its calls join that trace, elsewhere each starts one."""
        return Context(self)
