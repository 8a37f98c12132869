"""What this process uses: CPU time and memory, as the operating system counts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")


def cpu_seconds() -> float:
    """CPU time up to now, of all threads, user and system."""
    times = os.times()
    return times.user + times.system


def memory_bytes(statm: Path = _STATM) -> int:
    """Resident memory now.

    Args:
        statm: where Linux tells it, in pages; where there is no such file, psutil is asked.
    """
    try:
        pages = int(statm.read_bytes().split()[1])
    except OSError:
        # Here, because it takes 1 MiB of memory and start-up time, and Linux does without.
        import psutil

        return int(psutil.Process().memory_info().rss)
    return pages * os.sysconf("SC_PAGE_SIZE")
