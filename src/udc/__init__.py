"""The framework for building droplets: services that speak the Universal Droplet Contract (UDC).

Names are loaded when they are first used: the pytest plugin lies below this package, and pytest must not
start more slowly in every project where `udc` is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from udc.context import Context
    from udc.dispatch.declare import (
        Handlers,
        chat,
        command,
        endpoint,
        event,
        every,
        on_ready,
        on_start,
        on_stop,
        query,
        status,
        task,
    )
    from udc.droplet import Droplet
    from udc.errors import BusinessError, DeliveryError, PeerError, UdcError
    from udc.messages import ChatReply, Message, MessageType, Peer, Priority, Reply
    from udc.surface._base import Endpoint, HttpRequest, HttpResponse
    from udc.surface._query import QueryParameter

__version__ = "0.1.0"

__all__ = [
    "BusinessError",
    "ChatReply",
    "Context",
    "DeliveryError",
    "Droplet",
    "Endpoint",
    "Handlers",
    "HttpRequest",
    "HttpResponse",
    "Message",
    "MessageType",
    "Peer",
    "PeerError",
    "Priority",
    "QueryParameter",
    "Reply",
    "UdcError",
    "chat",
    "command",
    "endpoint",
    "event",
    "every",
    "on_ready",
    "on_start",
    "on_stop",
    "query",
    "status",
    "task",
]

_HOMES: Final = {
    "udc.context": ("Context",),
    "udc.dispatch.declare": (
        "Handlers",
        "chat",
        "command",
        "endpoint",
        "event",
        "every",
        "on_ready",
        "on_start",
        "on_stop",
        "query",
        "status",
        "task",
    ),
    "udc.droplet": ("Droplet",),
    "udc.errors": ("BusinessError", "DeliveryError", "PeerError", "UdcError"),
    "udc.messages": ("ChatReply", "Message", "MessageType", "Peer", "Priority", "Reply"),
    "udc.surface._base": ("Endpoint", "HttpRequest", "HttpResponse"),
    "udc.surface._query": ("QueryParameter",),
}
_ROOMS: Final = ("asgi", "errors", "instrument", "testing")
"""Public modules that `import udc` alone is enough for."""

_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        if name in _ROOMS:
            return import_module(f"udc.{name}")
        if name not in _HOME_OF:
            raise AttributeError(f"module 'udc' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        """The public names, whether loaded yet or not."""
        return sorted({*globals(), *__all__})
