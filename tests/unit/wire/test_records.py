"""Registry records in every shape, and the superset registration."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc.errors import InvalidRequest
from udc.wire import records

ROW = {"id": 14, "name": "Resizer", "endpoint": "https://drop14.example.org"}
MARKED = {**ROW, "metadata": {"udc_mesh": "1.0"}}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [
        [ROW],
        {"droplets": [ROW]},
        {"droplets": [ROW], "count": 1},
        {"payload": {"droplets": [ROW]}},
        {"message_type": "response", "payload": json.dumps({"droplets": [ROW]})},
        {"payload": [ROW]},
        {"services": [ROW]},
        {"droplets": json.dumps([ROW])},
        [ROW, None, "x", 5, []],
    ],
)
def test_every_shape_of_a_list(body: object) -> None:
    assert records.read_records(encoded(body)) == [ROW]


@pytest.mark.parametrize("body", [[], {"droplets": []}, {"services": [], "count": 0}])
def test_an_empty_mesh(body: object) -> None:
    assert records.read_records(encoded(body)) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"5",
        b"{}",
        b'{"error": "down"}',
        b'{"droplets": null}',
        b'{"payload": {}}',
        b'"x"',
        b"[" * 100000,
    ],
)
def test_what_is_no_list_does_not_pass_for_an_empty_mesh(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        records.read_records(body)


@pytest.mark.parametrize(
    "body",
    [ROW, {"payload": ROW}, {"payload": json.dumps(ROW)}, {"droplet": ROW}, {"payload": {"service": ROW}}],
)
def test_one_record(body: object) -> None:
    assert records.read_record(encoded(body)) == ROW


def test_strings_that_hold_json_are_opened() -> None:
    row = {**ROW, "capabilities": '["a", "b"]', "metadata": '{"udc_mesh": "1.0"}'}
    opened = records.read_records(encoded([row]))[0]
    assert opened["capabilities"] == ["a", "b"]
    assert opened["metadata"] == {"udc_mesh": "1.0"}
    assert records.to_peer(opened) == records.to_peer(row)


@pytest.mark.parametrize(
    ("record", "url"),
    [
        ({"endpoint": "https://a.example.org/"}, "https://a.example.org"),
        ({"endpoint": "http://127.0.0.1:8000/base/"}, "http://127.0.0.1:8000/base"),
        ({"endpoint": " https://a.example.org "}, "https://a.example.org"),
        ({"url": "https://b.example.org"}, "https://b.example.org"),
        ({"endpoint": "", "url": "https://b.example.org"}, "https://b.example.org"),
        ({"endpoint": None, "host": "c.example.org"}, "https://c.example.org"),
        ({"host": "c.example.org:8443"}, "https://c.example.org:8443"),
        ({"fqdn": "drop14.example.org"}, "https://drop14.example.org"),
        ({"host": "", "fqdn": "d.example.org"}, "https://d.example.org"),
        ({"ip": "10.0.0.1", "port": 8000}, "http://10.0.0.1:8000"),
        ({"ip": "10.0.0.1", "port": "8000"}, "http://10.0.0.1:8000"),
        ({"ip": "fd00::1", "port": 8000}, "http://[fd00::1]:8000"),
        ({"endpoint": "https://a", "url": "https://b", "host": "c", "fqdn": "d", "ip": "e", "port": 1}, "https://a"),
        ({"url": "https://b", "host": "c", "fqdn": "d", "ip": "e", "port": 1}, "https://b"),
        ({"host": "c", "fqdn": "d", "ip": "e", "port": 1}, "https://c"),
        ({"fqdn": "d", "ip": "e", "port": 1}, "https://d"),
        ({}, None),
        ({"ip": "10.0.0.1"}, None),
        ({"ip": "10.0.0.1", "port": True}, None),
        ({"ip": "10.0.0.1", "port": 0}, None),
        ({"ip": "10.0.0.1", "port": 99999}, None),
        ({"ip": "10.0.0.1", "port": "x"}, None),
        ({"ip": 5, "port": 5}, None),
        ({"host": 5}, None),
        ({"host": "a/b"}, None),
    ],
)
def test_base_url(record: dict[str, Any], url: str | None) -> None:
    assert records.base_url(record) == url


UNFIT: list[object] = [
    *("ftp://a", "file:///etc/passwd", "a.example.org", "https://", "https://u:p@a", "https://a?x=1", "https://a#x"),
    *("https://a b", "https://a\r\nX: y", "https://a\\b", "https://[::1", 5, True, [], {}),
]


@pytest.mark.parametrize("endpoint", UNFIT)
def test_a_url_that_no_request_should_go_to(endpoint: object) -> None:
    assert records.base_url({"endpoint": endpoint}) is None


@pytest.mark.parametrize(
    ("record", "droplet_id"),
    [
        ({"id": 14}, 14),
        ({"id": "14"}, 14),
        ({"droplet_id": "drop14.example.org"}, 14),
        ({"service_id": "droplet-14"}, 14),
        ({"id": 3, "droplet_id": 14}, 14),
        ({"id": "resizer", "droplet_id": 14}, 14),
        ({"droplet_id": "resizer", "id": 14}, 14),
        ({"id": "resizer", "fqdn": "drop14.example.org"}, 14),
        ({"id": "resizer", "host": "drop14.example.org"}, 14),
        ({"id": "resizer", "host": ""}, "resizer"),
        ({"fqdn": "drop14.example.org"}, 14),
        ({"id": "resizer", "service_id": "other"}, "resizer"),
        ({"id": None}, None),
        ({}, None),
    ],
)
def test_record_id(record: dict[str, Any], droplet_id: object) -> None:
    assert records.record_id(record) == droplet_id


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        (["a", "b"], ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("a, b,", ("a", "b")),
        ("", ()),
        (None, ()),
        (5, ()),
        ({"a": 1}, ()),
        (["a", 5, None, ""], ("a",)),
    ],
)
def test_capabilities(listed: object, found: tuple[str, ...]) -> None:
    assert records.capabilities({"capabilities": listed}) == found


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        ({"udc_mesh": "1.0"}, True),
        ('{"udc_mesh": "1.0"}', True),
        ({"udc_mesh": ""}, False),
        ({"udc_mesh": True}, False),
        ({}, False),
        (None, False),
        ([], False),
    ],
)
def test_a_peer_is_ours_by_its_mark(metadata: object, ours: bool) -> None:
    assert records.to_peer({**ROW, "metadata": metadata}).ours is ours


def test_to_peer() -> None:
    peer = records.to_peer({**MARKED, "capabilities": ["a"], "instance_id": "i-1"})
    assert (peer.endpoint, peer.id, peer.name, peer.ours) == ("https://drop14.example.org", 14, "Resizer", True)
    assert (peer.capabilities, peer.instance_id) == (("a",), "i-1")
    plain = records.to_peer({"service": "billing", "url": "https://b", "instance_id": 5})
    assert (plain.name, plain.id, plain.instance_id) == ("billing", None, None)
    assert records.to_peer({"name": 5, "url": "https://b"}).name == ""


@pytest.mark.parametrize(("field", "record"), [("endpoint", {"id": 1}), ("id", {"id": True, "url": "https://b"})])
def test_a_record_that_is_no_peer(field: str, record: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        records.to_peer(record)
    assert refusal.value.details == {"field": field}


def registration(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "droplet_id": 14,
        "name": "Resizer",
        "steward": "media",
        "endpoint": "https://drop14.example.org:8443/",
        "version": "1.2.3",
        "capabilities": ["resize"],
    }
    return dict(records.superset_registration(**{**fields, **changes}))


def test_the_superset_registration() -> None:
    assert registration(metadata={"region": "eu", "udc_mesh": "0"}) == {
        "id": 14,
        "droplet_id": 14,
        "name": "Resizer",
        "fqdn": "drop14.example.org",
        "host": "drop14.example.org",
        "ip": "drop14.example.org",
        "role": "droplet",
        "env": "production",
        "version": "1.2.3",
        "cost_hour": 0.0,
        "steward": "media",
        "endpoint": "https://drop14.example.org:8443",
        "url": "https://drop14.example.org:8443",
        "capabilities": ["resize"],
        "status": "active",
        "metadata": {
            "steward": "media",
            "region": "eu",
            "version": "1.2.3",
            "endpoint": "https://drop14.example.org:8443",
            "capabilities": ["resize"],
            "udc_mesh": "1.0",
        },
    }


@pytest.mark.parametrize(
    ("endpoint", "ip"),
    [("http://127.0.0.1:8000", "127.0.0.1"), ("http://localhost", "127.0.0.1"), ("http://[::1]", "::1")],
)
def test_the_address_of_a_registration(endpoint: str, ip: str) -> None:
    assert registration(endpoint=endpoint)["ip"] == ip


def test_a_registration_is_read_back_as_the_peer_it_is() -> None:
    peer = records.to_peer(records.read_records(encoded([registration()]))[0])
    assert (peer.id, peer.name, peer.endpoint, peer.ours) == (14, "Resizer", "https://drop14.example.org:8443", True)


def test_a_registration_needs_an_address() -> None:
    with pytest.raises(ValueError, match="no http"):
        registration(endpoint="drop14.example.org")


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["https://a", "[1]", "{}"])
KEYS = ["droplets", "payload", "services", "id", "endpoint", "host", "fqdn", "ip", "port", "metadata", "capabilities"]
BODIES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=12
)


@steady
@given(BODIES)
def test_any_list_is_read_or_refused(body: object) -> None:
    with suppress(InvalidRequest):
        for record in records.read_records(encoded(body)):
            assert records.to_peer(record).endpoint.startswith("http")
