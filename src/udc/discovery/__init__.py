"""How a droplet finds its peers: by id, by name, or by what they can do."""

from udc.discovery._choice import (
    Arrange,
)
from udc.discovery._discovery import (
    Discovery,
)
from udc.discovery._known import (
    Instance,
    Known,
)

__all__ = ["Arrange", "Discovery", "Instance", "Known"]
