"""The clients of every style against our own Registry: what we say is what we understand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.served import Life, Placed, uvicorn_serving
from tests.unit.mesh.registry.kit import SECRET, registry
from udc._http import HttpClient
from udc._ids import system
from udc._wiring.surroundings import Surroundings
from udc.asgi import App
from udc.clients._base import Beat, Registration, RegistryClient
from udc.clients.choose import Caller, make_registry
from udc.config import load
from udc.errors import InstanceRetired, RegistryRefused, UnknownInstance
from udc.identity.tokens import TokenKeeper
from udc.instrument import Instrument
from udc.wire.records import superset_registration

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)  # uvicorn runs on asyncio

STYLES = ["contract", "plain", "v2", "sqlite", "services"]


class NoTokens:
    async def fetch(self, audience: str | None) -> Any:
        raise AssertionError("tokens come with the registration")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = App(Placed(registry(), Surroundings(sample_process=False)))
    life = Life(app)
    async with uvicorn_serving(app, lifespan="on") as (_, port):
        yield f"http://127.0.0.1:{port}"
        life.stop.set()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def client_of(style: str, url: str, http: HttpClient, *, instance_id: str = "i-1") -> RegistryClient:
    wanted = {"registry.style": style, "droplet.secret": SECRET, "registry.key": SECRET, "registry.url": url}
    config = load(explicit=wanted, environ={}, file=None).config
    keeper = TokenKeeper(NoTokens(), ambient=system(), instrument=Instrument([]))
    caller = Caller(
        droplet_id=14,
        instance_id=instance_id,
        name="Resizer",
        endpoint="http://127.0.0.1:9014",
        client=http,
        tokens=keeper,
        ambient=system(),
    )
    return make_registry(config, caller, url=url)


def registration(style: str, **changes: Any) -> Registration:
    made = superset_registration(
        droplet_id=14,
        name="Resizer",
        steward="s",
        endpoint="http://127.0.0.1:9014",
        version="1",
        capabilities=["resize"],
    )
    own = {"instance_id": "i-1", "phase": "ready"} if style == "contract" else {}
    return Registration(body={**made, **own, **changes})


def beat(sent: Registration, instance_id: str = "i-1") -> Beat:
    return Beat(droplet_id=14, instance_id=instance_id, status="active", phase="ready", record_hash=sent.record_hash)


@pytest.mark.parametrize("style", STYLES)
async def test_every_style_registers_beats_lists_and_leaves(style: str, url: str, http: HttpClient) -> None:
    client, sent = client_of(style, url, http), registration(style)

    for _ in range(2):
        await client.register(sent)
        answer = await client.beat(beat(sent))
        assert answer.send_record is False
    records = (await client.list()).records
    assert [(each["id"], each["name"], each["endpoint"]) for each in records] == [
        (1, "Registry", "http://127.0.0.1:8000"),
        (14, "Resizer", "http://127.0.0.1:9014"),
    ]
    await client.deregister()
    await client.deregister()


async def test_our_own_style_has_all_there_is(url: str, http: HttpClient) -> None:
    client, sent = client_of("contract", url, http), registration("contract")

    with pytest.raises(UnknownInstance) as unknown:
        await client.beat(beat(sent))
    assert unknown.value.spread_seconds == 0
    told = await client.register(sent)
    answer = await client.beat(beat(sent))
    listing = await client.list()
    other = registration("contract", instance_id="i-2")
    changed = await client.changes(listing.revision or "", wait_seconds=0)
    await client_of("contract", url, http, instance_id="i-2").register(other)

    assert (told.lease_ttl_seconds, told.beat_every_seconds, told.expires_in) == (9, 3, 3600)
    assert (answer.lease_ttl_seconds, answer.beat_every_seconds) == (9, 3)
    assert answer.keys_revision
    assert listing.warming
    assert changed is not None
    assert list(changed.changes) == []
    with pytest.raises(InstanceRetired) as retired:
        await client.beat(beat(sent))
    assert retired.value.retired_by == "i-2"
    changed = await client.changes(listing.revision or "", wait_seconds=5)
    assert changed is not None
    assert [(each.op, each.record["instance_id"]) for each in changed.changes] == [("put", "i-2")]


async def test_a_wrong_secret_is_told(url: str, http: HttpClient) -> None:
    wanted = {"droplet.secret": "w" * 40, "registry.url": url}
    config = load(explicit=wanted, environ={}, file=None).config
    keeper = TokenKeeper(NoTokens(), ambient=system(), instrument=Instrument([]))
    caller = Caller(droplet_id=14, instance_id="i-1", name="R", endpoint="http://127.0.0.1:1", client=http,
                    tokens=keeper, ambient=system())  # fmt: skip

    with pytest.raises(RegistryRefused):
        await make_registry(config, caller, url=url).register(registration("contract"))
