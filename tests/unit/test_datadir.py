"""The data directory: the mesh file, the secret, keys, and slots that two instances never share."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from udc.datadir import DataDirectory, MeshFile
from udc.errors import ConfigError


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_mesh_file(data: DataDirectory) -> None:
    mesh = MeshFile(registry="http://127.0.0.1:8000", dashboard="http://127.0.0.1:8002", pid=os.getpid())

    assert data.read_mesh() is None
    data.remove_mesh()
    data.write_mesh(mesh)
    assert data.read_mesh() == mesh
    assert mode(data.root) == 0o700
    assert [each.name for each in data.root.iterdir()] == ["mesh.json"]
    data.remove_mesh()
    assert data.read_mesh() is None


def test_a_dead_mesh_is_none(data: DataDirectory) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    data.write_mesh(MeshFile(pid=ended.pid))

    assert data.read_mesh() is None


def test_a_mesh_that_was_killed_is_none_though_its_process_id_is_somebodys_now(data: DataDirectory) -> None:
    mesh = MeshFile(registry="http://127.0.0.1:8000", pid=os.getpid())
    with data.claim_mesh() as slot:
        data.write_mesh(mesh)
        assert (slot.number, data.read_mesh()) == (0, mesh)
        assert DataDirectory(data.root).read_mesh() == mesh
    assert data.read_mesh() is None

    with data.claim_mesh() as again:
        assert again.number == 0
        assert data.read_mesh() is None, "nobody vouches for the old one"
        data.write_mesh(mesh)
        with data.claim_mesh() as second:
            assert second.number == 1
            assert data.read_mesh() == mesh, "who comes too late takes nothing away"
        assert data.read_mesh() == mesh


def test_who_looks_keeps_no_mesh_from_starting(data: DataDirectory) -> None:
    data.claim_mesh().close()
    data.write_mesh(MeshFile(pid=os.getpid()))
    with (data.root / "droplets/mesh/0/runs").open("r+b") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.02, fcntl.flock, (looking.fileno(), fcntl.LOCK_UN)).start()
        with data.claim_mesh() as slot:
            assert slot.number == 0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"pid": true}', '{"pid": "1"}', '{"pid": 0}', '{"pid": -1}', '{"pid": 1e300}']
)
def test_a_damaged_mesh_file_is_no_mesh(data: DataDirectory, text: str) -> None:
    data.root.mkdir()
    (data.root / "mesh.json").write_text(text)

    assert data.read_mesh() is None


def test_somebody_elses_process_is_alive(data: DataDirectory) -> None:
    data.write_mesh(MeshFile(pid=1))

    assert data.read_mesh() == MeshFile(pid=1)


def test_the_secret_is_made_once(data: DataDirectory) -> None:
    with pytest.raises(ConfigError, match="start the mesh first"):
        data.secret()

    made = data.make_secret()

    assert len(made) >= 40
    assert data.make_secret() == data.secret() == made
    assert mode(data.root / "secret") == 0o600
    assert [each.name for each in data.root.iterdir()] == ["secret"]


def test_makers_at_once_all_get_the_same_secret(data: DataDirectory) -> None:
    made: list[str] = []
    together = threading.Barrier(16)

    def make() -> None:
        together.wait()
        made.append(data.make_secret())

    makers = [threading.Thread(target=make) for _ in range(16)]
    for each in makers:
        each.start()
    for each in makers:
        each.join()

    assert made == [data.secret()] * 16


def test_an_empty_secret_is_none(data: DataDirectory) -> None:
    data.root.mkdir()
    (data.root / "secret").touch()

    with pytest.raises(ConfigError, match="empty"):
        data.secret()
    with pytest.raises(ConfigError, match="empty"):  # not replaced: another maker may be about to hand it out
        data.make_secret()


def test_a_secret_that_others_may_read_is_closed_to_them(data: DataDirectory, caplog: pytest.LogCaptureFixture) -> None:
    made = data.make_secret()
    (data.root / "secret").chmod(0o644)

    with caplog.at_level(logging.WARNING, logger="udc.datadir"):
        assert data.secret() == made

    assert mode(data.root / "secret") == 0o600
    assert "readable by others" in caplog.text
    assert made not in caplog.text


def test_private_files_lie_in_private_directories(data: DataDirectory) -> None:
    path = data.key("registry")
    data.write_private(path, "one")
    data.write_private(path, "two")

    assert path.read_text() == "two"
    assert path == data.root / "keys" / "registry.pem"
    assert (mode(path), mode(path.parent), mode(data.root)) == (0o600, 0o700, 0o700)
    with pytest.raises(ValueError, match="subpath"):
        data.write_private(data.root.parent / "elsewhere", "x")


def test_slots_are_never_shared_and_the_lowest_free_one_is_taken(data: DataDirectory) -> None:
    first, second, third = (data.claim_slot(14) for _ in range(3))
    assert [each.number for each in (first, second, third)] == [0, 1, 2]
    (second.path / "kept").write_text("x")
    second.close()
    second.close()

    with data.claim_slot(14) as again, data.claim_slot(15) as other:
        assert (again.number, other.number) == (1, 0)
        assert again.path == data.root / "droplets" / "14" / "1"
        assert (again.path / "kept").read_text() == "x"
        assert mode(again.path) == 0o700
    first.close()
    third.close()


def test_a_killed_process_leaves_its_slot_free(data: DataDirectory) -> None:
    code = (
        "import sys, time; from pathlib import Path; from udc.datadir import DataDirectory\n"
        "slot = DataDirectory(Path(sys.argv[1])).claim_slot(14); print(slot.number, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", code, str(data.root)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "0\n"
        with data.claim_slot(14) as mine:
            assert mine.number == 1
        holder.kill()
        holder.wait()
    with data.claim_slot(14) as mine:
        assert mine.number == 0


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "a/b", "x" * 255, "ä" * 255, "a b"])
def test_no_name_leads_out_of_the_directory(data: DataDirectory, name: str) -> None:
    with data.claim_slot(name) as slot:
        assert slot.path.resolve().parent.parent == (data.root / "droplets").resolve()
    assert data.key(name).resolve().parent == (data.root / "keys").resolve()


def laid(data: DataDirectory) -> None:
    data.make_secret()
    data.write_mesh(MeshFile(registry="http://127.0.0.1:8000", pid=os.getpid()))


def check_refused(data: DataDirectory, reason: str) -> None:
    assert data.read_mesh() is None
    for use in (data.secret, data.make_secret, data.directory, lambda: data.claim_slot(14)):
        with pytest.raises(ConfigError, match=reason):
            use()
    with pytest.raises(ConfigError, match=reason):
        data.write_private(data.key("registry"), "private")


def test_what_everybody_may_write_is_not_trusted(data: DataDirectory, caplog: pytest.LogCaptureFixture) -> None:
    laid(data)
    (data.root / "secret").write_text("")
    data.root.chmod(0o1777)

    check_refused(data, "everybody may write")
    assert (data.root / "secret").exists()
    assert data.read_mesh() is None

    assert len([each for each in caplog.records if "left alone" in each.message]) == 1
    data.root.chmod(0o755)
    assert data.read_mesh() is not None


@pytest.mark.parametrize("name", ["mesh.json", "secret"])
def test_nor_is_a_file_that_everybody_may_write(data: DataDirectory, name: str) -> None:
    laid(data)
    (data.root / name).chmod(0o666)

    if name == "mesh.json":
        assert data.read_mesh() is None
    else:
        with pytest.raises(ConfigError, match="everybody may write"):
            data.secret()


def test_what_belongs_to_somebody_else_is_not_trusted(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(data)
    theirs = data.root.stat().st_uid or 4711
    if os.geteuid() == 0:
        for path in (data.root, *data.root.iterdir()):
            os.chown(path, theirs, -1)
    monkeypatch.setattr(os, "geteuid", lambda: theirs + 1)

    check_refused(data, "another user")


def test_root_works_in_directories_of_others(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(data)
    if os.geteuid() == 0:
        os.chown(data.root, 4711, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert data.read_mesh() is not None
    assert data.secret()
