"""Where the core droplets of a mesh on this machine are: `mesh.json`, and only as far as this machine goes."""

from __future__ import annotations

import os
from pathlib import Path

from udc._ids import seeded
from udc._wiring.nearby import Nearby
from udc._wiring.outgoing import make_discovery
from udc._wiring.settings import Settings
from udc._wiring.surroundings import Surroundings
from udc.datadir import DataDirectory, MeshFile
from udc.instrument import Instrument


async def test_the_orchestrator_of_the_mesh_nearby_is_known(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.make_secret()
    nearby = Nearby(data)
    explicit = {"droplet.id": 14, "droplet.name": "A", "droplet.steward": "b", "data": tmp_path}
    settings = Settings(Surroundings(loopback=True), explicit=explicit, attributes={})
    ambient = seeded(1, lambda: 0.0)
    discovery = make_discovery(settings, nearby=nearby, ambient=ambient, instrument=Instrument(), threads=False)
    nearby.look()
    assert discovery.seen(10) is None
    data.write_mesh(
        MeshFile(
            registry="http://127.0.0.1:8000",
            orchestrator="http://127.0.0.1:8001/",
            dashboard="http://dashboard.example.org",
            pid=os.getpid(),
        )
    )
    nearby._look_at = float("-inf")
    nearby.look()
    found = discovery.seen(10)
    assert found is not None
    assert (found.endpoint, found.ours, found.id) == ("http://127.0.0.1:8001", True, 10)
    assert discovery.seen("orchestrator") == found
    assert discovery.seen(2) is None  # another machine's: a file is no reason to speak to it
    data.remove_mesh()
    nearby._look_at = float("-inf")
    nearby.look()
    assert discovery.seen(10) is None
    assert discovery.seen("http://x/") is None


async def test_the_configuration_goes_first(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    nearby = Nearby(data)
    nearby.core = {"orchestrator": "http://127.0.0.1:8001"}
    explicit = {
        "droplet.id": 14,
        "droplet.name": "A",
        "droplet.steward": "b",
        "orchestrator.url": "http://127.0.0.1:9001",
        "data": tmp_path,
    }
    settings = Settings(Surroundings(loopback=True), explicit=explicit, attributes={})
    ambient = seeded(1, lambda: 0.0)
    discovery = make_discovery(settings, nearby=nearby, ambient=ambient, instrument=Instrument(), threads=False)
    found = discovery.seen(10)
    assert found is not None
    assert found.endpoint == "http://127.0.0.1:9001"
