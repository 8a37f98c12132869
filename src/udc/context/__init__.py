"""What a handler holds in its hand: the message it answers, and the way onward into the mesh."""

from udc.context._broadcast import (
    Broadcast,
)
from udc.context._context import (
    Context,
    current_context,
)
from udc.context._home import (
    Home,
)
from udc.context._order import (
    Courier,
    Errand,
    Lineage,
    Order,
    Sender,
    Spreader,
)
from udc.context._tools import (
    Metrics,
    Progress,
)
from udc.context._verb import (
    CallOptions,
    Verb,
)

__all__ = [
    "Broadcast",
    "CallOptions",
    "Context",
    "Courier",
    "Errand",
    "Home",
    "Lineage",
    "Metrics",
    "Order",
    "Progress",
    "Sender",
    "Spreader",
    "Verb",
    "current_context",
]
