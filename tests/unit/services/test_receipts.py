"""The ledger on disk: what a restart remembers, and that a disk that fails stops nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conftest import virtual_time
from udc._ids import Ambient
from udc._sqlite import Database
from udc._types import DropletId
from udc.dispatch.dedup import Ledger
from udc.dispatch.run import Outcome
from udc.errors import BusinessError, ContractError, PeerError, Timeout, UdcError
from udc.instrument import Event, Instrument, ReceiptEvicted, StorageFailed, StorageRecovered
from udc.services import receipts
from udc.services.receipts import ReceiptKeeper

pytestmark = virtual_time


class Life:
    """One life of a droplet's ledger over a directory; the wall clock goes on from life to life."""

    wall = 1_800_000_000.0

    def __init__(self, directory: Path | None, **limits: Any) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self.runs = 0
        instrument = Instrument([self.events.append])
        self.ledger = Ledger(instrument=instrument, **limits)
        self.began = anyio.current_time()
        ambient = Ambient(wall=lambda: self.wall + anyio.current_time() - self.began, new_id=str, chance=float)
        self.keeper = ReceiptKeeper(self.ledger, ambient=ambient, instrument=instrument, threads=False)

    @asynccontextmanager
    async def __call__(self, *, killed: bool = False) -> AsyncIterator[Life]:
        if self.directory is not None:
            self.keeper.open(self.directory)
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda *, task_status: self.keeper.run(task_status=task_status))
            yield self
            if killed:
                self.keeper._write = nothing  # type: ignore[method-assign, assignment]  # no last write
            tasks.cancel_scope.cancel()
        Life.wall += anyio.current_time() - self.began

    async def once(
        self, name: str, *, source: DropletId = 3, error: UdcError | None = None, data: bytes = b"1"
    ) -> tuple[Outcome, bool]:
        async def run() -> Outcome:
            self.runs += 1
            if error is not None:
                raise error
            return Outcome(result="queued", data=data)

        return await self.ledger.once((source, name), b"print", run)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


async def nothing(*_: object) -> None:
    """Stands where a dead process does nothing."""


def rows(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "receipts.db")) as connection:
        found: int = connection.execute("SELECT count(*) FROM receipts").fetchone()[0]
        return found


async def test_a_duplicate_after_a_restart_gets_the_old_receipt(tmp_path: Path) -> None:
    async with Life(tmp_path)() as first:
        await first.once("m-1", data=b'{"a":1}')
        await first.once("m-1", source="atlas", data=b"2")
    async with Life(tmp_path)() as second:
        assert await second.once("m-1") == (Outcome(result="queued", data=b'{"a":1}'), True)
        assert await second.once("m-1", source="atlas") == (Outcome(result="queued", data=b"2"), True)
        assert await second.once("m-1", source=4) == (Outcome(result="queued", data=b"1"), False)
        assert second.runs == 1


async def test_after_a_kill_at_most_the_last_second_is_lost(tmp_path: Path) -> None:
    async with Life(tmp_path)(killed=True) as first:
        await first.once("old")
        await anyio.sleep(1)
        await first.once("new")
    async with Life(tmp_path)() as second:
        assert (await second.once("old"))[1]
        assert not (await second.once("new"))[1]


async def test_a_write_that_the_stop_interrupts_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, hangs = Database.write, True

    async def write(self: Database, fn: Any) -> Any:
        nonlocal hangs
        if hangs:
            hangs = False
            await anyio.sleep_forever()
        return await real(self, fn)

    async with Life(tmp_path)() as first:
        await first.once("m-1")
        monkeypatch.setattr(Database, "write", write)
        await anyio.sleep(0.9)
        assert not hangs
    async with Life(tmp_path)() as second:
        assert (await second.once("m-1"))[1]


async def test_many_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = receipts._write

    def write(connection: sqlite3.Connection, entries: list[Any], **times: float) -> None:
        writes.append(len(entries))
        real(connection, entries, **times)

    monkeypatch.setattr(receipts, "_write", write)
    async with Life(tmp_path)() as life:
        await anyio.sleep(1)
        for number in range(100):
            await life.once(f"m-{number}")
        await anyio.sleep(600)
        assert writes == [0, 100]
    assert writes == [0, 100, 0]


@pytest.mark.parametrize(("later", "known"), [(590.0, True), (610.0, False)])
async def test_the_window_goes_on_by_the_wall_clock(tmp_path: Path, later: float, known: bool) -> None:
    async with Life(tmp_path)() as first:
        await first.once("m-1")
    Life.wall += later - 300
    async with Life(tmp_path)() as second:
        await anyio.sleep(300)
        assert (await second.once("m-1"))[1] is known


async def test_a_wall_clock_that_was_set_back_forgets_nothing(tmp_path: Path) -> None:
    async with Life(tmp_path)() as first:
        await first.once("m-1")
    Life.wall -= 10_000
    async with Life(tmp_path)() as second:
        assert (await second.once("m-1"))[1]
        await anyio.sleep(601)
        assert not (await second.once("m-1"))[1]


async def test_the_file_does_not_grow(tmp_path: Path) -> None:
    async with Life(tmp_path, window_seconds=10)() as life:
        for number in range(50):
            await life.once(f"m-{number}")
            await anyio.sleep(1)
        assert rows(tmp_path) <= 14
        await anyio.sleep(20)
        await life.once("last")
        await anyio.sleep(1)
        assert rows(tmp_path) == 1


async def test_early_eviction_reaches_the_disk_and_limits_hold_at_the_start(tmp_path: Path) -> None:
    async with Life(tmp_path, max_entries=10)() as first:
        for number in range(30):
            await first.once(f"m-{number}")
            await anyio.sleep(0.2)
    assert rows(tmp_path) <= 17
    async with Life(tmp_path, max_entries=5)() as second:
        assert len(second.ledger) == 5
        assert (await second.once("m-29"))[1]
        assert second.of(ReceiptEvicted)


class Own(ContractError):
    """A droplet's own."""

    code = "OWN"
    http_status = 418


@pytest.mark.parametrize(
    "error",
    [
        BusinessError("QUOTA_SPENT", "nothing left", details={"left": 0}, hint="wait"),
        Timeout("late"),
        PeerError("no", peer="billing", status=500, code="BOOM", details={"a": [1]}),
        Own("teapot"),
    ],
)
async def test_a_failure_for_good_is_raised_again(tmp_path: Path, error: Any) -> None:
    async with Life(tmp_path)() as first:
        with pytest.raises(UdcError):
            await first.once("m-1", error=error)
    async with Life(tmp_path)() as second:
        for _ in range(2):
            with pytest.raises(UdcError) as caught:
                await second.once("m-1")
            again: Any = caught.value
            assert (again.code, again.details, str(again)) == (error.code, error.details, str(error)) or isinstance(
                error, Timeout
            )
            assert getattr(again, "http_status", None) == getattr(error, "http_status", None)
            assert str(again) == str(error)
        assert second.runs == 0


async def test_details_that_are_no_json_stay_in_memory(tmp_path: Path) -> None:
    async with Life(tmp_path)() as first:
        with pytest.raises(BusinessError):
            await first.once("odd", error=BusinessError("ODD", "x", details={"a": object()}))
        await first.once("even")
    assert rows(tmp_path) == 1
    assert first.of(StorageFailed) == []


@pytest.mark.parametrize(
    "answer", ['{"error":"SystemExit","args":[],"state":{}}', '{"error":"ConfigError","args":[],"state":{}}', "{}", "7"]
)
async def test_a_row_that_says_nothing_we_know_is_left_out(tmp_path: Path, answer: str) -> None:
    async with Life(tmp_path)() as first:
        await first.once("good")
        await first.once("bad")
    with closing(sqlite3.connect(tmp_path / "receipts.db")) as connection:
        connection.execute("UPDATE receipts SET answer = ? WHERE message_id = 'bad'", (answer,))
        connection.commit()
    async with Life(tmp_path)() as second:
        assert (await second.once("good"))[1]
        assert len(second.ledger) in (1, 2)  # an unknown class of error is read as the general one
        assert second.of(StorageFailed) == []


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
async def test_a_corrupt_file_is_put_aside_and_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "receipts.db").write_bytes(content)
    async with Life(tmp_path)() as life:
        await life.once("m-1")
        await anyio.sleep(1)
        (failed,) = life.of(StorageFailed)
        assert failed.what == "receipts"
        assert failed.moved_to == str(tmp_path / "receipts.db.unreadable")
        assert len(life.of(StorageRecovered)) == 1
    assert (tmp_path / "receipts.db.unreadable").read_bytes() == content
    assert rows(tmp_path) == 1
    async with Life(tmp_path)() as second:
        assert (await second.once("m-1"))[1]


async def test_a_full_disk_stops_nothing_and_all_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = receipts._write, True

    def write(*args: Any, **more: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        real(*args, **more)

    monkeypatch.setattr(receipts, "_write", write)
    async with Life(tmp_path)() as life:
        for number in range(10):
            await life.once(f"m-{number}")
            await anyio.sleep(20)
        (failed,) = life.of(StorageFailed)
        assert (failed.error, failed.moved_to) == ("database or disk is full", None)
        full = False
        await anyio.sleep(40)
        assert len(life.of(StorageRecovered)) == 1
        assert rows(tmp_path) == 10
        assert life.runs == 10


async def test_a_directory_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    async with Life(tmp_path / "gone")() as life:
        await life.once("m-1")
        assert (await life.once("m-1"))[1]
        assert len(life.of(StorageFailed)) == 1


async def test_the_last_write_failing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with Life(tmp_path)() as life:
        await anyio.sleep(1)
        await life.once("m-1")
        monkeypatch.setattr(receipts, "_write", write)
    assert [event.error for event in life.of(StorageFailed)] == ["database or disk is full"]


async def test_without_a_directory_all_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Life(None)() as life:
        await life.once("m-1")
        await anyio.sleep(5)
        assert (await life.once("m-1"))[1]
    assert not any(True for _ in tmp_path.iterdir())  # noqa: ASYNC240 - a test's own directory


async def test_a_keeper_that_is_started_again_keeps_what_is_known(tmp_path: Path) -> None:
    life = Life(tmp_path)
    async with life():
        await life.once("m-1", data=b"old")
    async with life():
        assert (await life.once("m-1"))[0].data == b"old"
        assert len(life.ledger) == 1
