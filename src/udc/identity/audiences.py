"""The three audiences of a mesh, so that a token seen by one peer is of little use elsewhere (contract section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from udc._types import DropletId

DEFAULT_ISSUER: Final = "registry.fullpotential.ai"
"""`iss` of a mesh's tokens unless configured."""

DEFAULT_AUDIENCE: Final = "fullpotential.droplets"
"""`aud` of a mesh's tokens unless configured: what foreign peers are shown."""


RESERVED_NAME: Final = "registry"
"""No droplet may have this id: tokens for it would be tokens that change the Registry."""


def own_audience(mesh: str, droplet_id: DropletId) -> str:
    """The audience of one droplet of our own kind: `<mesh>/<id>`."""
    return f"{mesh}/{droplet_id}"


def registry_audience(mesh: str) -> str:
    """The audience of calls that change the Registry: `<mesh>/registry`."""
    return f"{mesh}/{RESERVED_NAME}"


def foreign_narrowed(mesh: str, permissions: Iterable[str]) -> Mapping[str | None, frozenset[str]]:
    """The most that tokens allow which foreign peers are shown: those of the mesh's audience, and those without one.

    Args:
        mesh: its audience.
        permissions: which they may allow (`security.foreign_permissions`).
    """
    most = frozenset(permissions)
    return {mesh: most, None: most}
