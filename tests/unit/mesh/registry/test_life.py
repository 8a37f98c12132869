"""Leases, warming, renewal of tokens and waiting, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from tests.contract.served import Answer, Connection, http_scope
from tests.unit.mesh.registry.kit import MESH, SECRET, Mesh, body, claims_of, in_virtual_time, registry, signing_keys
from udc._types import UNSET
from udc.errors import Overloaded, RateLimited
from udc.mesh.registry import Registry, SqliteStore
from udc.mesh.registry.seats import Seats

pytestmark = virtual_time

ADMIN = {"x-droplet-secret": SECRET}
TICK = 1.0
"""How late a lease may be noticed (mesh, Registry rule 4)."""


async def states(mesh: Mesh, droplet_id: int = 14) -> list[str]:
    """The states of a droplet's instances; none when it is gone."""
    answer = await mesh.ask("GET", f"/droplets/{droplet_id}", headers=ADMIN)
    return [each["state"] for each in answer.json()["instances"]] if answer.status == 200 else []


async def warmed(mesh: Mesh) -> None:
    """Wait until the Registry no longer warms."""
    await anyio.sleep(18)
    assert "x-udc-warming" not in (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers


async def beating(mesh: Mesh, told: dict[str, Any], every: float, times: int) -> None:
    for _ in range(times):
        assert (await mesh.beat(told)).status == 200
        await anyio.sleep(every)


async def test_who_stops_beating_is_suspect_after_one_lease_and_gone_after_two() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        told = await mesh.register()
        await beating(mesh, told, 3, 10)
        await mesh.beat(told)

        await anyio.sleep(9 - 0.1)
        assert await states(mesh) == ["ready"]
        await anyio.sleep(0.1 + TICK)
        assert await states(mesh) == ["suspect"]
        assert (await mesh.get("/droplets/14"))["status"] == "inactive"
        await anyio.sleep(9 - TICK - 0.1)
        assert await states(mesh) == ["suspect"]
        await anyio.sleep(0.1 + TICK)
        assert await states(mesh) == []
        assert (await mesh.beat(told)).status == 404


async def test_a_beat_brings_a_suspect_back() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        told = await mesh.register()
        await anyio.sleep(9 + TICK)
        assert await states(mesh) == ["suspect"]

        await mesh.beat(told)

        assert await states(mesh) == ["ready"]
        await beating(mesh, told, 3, 10)
        assert await states(mesh) == ["ready"]


async def test_a_live_instance_is_preferred_to_a_suspect_one() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        told = await mesh.register(body(14))
        await mesh.register(body(14, instance_id="newer", endpoint="http://127.0.0.1:1"))
        assert (await mesh.get("/droplets/14"))["endpoint"] == "http://127.0.0.1:1"

        await beating(mesh, told, 3, 4)

        assert await states(mesh) == ["ready", "suspect"]
        assert (await mesh.get("/droplets/14"))["endpoint"] == "http://127.0.0.1:9014"


async def test_a_large_mesh_has_longer_leases_and_nobody_dies_of_the_change() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        told = {each: await mesh.register(body(each)) for each in range(100, 149)}  # with the Registry: 50
        answer = (await mesh.beat(told[148])).json()
        assert (answer["lease_ttl_seconds"], answer["beat_every_seconds"]) == (30, 10)
        await mesh.ask("DELETE", "/droplets/100", headers=ADMIN)
        await anyio.sleep(29)  # the mesh is small again, but nobody has told 148 so

        assert await states(mesh, 148) == ["ready"]
        assert await states(mesh, 101) == []
        answer = (await mesh.beat(told[148])).json()
        assert (answer["lease_ttl_seconds"], answer["beat_every_seconds"]) == (9, 3)
        await anyio.sleep(9 + TICK)
        assert await states(mesh, 148) == ["suspect"]


async def test_a_foreign_droplet_that_never_beats_does_not_expire_and_one_that_does_has_180_seconds() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        await mesh.register(body(14, instance_id=UNSET))
        told = await mesh.register(body(15, instance_id=UNSET))
        await mesh.beat(told)

        await anyio.sleep(179)
        assert (await states(mesh), await states(mesh, 15)) == (["ready"], ["ready"])
        await anyio.sleep(1 + TICK)
        assert (await states(mesh), await states(mesh, 15)) == (["ready"], ["suspect"])
        await anyio.sleep(180)
        assert (await states(mesh), await states(mesh, 15)) == (["ready"], [])
        await anyio.sleep(400)
        assert await states(mesh) == ["ready"]


async def test_nothing_expires_while_the_registry_warms() -> None:
    async with in_virtual_time() as mesh:
        await mesh.register()
        await anyio.sleep(17)
        assert await states(mesh) == ["ready"]
        assert (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-warming"] == "1"

        await anyio.sleep(1 + TICK)

        assert await states(mesh) == ["suspect"]
        assert "x-udc-warming" not in (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers


async def test_after_a_restart_all_are_there_and_their_leases_end_spread_over_one() -> None:
    async with SqliteStore.open(None, threads=False) as store:
        async with in_virtual_time(registry(store=store)) as mesh:
            told = {each: await mesh.register(body(each)) for each in range(100, 130)}
            await mesh.register(body(14, instance_id=UNSET))
            beats = await mesh.register(body(15, instance_id=UNSET))
            await mesh.beat(beats)
            await mesh.register(body(100, instance_id="newer"))
        async with in_virtual_time(registry(store=store)) as mesh:
            assert sorted(row["id"] for row in await mesh.others()) == [14, 15, *range(100, 130)]
            assert (await mesh.beat(told[100])).status == 409  # retired stays retired
            ends: list[float] = []
            start = anyio.current_time()
            known = set(range(102, 130))
            while known:
                assert (await mesh.beat(told[101])).status == 200  # the old token still counts
                gone = {each for each in known if await states(mesh, each) == ["suspect"]}
                ends += [anyio.current_time() - start] * len(gone)
                known -= gone
                await anyio.sleep(0.5)
            assert min(ends) >= 18
            assert max(ends) <= 27 + TICK
            assert max(ends) - min(ends) > 4
            assert await states(mesh, 101) == ["ready"]
            await anyio.sleep(18 + 3 * 180)
            assert sorted(row["id"] for row in await mesh.others()) == [14]


async def test_a_beat_writes_nothing_to_the_disk() -> None:
    class Counting(SqliteStore):
        writes = 0

        async def put(self, *args: Any, **options: Any) -> None:
            Counting.writes += 1
            await super().put(*args, **options)

    async with SqliteStore.open(None, threads=False) as store:
        async with in_virtual_time(registry(store=Counting(store._database))) as mesh:
            told = await mesh.register()
            foreign = await mesh.register(body(15, instance_id=UNSET))
            before = Counting.writes
            for number in range(20):
                await mesh.beat(told, in_flight=number, status="inactive" if number % 2 else "active")
                await mesh.beat(foreign)
            assert Counting.writes == before + 1  # that the foreign one beats at all is kept, once


async def test_the_token_is_renewed_at_40_to_50_percent_of_its_life() -> None:
    async with in_virtual_time() as mesh:
        told = {each: await mesh.register(body(each)) for each in range(100, 120)}
        renewed: dict[int, int] = {}
        for second in range(0, 1860, 8):
            for each in told:
                answer = (await mesh.beat(told[each])).json()
                if "token" in answer:
                    renewed.setdefault(each, second)
                    assert answer["expires_in"] == 3600
                    told[each] = {**told[each], "token": answer["token"]}
            mesh.skip(8)
    assert set(renewed) == set(told)
    assert min(renewed.values()) >= 0.4 * 3600 - 1
    assert max(renewed.values()) <= 0.5 * 3600 + 10
    assert len(set(renewed.values())) > 5  # not all in one moment
    claims = claims_of(told[100]["token"])
    assert (claims["aud"], claims["instance_id"]) == (f"{MESH}/registry", "i-100-1")
    assert claims["permissions"] == ["admin", "read", "write"]


async def test_a_renewed_token_has_no_more_than_the_old_one_and_what_is_enrolled_now() -> None:
    droplet = registry()
    async with in_virtual_time(droplet) as mesh:
        secret = await droplet.enrol(14, permissions=["read", "write"], scopes=["a", "b"])
        told = await mesh.register(secret=secret)
        await droplet.enrol(14, permissions=["read"], scopes=["b", "c"])
        mesh.skip(1801)
        claims = claims_of((await mesh.beat(told)).json()["token"])
    assert (claims["permissions"], claims["scope"]) == (["read"], "b")


@pytest.mark.parametrize(
    ("then", "now", "left"),
    [
        (["admin"], ["read", "write"], ["read", "write"]),
        (["read", "write"], ["admin"], ["read", "write"]),
        (["admin"], ["admin"], ["admin", "read", "write"]),
        (["write"], ["read"], []),
    ],
)
async def test_a_renewal_knows_that_admin_includes_the_others(then: list[str], now: list[str], left: list[str]) -> None:
    droplet = registry()
    async with in_virtual_time(droplet) as mesh:
        told = await mesh.register(secret=await droplet.enrol(14, permissions=then))
        await droplet.enrol(14, permissions=now)
        mesh.skip(1801)
        assert claims_of((await mesh.beat(told)).json()["token"])["permissions"] == left


async def test_a_long_poll_without_news_ends_with_its_time() -> None:
    async with in_virtual_time() as mesh:
        revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
        start = anyio.current_time()

        answer: Answer = await mesh.ask("GET", f"/droplets?since={revision}&wait=55", headers=ADMIN)

        assert anyio.current_time() - start == pytest.approx(55)
        assert answer.json() == {"revision": revision, "changes": [], "snapshot": False}
        await mesh.ask("GET", f"/droplets?since={revision}&wait=9999", headers=ADMIN)
        assert anyio.current_time() - start == pytest.approx(55 + 60)


async def test_an_expiry_is_news_to_who_waits() -> None:
    async with in_virtual_time() as mesh:
        await warmed(mesh)
        await mesh.register()
        revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]

        suspect = (await mesh.ask("GET", f"/droplets?since={revision}&wait=55", headers=ADMIN)).json()
        gone = (await mesh.ask("GET", f"/droplets?since={suspect['revision']}&wait=55", headers=ADMIN)).json()

        assert suspect["changes"][0]["record"]["status"] == "inactive"
        assert gone["changes"] == [{"op": "remove", "record": {"id": 14, "name": "Droplet14"}}]


async def test_deltas_are_kept_for_three_minutes() -> None:
    async with in_virtual_time() as mesh:
        revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
        told = await mesh.register()
        await beating(mesh, told, 3, 59)
        early = await mesh.ask("GET", f"/droplets?since={revision}", headers=ADMIN)
        await beating(mesh, told, 3, 2)
        await mesh.beat(told, status="error")
        late = await mesh.ask("GET", f"/droplets?since={revision}", headers=ADMIN)

        assert early.json()["snapshot"] is False
        assert late.json()["snapshot"] is True


async def test_keys_rotate_when_everybody_knows_the_next_one_and_the_past_one_goes_with_its_tokens() -> None:
    droplet: Registry = registry()
    async with in_virtual_time(droplet) as mesh:
        old = await mesh.token(15)
        mesh.skip(601)
        await droplet.rotate_keys()
        assert (await mesh.ask("GET", "/droplets", bearer=old)).status == 200
        mesh.skip(3700)
        await droplet.rotate_keys()
        kids = [each["kid"] for each in (await mesh.ask("GET", "/auth/public-key")).json()["keys"]]
    assert kids == [key.kid for key in (signing_keys()[2], signing_keys()[3], signing_keys()[1])]


async def test_a_past_key_is_trusted_no_longer_than_its_tokens_live() -> None:
    droplet: Registry = registry()
    async with in_virtual_time(droplet) as mesh:
        mesh.skip(601)
        await droplet.rotate_keys()
        assert len((await mesh.ask("GET", "/auth/public-key")).json()["keys"]) == 3
        mesh.skip(3700)
        await anyio.sleep(1)
        assert len((await mesh.ask("GET", "/auth/public-key")).json()["keys"]) == 2


async def test_after_a_leak_every_token_of_before_is_refused_at_once() -> None:
    droplet: Registry = registry()
    async with in_virtual_time(droplet) as mesh:
        told = await mesh.register()
        await droplet.rotate_keys(leaked=True)
        assert (await mesh.beat(told)).status == 401
        assert (await mesh.ask("GET", "/droplets", bearer=await mesh.token(15))).status == 200


async def test_a_revocation_of_the_future_is_kept_as_long_as_it_counts() -> None:
    async with SqliteStore.open(None, threads=False) as store:
        async with in_virtual_time(registry(store=store)) as mesh:
            future = 1_800_020_000.0
            await mesh.ask("POST", "/auth/revoke", headers=ADMIN, json={"droplet_id": 15, "before": future})
            mesh.skip(19_000)
            assert (await mesh.get("/auth/revocations"))["revoked"] == [{"droplet_id": 15, "before": future}]
        async with in_virtual_time(registry(store=store)) as mesh:
            mesh.skip(19_000)
            token = await mesh.token(15)
            assert (await mesh.ask("GET", "/droplets", bearer=token)).status == 401


async def test_revocations_are_forgotten_when_no_token_can_be_left() -> None:
    async with SqliteStore.open(None, threads=False) as store:
        async with in_virtual_time(registry(store=store)) as mesh:
            await mesh.ask("POST", "/auth/revoke", headers=ADMIN, json={"jti": "a"})
            assert len((await mesh.get("/auth/revocations"))["revoked"]) == 1
        async with in_virtual_time(registry(store=store)) as mesh:
            assert (await mesh.get("/auth/revocations"))["revoked"] == [{"jti": "a"}]
            mesh.skip(7300)
            told = await mesh.get("/auth/revocations")
    assert told == {"revision": "1", "revoked": []}


@pytest.mark.parametrize("way", ["long poll", "watch"])
async def test_one_caller_may_not_take_all_the_seats(way: str) -> None:
    """A droplet that waits for changes again and again, and never leaves, is told to come back later."""
    async with in_virtual_time() as mesh, anyio.create_task_group() as tasks:
        greedy, modest = await mesh.token(15), await mesh.token(16)
        revision = (await mesh.ask("GET", "/droplets", headers=ADMIN)).headers["x-udc-revision"]
        path = f"/droplets?since={revision}&wait=50" if way == "long poll" else "/droplets/watch"

        def ask(token: str) -> Connection:
            scope = http_scope("GET", path, {"authorization": f"Bearer {token}"}, client=("127.0.0.1", 1))
            return Connection(mesh.client.app, scope, [{"type": "http.request", "body": b""}])

        waiting = [ask(greedy) for _ in range(256)]
        for each in waiting:
            tasks.start_soon(each.run)
        await anyio.sleep(1)

        refused = await ask(greedy).run()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "RATE_LIMITED", "5")
        tasks.start_soon((other := ask(modest)).run)
        await anyio.sleep(1)
        assert not other.sent or other.sent[0]["status"] == 200

        for each in waiting:
            each.left.set()
        await anyio.sleep(1)
        tasks.start_soon((again := ask(greedy)).run)
        await anyio.sleep(1)
        assert not again.sent or again.sent[0]["status"] == 200
        tasks.cancel_scope.cancel()


async def test_all_seats_together_are_limited_too() -> None:
    seats = Seats(all_=3, each=2)
    with ExitStack() as stack:
        for who in ("a", "a", "b"):
            stack.enter_context(seats.taken(who))
        with pytest.raises(RateLimited):
            stack.enter_context(seats.taken("a"))
        with pytest.raises(Overloaded) as caught:
            stack.enter_context(seats.taken("c"))
        assert caught.value.retry_after_seconds == 5.0
    for _ in range(3):
        with seats.taken("a"):
            pass


async def numbers(count: int) -> AsyncGenerator[bytes]:
    for number in range(count):
        yield b"%d" % number


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_a_stream_has_its_seat_until_it_is_closed(read: int) -> None:
    """From the moment it is made: else many would find the same seat free; one that never begins gives it back too."""
    seats = Seats(each=1)
    stream = seats.seated("a", numbers(2))
    assert [await anext(stream) for _ in range(read)] == [b"0", b"1"][:read]
    with pytest.raises(RateLimited):
        seats.seated("a", numbers(2))
    for _ in range(2):
        await stream.aclose()
    await seats.seated("a", numbers(2)).aclose()


async def test_a_stream_that_has_ended_has_no_seat() -> None:
    seats = Seats(each=1)
    for _ in range(2):
        assert [part async for part in seats.seated("a", numbers(2))] == [b"0", b"1"]


async def test_a_watch_is_kept_alive_and_ends_with_the_token() -> None:
    async with in_virtual_time() as mesh:
        token = await mesh.token(15)
        mesh.skip(3500)
        scope = http_scope("GET", "/droplets/watch", {"authorization": f"Bearer {token}"}, client=("127.0.0.1", 1))
        connection = Connection(mesh.client.app, scope, [{"type": "http.request", "body": b""}])
        start = anyio.current_time()

        answer = await connection.run()

        assert anyio.current_time() - start == pytest.approx(100, abs=16)
        assert answer.body.count(b": still here\n\n") == 7
