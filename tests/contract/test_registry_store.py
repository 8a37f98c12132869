"""What a store of a Registry does, stated once for every kind of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from udc.lifecycle import Phase, Status
from udc.mesh.registry import Enrolment, Revocation, SqliteStore, Store
from udc.mesh.registry.instances import Registered

Opener = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=["sqlite", "sqlite inline"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same store again and again."""
    return lambda: SqliteStore.open(tmp_path / "r.db", threads="inline" not in request.param)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


def one(droplet_id: Any = 14, instance_id: str = "a", serial: int = 1, **changes: Any) -> Registered:
    made = Registered(
        droplet_id=droplet_id,
        instance_id=instance_id,
        record={"id": droplet_id, "endpoint": "http://127.0.0.1:1", "name": "ä", "deep": {"x": [1, 2.5, None]}},
        record_hash="0123456789abcdef",
        serial=serial,
    )
    return replace(made, **changes)


async def test_everything_comes_back_as_it_went(opener: Opener) -> None:
    sent = [
        one(),
        one("worker-a", "", serial=2, anonymous=True),
        one(15, "b", serial=3, status=Status.ERROR, phase=Phase.DEGRADED, beats=True),
    ]
    enrolment = Enrolment(
        droplet_id=14, secret_hash=b"\x00\xff" * 16, permissions=frozenset({"read"}), scopes=frozenset({"a", "b"})
    )
    revocations = [Revocation(droplet_id=14, before=5.5, at=100.0), Revocation(jti="j", at=101.0)]
    async with opener() as store:
        for each in sent:
            await store.put(each)
        await store.enrol(enrolment)
        assert [await store.revoke(each) for each in revocations] == [1, 2]
    async with opener() as store:
        kept = await store.load(revoked_since=0)
    assert list(kept.registered) == sent
    assert list(kept.enrolled) == [enrolment]
    assert list(kept.revoked) == revocations
    assert (kept.retired, kept.revoked_count) == ({}, 2)


async def test_a_newer_registration_replaces_retires_and_drops(store: Store) -> None:
    for name, serial in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        await store.put(one(instance_id=name, serial=serial))

    await store.put(one(instance_id="a", serial=5, status=Status.ERROR), retires=["b"], drops=["c"])

    kept = await store.load(revoked_since=0)
    assert [(each.instance_id, each.serial) for each in kept.registered] == [("d", 4), ("a", 5)]
    assert kept.retired == {(14, "b"): "a"}
    await store.put(one(instance_id="b", serial=6))
    assert (await store.load(revoked_since=0)).retired == {}


async def test_a_removal_spares_what_came_after(store: Store) -> None:
    await store.put(one(serial=1))
    await store.put(one(15, serial=2))
    await store.put(one(serial=3))

    await store.remove([one(serial=1), one(15, serial=2), one(99)])
    await store.remove([])

    assert [each.serial for each in (await store.load(revoked_since=0)).registered] == [3]


async def test_a_crash_loop_does_not_fill_the_disk(store: Store) -> None:
    for serial in range(1, 60):
        retires = [f"i{serial - 1}"] if serial > 1 else []
        await store.put(one(instance_id=f"i{serial}", serial=serial), retires=retires)

    kept = await store.load(revoked_since=0)
    assert sorted(kept.retired) == sorted((14, f"i{serial}") for serial in range(43, 59))
    assert [each.instance_id for each in kept.registered] == ["i59"]


async def test_enrolments_are_replaced_and_withdrawn(store: Store) -> None:
    first = Enrolment(droplet_id=14, secret_hash=b"1" * 32, permissions=frozenset({"read"}), scopes=frozenset())
    second = replace(first, secret_hash=b"2" * 32)
    for each in (first, second, replace(first, droplet_id=15)):
        await store.enrol(each)

    assert sorted(each.secret_hash[:1] for each in (await store.load(revoked_since=0)).enrolled) == [b"1", b"2"]
    assert [await store.withdraw(each) for each in (14, 14, 15)] == [True, False, True]
    assert list((await store.load(revoked_since=0)).enrolled) == []


async def test_a_revocation_of_the_future_is_kept_as_long_as_it_counts(store: Store) -> None:
    await store.revoke(Revocation(droplet_id=14, before=100.0, at=1.0))

    assert len((await store.load(revoked_since=50)).revoked) == 1
    assert len((await store.load(revoked_since=101)).revoked) == 0


async def test_old_revocations_go_and_the_revision_stays(store: Store) -> None:
    for number in range(3):
        await store.revoke(Revocation(jti=str(number), at=float(number)))

    kept = await store.load(revoked_since=2)

    assert [each.jti for each in kept.revoked] == ["2"]
    assert kept.revoked_count == 3
    assert (await store.load(revoked_since=100)).revoked_count == 3
    assert await store.revoke(Revocation(jti="x", at=5)) == 4


async def test_many_at_once(store: Store) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(1, 200):
            tasks.start_soon(store.put, one(number, serial=number))

    assert len((await store.load(revoked_since=0)).registered) == 199
