"""Small and large meshes come back after an outage: a small one within seconds, a large one not all at once."""

from __future__ import annotations

import anyio
import pytest

from tests.bench.bench_presence import returned
from tests.conftest import virtual_time
from tests.journeys.fleet import Registry, peak_per_second, running

pytestmark = pytest.mark.timeout(60)
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio-virtual"], indirect=True)

FEW_SECONDS = 8.0
BACK_SECONDS = 60.0
HIGHEST_SHARE = 0.05


@virtual_time
@pytest.mark.parametrize("kind", ["unreachable", "refusing", "empty"])
@pytest.mark.parametrize("outage_seconds", [3.0, 20.0, 300.0])
async def test_three_droplets_are_back_within_seconds(outage_seconds: float, kind: str) -> None:
    assert (await returned(3, outage_seconds, kind)).seconds <= FEW_SECONDS


@virtual_time
@pytest.mark.parametrize("kind", ["refusing", "empty"])
@pytest.mark.parametrize("outage_seconds", [3.0, 120.0])
async def test_fifty_do_not_come_back_all_at_once(outage_seconds: float, kind: str) -> None:
    """After a short outage too, which most of them have not even seen."""
    found = await returned(50, outage_seconds, kind)
    assert found.seconds <= BACK_SECONDS
    assert found.peak <= HIGHEST_SHARE


@on_asyncio
async def test_nor_do_a_thousand() -> None:
    found = await returned(1000, 5.0, "empty")
    assert found.seconds <= BACK_SECONDS
    assert found.peak <= HIGHEST_SHARE


@virtual_time
async def test_one_alone_that_was_forgotten_is_back_at_once() -> None:
    registry = Registry()
    async with running(50, registry=registry) as fleet:
        await anyio.sleep(60)
        lost = fleet.members[7]
        del registry.known[lost.id, lost.instance_id]
        forgotten = anyio.current_time()
        with anyio.fail_after(12):
            while fleet.present < 50:  # noqa: ASYNC110 - virtual time, and no event tells of both sides
                await anyio.sleep(0.01)
        (refused,) = [call.at for call in registry.calls if call.status == 404 and call.at > forgotten]
        assert registry.registered_at(forgotten) == [pytest.approx(refused, abs=0.01)]
        assert peak_per_second(registry.attempted_at(forgotten)) == 1
