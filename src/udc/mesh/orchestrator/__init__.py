"""The Orchestrator: tasks, given to droplets that can do them, each seen to its one end (contract section 7)."""

from udc.mesh.orchestrator.droplet import Orchestrator
from udc.mesh.orchestrator.giving import Terms
from udc.mesh.orchestrator.store import SqliteStore, Store

__all__ = ["Orchestrator", "SqliteStore", "Store", "Terms"]
