"""What is known of the mesh, from one life to the next."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.conftest import virtual_time
from tests.unit.discovery.kit import Finder, Registry, record
from udc._types import JsonObject
from udc.discovery import _snapshot
from udc.instrument import StorageFailed, StorageRecovered

pytestmark = virtual_time


@asynccontextmanager
async def life(registry: Registry, directory: Path) -> AsyncIterator[Finder]:
    finder = Finder(registry)
    await finder.discovery.open(directory)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: finder.discovery.run(task_status=task_status))
        yield finder
        tasks.cancel_scope.cancel()


def written(directory: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((directory / "peers.json").read_text())
    return found


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_calls_work_from_the_first_second_while_the_registry_is_down(tmp_path: Path) -> None:
    registry = Registry(record(14), watch=True)
    async with life(registry, tmp_path) as finder:
        await finder.found(14)
    registry.down = True
    finder = Finder(registry)
    await finder.discovery.open(tmp_path)
    assert await finder.found("droplet14") == ["http://d14"]
    assert registry.lists == 1


async def test_the_watch_goes_on_where_it_was(tmp_path: Path) -> None:
    registry = Registry(record(14), record(15), watch=True)
    async with life(registry, tmp_path):
        await anyio.sleep(3)
    registry.remove(15)
    async with life(registry, tmp_path) as finder:
        await anyio.sleep(1)
        assert finder.discovery.droplets() == (14,)
    assert registry.lists == 1


async def test_a_change_is_on_the_disk_soon_and_many_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real = _snapshot._write

    def write(path: Path, rows: Sequence[JsonObject], revision: str | None) -> None:
        writes.append(len(rows))
        real(path, rows, revision)

    monkeypatch.setattr(_snapshot, "_write", write)
    registry = Registry(record(14), watch=True)
    async with life(registry, tmp_path):
        for number in range(20, 30):
            await anyio.sleep(0.1)
            registry.put(record(number))
        await anyio.sleep(3)
        assert written(tmp_path)["revision"] == registry.revision
        assert len(writes) <= 2
        await anyio.sleep(600)
        assert len(writes) <= 2
    assert len(writes) <= 2
    assert names(tmp_path) == ["peers.json"]
    assert (tmp_path / "peers.json").stat().st_mode & 0o777 == 0o600


async def test_the_last_change_is_written_at_the_stop(tmp_path: Path) -> None:
    registry = Registry(record(14), watch=True)
    async with life(registry, tmp_path):
        await anyio.sleep(0.5)
    assert written(tmp_path) == {"revision": "e1.1", "records": [record(14)]}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"records": 1}', '{"records": [], "revision": 7}', "\x00\xff"])
async def test_a_file_that_cannot_be_read_is_put_aside_and_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "peers.json").write_text(text)
    registry = Registry(record(14), watch=True)
    async with life(registry, tmp_path) as finder:
        assert await finder.found(14) == ["http://d14"]
    (failed,) = finder.of(StorageFailed)
    assert failed.what == "peers"
    assert failed.moved_to == str(tmp_path / "peers.json.unreadable")
    assert (tmp_path / "peers.json.unreadable").read_text() == text
    assert written(tmp_path)["revision"] == "e1.1"


async def test_rows_that_are_none_are_left_out(tmp_path: Path) -> None:
    rows = [7, {"endpoint": "http://nobody"}, record(14)]
    (tmp_path / "peers.json").write_text(json.dumps({"records": rows, "revision": None}))
    finder = Finder(Registry())
    await finder.discovery.open(tmp_path)
    assert finder.discovery.droplets() == (14,)


async def test_a_disk_that_fails_is_said_once_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, full = _snapshot._write, True

    def write(*args: object) -> None:
        if full:
            raise OSError(28, "No space left on device")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(_snapshot, "_write", write)
    registry = Registry(record(14), watch=True)
    async with life(registry, tmp_path) as finder:
        await anyio.sleep(30)
        assert await finder.found(14) == ["http://d14"]
        (failed,) = finder.of(StorageFailed)
        assert "No space left" in failed.error
        full = False
        await anyio.sleep(30)
        assert len(finder.of(StorageRecovered)) == 1
    assert written(tmp_path)["revision"] == "e1.1"


async def test_a_write_that_breaks_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _snapshot._write(tmp_path / "peers.json", [record(14)], "e1.1")

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("udc.discovery._snapshot.os.fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        _snapshot._write(tmp_path / "peers.json", [record(15)], "e1.2")
    assert written(tmp_path)["revision"] == "e1.1"
    assert names(tmp_path) == ["peers.json"]


async def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder = Finder(Registry(record(14)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: finder.discovery.run(task_status=task_status))
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    assert names(tmp_path) == []
