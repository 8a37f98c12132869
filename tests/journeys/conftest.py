"""What the journeys share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.programs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Programs in a folder of their own, all ended after the test."""
    started = Programs(tmp_path)
    yield started
    started.end()
