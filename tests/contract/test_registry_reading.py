"""Lists, filters, long poll and watch of a Registry (contract section 6)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.contract.served import Answer, Connection, World, all_blocked, anyio_backend, http_scope, server, way, world
from tests.unit.mesh.registry.kit import SECRET, Mesh, body, registry, serve

__all__ = ["anyio_backend", "server", "way", "world"]

ADMIN = {"x-droplet-secret": SECRET}


def changes_of(answer: Answer) -> list[tuple[str, int]]:
    assert answer.status == 200, answer.body
    return sorted((each["op"], each["record"]["id"]) for each in answer.json()["changes"])


async def three(mesh: Mesh) -> None:
    await mesh.register(body(14, capabilities=["resize", "crop"], name="Resizer"))
    await mesh.register(body(15, capabilities=["crop"], name="Cropper", status="inactive"))
    await mesh.register(body(16, capabilities=["mail"], name="Mailer", status="error"))


async def test_a_row_has_all_the_fields(world: World) -> None:
    mesh = await serve(world)
    await mesh.register(body(14))

    [row] = await mesh.others()

    assert row == {
        "id": 14,
        "droplet_id": 14,
        "name": "Droplet14",
        "steward": "team",
        "endpoint": "http://127.0.0.1:9014",
        "url": "http://127.0.0.1:9014",
        "capabilities": ["resize"],
        "version": "1.0.0",
        "metadata": {"udc_mesh": "1.0"},
        "status": "active",
        "phase": "ready",
        "instance_id": "i-14-1",
        "instances": [
            {"instance_id": "i-14-1", "endpoint": "http://127.0.0.1:9014", "state": "ready", "in_flight": 0},
        ],
    }


async def test_one_by_id_and_by_name(world: World) -> None:
    mesh = await serve(world)
    await three(mesh)

    rows = [
        await mesh.get(path)
        for path in ("/droplet/14", "/droplets/14", "/droplets/droplet-14", "/droplets/name/Resizer")
    ]

    assert [row["id"] for row in rows] == [14] * 4
    for path in ("/droplet/99", "/droplets/99", "/droplets/name/Nobody", "/droplets/name/resizer"):
        assert (await mesh.ask("GET", path, headers=ADMIN)).status == 404
    assert (await mesh.ask("GET", "/droplets/0", headers=ADMIN)).status == 400


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", [1, 14, 15, 16]),
        ("?capability=crop", [14, 15]),
        ("?capability=mail&capability=resize", [14, 16]),
        ("?capability=none", []),
        ("?status=active", [1, 14]),
        ("?status=healthy", [1, 14]),
        ("?status=error&status=inactive", [15, 16]),
        ("?name=Mailer&name=Cropper", [15, 16]),
        ("?name=Mailer&capability=crop", []),
        ("?capability=crop&status=active", [14]),
    ],
)
async def test_filters(world: World, query: str, ids: list[int]) -> None:
    mesh = await serve(world)
    await three(mesh)

    assert sorted(row["id"] for row in await mesh.get(f"/droplets{query}")) == ids
    wrapped = await mesh.get(f"/registry/droplets{query}")
    assert sorted(row["id"] for row in wrapped["droplets"]) == ids
    assert wrapped["count"] == len(ids)


async def test_rubbish_filters_are_refused(world: World) -> None:
    mesh = await serve(world)

    for query in (
        "?status=dancing",
        "?since=a.1&wait=x",
        "?since=a.1&wait=-1",
        "?since=a.1&wait=nan",
        "?since=" + "1" * 200,
    ):
        assert (await mesh.ask("GET", f"/droplets{query}", headers=ADMIN)).status == 400, query


async def test_every_answer_names_the_revision_and_that_it_warms(world: World) -> None:
    mesh = await serve(world)

    first = await mesh.ask("GET", "/droplets", headers=ADMIN)
    told = await mesh.register()
    second = await mesh.ask("GET", "/droplets/14", headers=ADMIN)

    epoch, _, number = first.headers["x-udc-revision"].rpartition(".")
    assert second.headers["x-udc-revision"] == f"{epoch}.{int(number) + 1}" == told["revision"]
    assert first.headers["x-udc-warming"] == "1"


async def test_deltas_since_a_revision(world: World) -> None:
    mesh = await serve(world)
    await three(mesh)
    start = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    told = await mesh.register(body(17))
    await mesh.ask("DELETE", "/droplets/16", headers=ADMIN)
    await mesh.beat(told, status="inactive")

    answer = await mesh.ask("GET", f"/droplets?since={start}", headers=ADMIN)

    assert changes_of(answer) == [("put", 17), ("remove", 16)]
    assert answer.json()["snapshot"] is False
    [put] = [each["record"] for each in answer.json()["changes"] if each["op"] == "put"]
    assert put == await mesh.get("/droplets/17")
    now = answer.json()["revision"]
    assert now == answer.headers["x-udc-revision"]
    assert changes_of(await mesh.ask("GET", f"/droplets?since={now}", headers=ADMIN)) == []


@pytest.mark.parametrize("since", ["x", "strange.5", "0", "REV9", ".", "1.2.3"])
async def test_an_unknown_revision_gets_a_snapshot(world: World, since: str) -> None:
    mesh = await serve(world)
    await three(mesh)
    revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]

    answer = await mesh.ask("GET", f"/droplets?since={since.replace('REV', revision)}&wait=55", headers=ADMIN)

    assert answer.json()["snapshot"] is True
    assert changes_of(answer) == [("put", 1), ("put", 14), ("put", 15), ("put", 16)]


async def test_filters_hold_for_deltas(world: World) -> None:
    """What leaves the filter is a removal to who watches through it, and what it never held is no news."""
    mesh = await serve(world)
    await three(mesh)
    start = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    await mesh.register(body(14, capabilities=["mail"], name="Resizer"))
    await mesh.register(body(17, capabilities=["crop"]))

    def since(query: str) -> Any:
        return mesh.ask("GET", f"/droplets?since={start}&{query}", headers=ADMIN)

    assert changes_of(await since("capability=crop")) == [("put", 17), ("remove", 14)]
    assert changes_of(await since("capability=mail")) == [("put", 14)]
    assert changes_of(await since("capability=none")) == []
    assert changes_of(await since("name=Resizer")) == [("put", 14)]
    assert changes_of(await since("status=error")) == []


async def test_of_several_changes_only_the_way_from_then_to_now_counts(world: World) -> None:
    mesh = await serve(world)
    await three(mesh)
    start = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    for able in (["mail"], ["scan"]):
        await mesh.register(body(14, capabilities=able, name="Resizer"))
    for able in (["mail"], ["crop"]):
        await mesh.register(body(15, capabilities=able, name="Cropper", status="inactive"))
    await mesh.register(body(17, capabilities=["crop"]))
    await mesh.ask("DELETE", "/droplets/17", headers=ADMIN)

    answer = await mesh.ask("GET", f"/droplets?since={start}&capability=crop", headers=ADMIN)

    assert changes_of(answer) == [("remove", 14)]


async def test_a_long_poll_waits_for_what_concerns_it(world: World) -> None:
    mesh = await serve(world)
    start = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    heard: list[Answer] = []

    async def poll() -> None:
        heard.append(await mesh.ask("GET", f"/droplets?since={start}&wait=55&capability=crop", headers=ADMIN))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll)
        await all_blocked()
        await mesh.register(body(16, capabilities=["mail"]))
        await all_blocked()
        assert heard == []
        await mesh.register(body(14, capabilities=["crop"]))

    assert changes_of(heard[0]) == [("put", 14)]


async def test_a_stop_answers_who_waits(world: World) -> None:
    mesh = await serve(world)
    start = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    heard: list[Answer] = []

    async def poll() -> None:
        heard.append(await mesh.ask("GET", f"/droplets?since={start}&wait=55&capability=crop", headers=ADMIN))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll)
            await all_blocked()
            world.lives[-1].stop.set()

    assert changes_of(heard[0]) == []


@asynccontextmanager
async def watching(world: World, query: str = "", headers: dict[str, str] | None = None) -> AsyncIterator[Connection]:
    scope = http_scope("GET", f"/droplets/watch{query}", {**ADMIN, **(headers or {})}, client=("127.0.0.1", 1))
    connection = Connection(world.app, scope, [{"type": "http.request", "body": b""}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        yield connection
        connection.left.set()


def events_of(parts: list[bytes]) -> list[dict[str, Any]]:
    found = []
    for part in parts:
        lines = part.decode().splitlines()
        assert lines[1] == "event: changes"
        event = json.loads(lines[2].removeprefix("data: "))
        assert lines[0] == f"id: {event['revision']}"
        found.append(event)
    return found


async def test_a_watch_begins_with_a_snapshot_and_tells_every_change(world: World) -> None:
    mesh = await serve(world)
    await three(mesh)

    async with watching(world, "?capability=crop") as connection:
        [first] = events_of(await connection.until_parts(1))
        assert connection.answer().headers["content-type"] == "text/event-stream"
        assert first["snapshot"] is True
        assert sorted(each["record"]["id"] for each in first["changes"]) == [14, 15]
        await mesh.register(body(17, capabilities=["crop"]))
        await mesh.register(body(18, capabilities=["mail"]))
        await mesh.ask("DELETE", "/droplets/15", headers=ADMIN)
        events = events_of(await connection.until_parts(3))

    told = [(each["op"], each["record"]["id"]) for event in events[1:] for each in event["changes"]]
    assert told == [("put", 17), ("remove", 15)]


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_watch_goes_on_where_it_was_cut(world: World, by_header: bool) -> None:
    mesh = await serve(world)
    await three(mesh)
    revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
    await mesh.register(body(17))
    place: dict[str, Any] = {"headers": {"last-event-id": revision}} if by_header else {"query": f"?since={revision}"}

    async with watching(world, **place) as connection:
        [first] = events_of(await connection.until_parts(1))

    assert first["snapshot"] is False
    assert [each["record"]["id"] for each in first["changes"]] == [17]


async def test_a_watch_ends_with_the_registry(world: World) -> None:
    await serve(world, registry())

    with anyio.fail_after(5):
        async with watching(world) as connection:
            await connection.until_parts(1)
            world.lives[-1].stop.set()
            await world.lives[-1].ended.wait()
