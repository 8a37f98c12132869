"""Dependencies are measured: those that come late are seen soon, those that are there are left in peace."""

from __future__ import annotations

import anyio
import pytest

from tests.conftest import virtual_time
from udc._types import DropletId
from udc.errors import PeerUnreachable, UnknownPeer
from udc.messages import Peer
from udc.services.dependencies import DependencyWatch

pytestmark = virtual_time


class Neighbours:
    """Peers that come when they come."""

    def __init__(self) -> None:
        self.known: dict[DropletId, Peer] = {}
        self.up: set[str] = set()
        self.probed: list[float] = []

    async def resolve(self, target: DropletId) -> Peer:
        if target not in self.known:
            raise UnknownPeer("nobody", peer=target)
        return self.known[target]

    async def probe(self, peer: Peer) -> bool:
        self.probed.append(anyio.current_time())
        if peer.label not in self.up:
            raise PeerUnreachable("refused", peer=peer.label)
        return True


async def test_one_that_comes_late_is_seen_soon() -> None:
    neighbours = Neighbours()
    watch = DependencyWatch(needs=("Billing",), wants=(9,), resolve=neighbours.resolve, probe=neighbours.probe)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: watch.run(task_status=task_status))
        await anyio.sleep(1)
        assert [row.status for row in (*watch.measured().required, *watch.measured().optional)] == [
            "disconnected",
            "unavailable",
        ]
        assert [row.name for row in watch.measured().missing] == ["Billing", "9"]
        neighbours.known = {
            "Billing": Peer(id=15, name="Billing", endpoint="http://b"),
            9: Peer(id=9, name="Memory", endpoint="http://m"),
        }
        neighbours.up = {"Billing", "Memory"}
        await anyio.sleep(3)
        measured = watch.measured()
        assert [(row.id, row.name, row.status) for row in (*measured.required, *measured.optional)] == [
            (15, "Billing", "connected"),
            (9, "Memory", "available"),
        ]
        assert measured.missing == ()
        del neighbours.probed[:]
        await anyio.sleep(30)
        assert len(neighbours.probed) == pytest.approx(4, abs=2), "who is there is asked every 15 s"
        neighbours.up.discard("Billing")
        await anyio.sleep(16)
        assert watch.measured().required[0].status == "disconnected"
        assert watch.measured().missing == ()
        tasks.cancel_scope.cancel()
