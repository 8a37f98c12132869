"""How long leases and tokens live can be said."""

from __future__ import annotations

import math
from typing import Any

import pytest

from udc.mesh.registry import Registry
from udc.mesh.registry.leases import terms_for, terms_of


@pytest.mark.parametrize("droplets", [1, 49, 50, 10_000])
def test_a_droplet_beats_three_times_in_a_lease(droplets: int) -> None:
    usual = terms_for(droplets)

    assert terms_of(usual.ttl_seconds) == usual


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ({"lease_seconds": 0}, "lease_seconds must be more than 0, not 0"),
        ({"lease_seconds": math.nan}, "lease_seconds must be more than 0, not nan"),
        ({"token_seconds": 0}, "token_seconds must be from 1 to 3600, not 0"),
        ({"token_seconds": 3601}, "token_seconds must be from 1 to 3600, not 3601"),
    ],
)
def test_times_that_cannot_work_are_refused(times: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        Registry(**times)
