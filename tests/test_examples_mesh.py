"""The example of a mesh does what it says: in memory, and as processes over sockets in a strange directory."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from examples.mesh.orders import Orders
from examples.mesh.parcels import Parcels
from examples.mesh.stock import Stock

from tests.journeys.programs import STOPPING
from udc import Droplet, PeerError
from udc.testing import World, mesh

ROOT = Path(__file__).parents[1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a shell in a strange directory would give, and settings there that are none of the example's business."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "REGISTRY_URL": "none",
        "UDC_SERVER__PORT": "none",
        "DROPLET_ID": "none",
    }


def play(environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.mesh"],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@asynccontextmanager
async def listed(*droplets: Droplet) -> AsyncIterator[World]:
    """A mesh whose Registry lists these droplets: who looks for a capability finds it there."""
    async with mesh(*droplets) as world:
        names = {droplet.name for droplet in droplets}
        listing = "GET", "Registry", "/droplets"
        while not names <= {row["name"] for row in (await world.request(*listing)).json()}:  # noqa: ASYNC110 - only asking tells
            await anyio.sleep(0.01)
        yield world


class TestInMemory:
    async def test_an_order_goes_by_name_by_capability_and_to_everybody(self) -> None:
        async with listed(Orders(), Stock(), Parcels()) as world:
            confirmed = await world.client.command("Orders", "order", {"item": "tea", "count": 2})
            assert confirmed["cents"] == 1170
            assert "Parcels" in confirmed["heard_by"]  # the Orchestrator of test meshes takes all events
            assert await world.client.query("Parcels", "to_pack") == ["2 x tea"]

    @pytest.mark.parametrize(
        ("what", "told"),
        [
            ({"item": "tea", "count": 9}, "409 SOLD_OUT: 5 tea left, not 9"),
            ({"item": "hat"}, "404 NO_SUCH_ARTICLE: there is no hat"),
        ],
    )
    async def test_what_stock_refuses_reaches_the_customer(self, what: dict[str, object], told: str) -> None:
        async with listed(Orders(), Stock(), Parcels()) as world:
            with pytest.raises(PeerError, match=told):
                await world.client.command("Orders", "order", what)

    @pytest.mark.parametrize("away", ["Stock", "Parcels"])
    async def test_without_a_peer_nothing_is_taken_and_the_customer_is_told(self, away: str) -> None:
        stock = Stock()
        async with listed(Orders(), stock, Parcels()) as world:
            world.faults.crash(away)
            with pytest.raises(PeerError, match="DEPENDENCY_UNAVAILABLE"):
                await world.client.command("Orders", "order", {"item": "tea"})
        assert (await stock.article("tea")).count == 5

    async def test_a_lost_answer_takes_only_once(self) -> None:
        stock = Stock()
        async with listed(Orders(), stock, Parcels()) as world:
            world.faults.lose_answers("Stock")
            await world.client.command("Orders", "order", {"item": "tea"})
        assert (await stock.article("tea")).count == 4


@pytest.mark.timeout(60)
class TestAsProcesses:
    def test_it_shows_what_it_promises_and_leaves_nothing(self, environment: dict[str, str], tmp_path: Path) -> None:
        done = play(environment, tmp_path)

        assert done.returncode == 0, done.stdout + done.stderr
        assert set(done.stderr.splitlines()) == {STOPPING.strip()}, done.stderr
        for line in (
            r"42 +Stock +active +ready .*",
            r"43 +Parcels +active +ready .* postage *",
            r"41 +Orders +active +ready .*",
            r'  "cents": 1170,',
            r'  "2 x tea"',
            r"udc: Orders answered 409 SOLD_OUT: 3 tea left, not 9",
        ):
            assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout
        assert list(tmp_path.iterdir()) == []
        ports = set(re.findall(r"http://127\.0\.0\.1:(\d+)", done.stdout))
        assert len(ports) == 5
        for port in ports:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(port))) != 0

    @pytest.mark.parametrize(
        ("was", "instead", "told"),
        [
            pytest.param("cents=450", "cents=451", "'\"cents\": 1170' were expected", id="another answer"),
            pytest.param('42, "Stock"', '42, ""', "udc run did not start", id="no start"),
        ],
    )
    def test_it_fails_when_anything_is_otherwise(
        self, environment: dict[str, str], tmp_path: Path, was: str, instead: str, told: str
    ) -> None:
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        stock = tmp_path / "examples" / "mesh" / "stock.py"
        source = stock.read_text("utf-8")
        assert was in source
        stock.write_text(source.replace(was, instead), "utf-8")
        done = play({**environment, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}, tmp_path)

        assert done.returncode != 0
        assert told in done.stderr
