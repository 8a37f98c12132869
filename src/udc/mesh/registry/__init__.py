"""The Registry: who is in the mesh, where, for how long, and the tokens that prove it (contract section 6)."""

from udc.mesh.registry.droplet import Registry
from udc.mesh.registry.store import Enrolment, Kept, Revocation, SqliteStore, Store

__all__ = ["Enrolment", "Kept", "Registry", "Revocation", "SqliteStore", "Store"]
