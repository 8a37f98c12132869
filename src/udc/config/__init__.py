"""The configuration of a droplet: what can be set, where it is read from, what must hold (contract section 9).

Reading happens in `load` and `load_for_start`, never at import or construction.
"""

from udc.config.loader import FILE_NAME, Loaded, find_file, load, load_for_start
from udc.config.secret import Secret
from udc.config.sections import (
    BuildSection,
    DashboardSection,
    DropletConfig,
    DropletSection,
    LimitsSection,
    OperatorSection,
    OrchestratorSection,
    PeerConfig,
    RegistrySection,
    SecuritySection,
    ServerSection,
)
from udc.config.startup import beyond_loopback, check_start, has_key_source, is_loopback, require_startable

__all__ = [
    "FILE_NAME",
    "BuildSection",
    "DashboardSection",
    "DropletConfig",
    "DropletSection",
    "LimitsSection",
    "Loaded",
    "OperatorSection",
    "OrchestratorSection",
    "PeerConfig",
    "RegistrySection",
    "Secret",
    "SecuritySection",
    "ServerSection",
    "beyond_loopback",
    "check_start",
    "find_file",
    "has_key_source",
    "is_loopback",
    "load",
    "load_for_start",
    "require_startable",
]
