"""What the process uses of its machine, for the styles of Registry that ask for it."""

from __future__ import annotations

from udc._frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Percent of a CPU, megabytes of memory, percent of the disk."""

    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    disk_percent: float = 0.0
