"""The framework for building droplets: services that speak the Universal Droplet Contract (UDC)."""

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
from udc.messages import Message, MessageType, Peer, Priority, Reply
from udc.surface._base import Endpoint, HttpRequest, HttpResponse

__version__ = "0.1.0"

__all__ = [
    "BusinessError",
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
