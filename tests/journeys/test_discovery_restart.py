"""From one life to the next: what was done is not done again, and peers are known while the Registry is away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.unit.discovery.kit import Registry, record
from udc import Droplet, command
from udc._http import HttpClient
from udc._wiring.hosted import Hosted
from udc._wiring.surroundings import Surroundings
from udc.instrument import Event, StorageFailed
from udc.surface._base import HttpRequest, HttpResponse


class Printer(Droplet):
    id, name, steward = 31, "Printer", "tests"

    def __init__(self) -> None:
        super().__init__()
        self.printed: list[str] = []

    @command("print")
    async def print_it(self, text: str) -> int:
        self.printed.append(text)
        return len(self.printed)


def nowhere() -> HttpClient:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    return HttpClient(transport_factory=lambda: httpx2.MockTransport(refuse))


@asynccontextmanager
async def life(
    printer: Printer,
    data: Path,
    *,
    registry: Registry | None = None,
    events: list[Event] | None = None,
    **explicit: Any,
) -> AsyncIterator[Hosted]:
    settings: dict[str, Any] = {"droplet.url": "http://127.0.0.1:1", "security.require_auth": False, **explicit}
    around = Surroundings(
        explicit={"data": data, **settings} if "data" not in explicit else settings,
        loopback=True,
        disk=True,
        sample_process=False,
        make_client=nowhere,
        hooks=[events.append] if events is not None else [],
    )
    hosted = printer._host(around)
    if registry is not None:
        hosted.parts.directory.follow(registry)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: hosted.serve(task_status=task_status))
        yield hosted
        hosted.request_stop()


async def post(hosted: Hosted, text: str, message_id: str) -> dict[str, Any]:
    envelope = {
        "message_type": "command",
        "payload": {"type": "print", "data": {"text": text}},
        "source": 7,
        "target": 31,
        "message_id": message_id,
    }
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    response = await hosted.surface.handle(
        HttpRequest(method="POST", path="/message", headers=headers, body=json.dumps(envelope).encode())
    )
    assert isinstance(response, HttpResponse)
    assert isinstance(response.body, bytes)
    found: dict[str, Any] = json.loads(response.body)
    return found


async def test_a_duplicate_after_a_graceful_restart_gets_the_old_receipt(tmp_path: Path) -> None:
    first, second = Printer(), Printer()
    async with life(first, tmp_path) as hosted:
        assert not (await post(hosted, "one", "m-1")).get("duplicate")
    async with life(second, tmp_path) as hosted:
        again = await post(hosted, "one", "m-1")
        assert (again["duplicate"], again["data"], again["message_id"]) == (True, 1, "m-1")
        assert (await post(hosted, "other", "m-1"))["error"]["code"] == "CONFLICT"
        assert (await post(hosted, "two", "m-2"))["data"] == 1
    assert (first.printed, second.printed) == (["one"], ["two"])


async def test_two_instances_never_share_a_slot(tmp_path: Path) -> None:
    async with life(Printer(), tmp_path) as first, life(Printer(), tmp_path) as second:
        await post(first, "one", "m-1")
        assert not (await post(second, "one", "m-1")).get("duplicate")
    assert sorted(path.name for path in (tmp_path / "droplets" / "31").iterdir()) == ["0", "1"]


async def test_peers_are_known_from_the_first_second_while_the_registry_is_away(tmp_path: Path) -> None:
    registry = Registry(record(14, "billing"), watch=True)
    async with life(Printer(), tmp_path, registry=registry) as hosted:
        await hosted.parts.directory.resolve("billing")
    registry.down = True
    async with life(Printer(), tmp_path, registry=registry) as hosted:
        assert (await hosted.parts.directory.resolve("billing")).endpoint == "http://d14"


async def test_a_droplet_on_its_own_leaves_no_files_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    around = Surroundings(
        explicit={"droplet.url": "http://127.0.0.1:1", "security.require_auth": False},
        loopback=True,
        disk=True,
        sample_process=False,
        make_client=nowhere,
    )
    hosted = Printer()._host(around)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: hosted.serve(task_status=task_status))
        await post(hosted, "one", "m-1")
        hosted.request_stop()
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_data_directory_that_cannot_be_made_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    events: list[Event] = []
    printer = Printer()
    async with life(printer, tmp_path / "file", events=events) as hosted:
        await post(hosted, "one", "m-1")
        assert (await post(hosted, "one", "m-1"))["duplicate"]
    assert printer.printed == ["one"]
    assert [event.what for event in events if isinstance(event, StorageFailed)] == ["data directory"]
