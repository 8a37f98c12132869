"""What is injected: wall time, ids, chance; and the one way that time is written."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udc._ids import Ambient, iso_utc, seeded, system
from udc._types import UNSET


def noon() -> float:
    return datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("ambient", [system(), seeded(1, noon)], ids=["system", "seeded"])
def test_an_ambient_gives_what_the_contract_wants(ambient: Ambient) -> None:
    fresh = [ambient.new_id() for _ in range(50)]

    assert len(set(fresh)) == 50
    assert all(len(text) == 36 and uuid.UUID(text).version == 4 and str(uuid.UUID(text)) == text for text in fresh)
    assert all(0 <= ambient.chance() < 1 for _ in range(50))
    assert ambient.now().tzinfo is UTC


def test_the_system_tells_the_time() -> None:
    before, told, after = datetime.now(UTC), system().now(), datetime.now(UTC)

    assert before <= told <= after


def test_a_seed_repeats_itself() -> None:
    def told(seed: int) -> list[object]:
        ambient = seeded(seed, noon)
        return [ambient.new_id(), ambient.chance(), ambient.new_id(), ambient.now()]

    assert told(7) == told(7)
    assert told(7)[:3] != told(8)[:3]
    assert told(7)[3] == datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_time_is_written_in_utc_with_z_and_milliseconds() -> None:
    assert iso_utc(datetime(2026, 11, 20, 12, tzinfo=UTC)) == "2026-11-20T12:00:00.000Z"
    assert iso_utc(datetime(2026, 11, 20, 1, 0, 0, 999_999, timezone(timedelta(hours=2)))) == "2026-11-19T23:00:00.999Z"


@settings(deadline=None)  # a busy machine is no failure
@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1971, 1, 1), max_value=datetime(2199, 1, 1)))  # noqa: DTZ001
def test_time_that_was_written_is_read_as_the_same_moment(moment: datetime) -> None:
    written = iso_utc(moment)

    assert written.endswith("Z")
    assert timedelta(0) <= moment - datetime.fromisoformat(written) < timedelta(milliseconds=1)


def test_not_given_is_a_value_of_its_own() -> None:
    assert repr(UNSET) == "UNSET"
    assert UNSET is type(UNSET)("UNSET")
