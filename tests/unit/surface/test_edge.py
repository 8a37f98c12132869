"""How answers are dressed."""

from __future__ import annotations

import pytest

from udc.surface._base import HttpRequest, HttpResponse, Standing
from udc.surface.cors import Cors
from udc.surface.edge import Edge

PLAIN = HttpRequest(method="GET", path="/a")
SECURE = HttpRequest(method="GET", path="/a", scheme="https")


def headers(response: HttpResponse) -> dict[str, str]:
    assert len({name.lower() for name, _ in response.headers}) == len(response.headers)
    return {name.lower(): value for name, value in response.headers}


def test_an_answer_without_headers_of_its_own_gets_a_ready_set() -> None:
    edge = Edge()
    first, second = (edge.dressed(HttpResponse(body=b"x"), PLAIN, guarded=True) for _ in range(2))
    assert first.headers is second.headers
    assert isinstance(first.headers, Standing)
    assert (first.status, first.body, first.media_type) == (200, b"x", "application/json")


def test_an_answer_that_has_the_ready_set_is_not_copied() -> None:
    edge = Edge()
    response = HttpResponse(headers=edge.standing(PLAIN.scheme, guarded=True))
    assert edge.dressed(response, PLAIN, guarded=True) is response


def test_what_is_only_for_its_caller_is_not_stored() -> None:
    edge = Edge()
    assert headers(edge.dressed(HttpResponse(), PLAIN, guarded=True))["cache-control"] == "no-store"
    assert "cache-control" not in headers(edge.dressed(HttpResponse(), PLAIN, guarded=False))


def test_hsts_goes_to_those_who_came_by_https() -> None:
    for guarded in (True, False):
        got = headers(Edge(hsts_seconds=60).dressed(HttpResponse(), SECURE, guarded=guarded))
        assert got["strict-transport-security"] == "max-age=60"
        assert "strict-transport-security" not in headers(Edge().dressed(HttpResponse(), PLAIN, guarded=guarded))
        off = headers(Edge(hsts_seconds=0).dressed(HttpResponse(), SECURE, guarded=guarded))
        assert "strict-transport-security" not in off


def test_what_an_endpoint_brings_itself_stays() -> None:
    own = (("Content-Security-Policy", "default-src 'self'"), ("Cache-Control", "max-age=60"), ("X-More", "1"))
    response = Edge().dressed(HttpResponse(headers=own), PLAIN, guarded=True)
    assert response.headers[:3] == own
    got = headers(response)
    assert (got["content-security-policy"], got["cache-control"]) == ("default-src 'self'", "max-age=60")
    assert (got["x-content-type-options"], got["x-frame-options"], got["x-more"]) == ("nosniff", "DENY", "1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Location", "/a\r\nSet-Cookie: stolen=1"),
        ("X-A", "a\nb"),
        ("X-A", "a\x00b"),
        ("X-A", "\u2014"),
        ("X A", "b"),
        ("X-A:", "b"),
        ("", "b"),
    ],
)
def test_a_header_that_would_split_the_answer_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        Edge().dressed(HttpResponse(headers=((name, value),)), PLAIN, guarded=True)


def test_options_tells_what_the_path_takes() -> None:
    response = Edge().options(HttpRequest(method="OPTIONS", path="/a"), ["GET", "OPTIONS"])
    got = headers(response)
    assert (response.status, response.body, response.media_type) == (204, b"", None)
    assert (got["allow"], got["x-content-type-options"]) == ("GET, OPTIONS", "nosniff")


def test_a_preflight_has_one_vary() -> None:
    edge = Edge(cors=Cors(["https://app.example"]))
    asked = {"origin": "https://app.example", "access-control-request-method": "GET"}
    request = HttpRequest(method="OPTIONS", path="/a", headers=asked)
    got = headers(edge.options(request, ["GET"]))
    assert got["access-control-allow-methods"] == "GET"
    assert got["vary"].startswith("Origin, ")
    assert edge.is_preflight(request)
    assert not edge.is_preflight(HttpRequest(method="OPTIONS", path="/a"))
    assert not Edge().is_preflight(request)


def test_encoded_names_are_lower_case() -> None:
    assert Standing((("X-A", "Bé"),)).encoded == ((b"x-a", b"B\xe9"),)
    assert Standing() == ()
