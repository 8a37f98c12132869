"""The outgoing send: from an order to a reply."""

from udc.messenger._messenger import (
    Messenger,
)

__all__ = ["Messenger"]
