"""The signing keys: kept in files, published before their first use, rotated without a gap."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.unit.mesh.registry.kit import signing_keys
from udc.datadir import DataDirectory
from udc.errors import ConfigError, Conflict
from udc.identity.keys import SigningKey
from udc.mesh.registry.keys import KeyFiles, KeyRing, RingState, Unkept

NOW = [1000.0]


def never() -> SigningKey:
    raise AssertionError("a key was made though one is kept")


def ring(data: DataDirectory, *, given: int = 0) -> KeyRing:
    made = KeyRing(KeyFiles(data), wall=lambda: NOW[0], token_seconds=3660, make=never, given=signing_keys()[:given])
    made.open()
    return made


def published(made: KeyRing) -> list[str]:
    return [each["kid"] for each in json.loads(made.jwks)["keys"]]


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    NOW[0] = 1000.0
    return DataDirectory(tmp_path / "data")


def kids(*numbers: int) -> list[str]:
    return [signing_keys()[number].kid for number in numbers]


def test_keys_are_made_once_and_kept_for_their_owner_alone(data: DataDirectory) -> None:
    first = ring(data, given=2)
    again = ring(data)

    assert published(first) == published(again) == kids(0, 1)
    assert first.current.kid == again.current.kid
    assert first.revision == again.revision
    files = list((data.root / "keys").iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert b"PRIVATE" not in first.jwks


def test_rotation_is_kept_and_forgets_in_the_end(data: DataDirectory) -> None:
    first = ring(data, given=4)
    before = first.revision
    with pytest.raises(Conflict):
        first.rotate()
    NOW[0] += 601
    first.rotate()

    assert published(first) == kids(1, 2, 0)
    assert first.revision != before
    assert published(ring(data)) == kids(1, 2, 0)
    NOW[0] += 3700
    first.rotate()
    assert published(first) == kids(2, 3, 1)
    assert not data.key(f"registry-{kids(0)[0]}").exists()


def test_a_past_key_goes_when_the_last_of_its_tokens_has_ended(data: DataDirectory) -> None:
    made = ring(data, given=3)
    NOW[0] += 601
    made.rotate()
    before = made.revision
    assert not made.outlived
    NOW[0] += 3700

    assert made.outlived
    made.tidy()

    assert published(made) == published(ring(data)) == kids(1, 2)
    assert made.revision != before
    assert not made.outlived
    assert not data.key(f"registry-{kids(0)[0]}").exists()


def test_after_a_leak_no_key_of_before_is_trusted(data: DataDirectory) -> None:
    made = ring(data, given=4)
    made.rotate(leaked=True)

    assert published(made) == published(ring(data)) == kids(2, 3)
    assert not any(data.key(f"registry-{kid}").exists() for kid in kids(0, 1))


def test_a_crash_before_the_index_is_written_changes_nothing(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ring(data, given=3)
    write = DataDirectory.write_private

    def crash(self: DataDirectory, path: Path, text: str) -> None:
        if path.suffix == ".json":
            raise OSError("the power went")
        write(self, path, text)

    with monkeypatch.context() as patch:
        patch.setattr(DataDirectory, "write_private", crash)
        with pytest.raises(OSError, match="power"):
            made.rotate(at_once=True)

    assert published(made) == published(ring(data)) == kids(0, 1)


@pytest.mark.parametrize("damage", ["index", "missing", "key"])
def test_damaged_keys_are_told_and_never_replaced_in_silence(data: DataDirectory, damage: str) -> None:
    ring(data, given=2)
    index = data.root / "keys" / "registry.json"
    key = data.key(f"registry-{kids(0)[0]}")
    if damage == "index":
        index.write_text("{")
    elif damage == "missing":
        key.unlink()
    else:
        key.write_text("rubbish")

    with pytest.raises(ConfigError):
        ring(data)


def test_keys_in_memory_are_kept_nowhere() -> None:
    keeping = Unkept()
    keeping.save(RingState(current=signing_keys()[0], following=signing_keys()[1], published_at=0))

    assert keeping.load() is None
