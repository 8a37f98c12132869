"""The W3C traceparent codec."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc.wire import trace

TRACE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"
HEX = TRACE.replace("-", "")
SPAN = "00f067aa0ba902b7"
VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")


@steady
@given(st.uuids(allow_nil=False), st.floats(0, 1, exclude_max=True))
def test_a_uuid_survives_the_header(trace_id: uuid.UUID, chance: float) -> None:
    header = trace.traceparent(str(trace_id), new_span=lambda: chance)
    assert VALID.fullmatch(header)
    assert trace.trace_id_from(header) == str(trace_id)


@steady
@given(st.text(max_size=200), st.text())
def test_any_trace_id_has_a_valid_header_and_always_the_same(trace_id: str, seed: str) -> None:
    header = trace.traceparent_of(trace_id, seed)
    assert VALID.fullmatch(header)
    assert header == trace.traceparent_of(trace_id, seed)


def test_a_foreign_trace_id_maps_by_uuid5() -> None:
    header = trace.traceparent("job-7", new_span=lambda: 0.5)
    assert header == f"00-{uuid.uuid5(uuid.NAMESPACE_URL, 'job-7').hex}-8000000000000000-01"
    assert trace.as_uuid("job-7") == str(uuid.uuid5(uuid.NAMESPACE_URL, "job-7"))
    assert trace.as_uuid(TRACE.upper()) == TRACE.upper()


def test_the_nil_trace_and_the_nil_span_are_never_written() -> None:
    header = trace.traceparent(str(uuid.UUID(int=0)), new_span=lambda: 0.0)
    assert VALID.fullmatch(header)
    assert header.endswith("-0000000000000001-01")


@steady
@given(st.integers(0, 255))
def test_any_flags_are_taken(flags: int) -> None:
    assert trace.trace_id_from(f"00-{HEX}-{SPAN}-{flags:02x}") == TRACE


@pytest.mark.parametrize(
    "header", [f"  00-{HEX}-{SPAN}-01 ", f"01-{HEX}-{SPAN}-01", f"cc-{HEX}-{SPAN}-01-more-to-come"]
)
def test_later_versions_are_read_as_far_as_known(header: str) -> None:
    assert trace.trace_id_from(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "rubbish",
        f"00-{HEX}-{SPAN}",
        f"00-{HEX}-{SPAN}-01-more",
        f"00-{HEX}-{SPAN}-01-",
        f"cc-{HEX}-{SPAN}-01.more",
        f"ff-{HEX}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{HEX}-{'0' * 16}-01",
        f"00-{HEX.upper()}-{SPAN}-01",
        f"00-{HEX[:-1]}-{SPAN}-01",
        f"00-{HEX}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_w3c_forbids_is_no_trace(header: str) -> None:
    assert trace.trace_id_from(header) is None


@steady
@given(st.text())
def test_reading_never_raises(header: str) -> None:
    found = trace.trace_id_from(header)
    assert found is None or trace.is_uuid(found)


@steady
@given(st.text())
def test_header_values_cannot_split_a_header(text: str) -> None:
    value = trace.header_value(text)
    assert value.isascii()
    assert value.isprintable()
    assert trace.header_value("Billing 2") == "Billing 2"
