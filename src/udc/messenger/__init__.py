"""What goes out: from an order to a reply, and from an errand to an endpoint's answer."""

from udc.messenger._errands import (
    Errands,
)
from udc.messenger._messenger import (
    Messenger,
)

__all__ = ["Errands", "Messenger"]
