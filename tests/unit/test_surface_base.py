"""Requests, responses and rows of endpoint tables."""

from __future__ import annotations

import dataclasses

import pytest

from udc.identity.claims import Principal
from udc.surface._base import Endpoint, HttpRequest, HttpResponse


@pytest.mark.parametrize(
    ("query_string", "query"),
    [
        ("", {}),
        ("a=1", {"a": ["1"]}),
        ("status=active&status=error&name=x", {"status": ["active", "error"], "name": ["x"]}),
        ("empty=&bare", {"empty": [""], "bare": [""]}),
        ("name=a%20b+c%26d", {"name": ["a b c&d"]}),
        ("name=%C3%BC", {"name": ["ü"]}),
        ("name=%FF", {"name": ["\ufffd"]}),
        ("a=1;b=2", {"a": ["1;b=2"]}),
        ("&&", {}),
        ("=x", {"": ["x"]}),
    ],
)
def test_the_query_has_all_values_in_order(query_string: str, query: dict[str, list[str]]) -> None:
    assert HttpRequest(method="GET", path="/droplets", query_string=query_string).query == query


def test_a_guarded_request_knows_its_caller() -> None:
    caller = Principal(subject="droplet-2", droplet_id=2, issuer="i", permissions=frozenset({"read"}))

    assert HttpRequest(method="GET", path="/state", principal=caller).caller is caller


def test_a_public_request_does_not_and_says_so() -> None:
    with pytest.raises(LookupError, match="GET /health is public: its caller is unknown"):
        _ = HttpRequest(method="GET", path="/health").caller


def test_requests_share_nothing() -> None:
    one, other = HttpRequest(method="GET", path="/"), HttpRequest(method="GET", path="/")
    one.params["id"] = "3"

    assert other.params == {}
    assert one.headers is not other.headers


def test_a_response_is_json_and_fine_by_default() -> None:
    response = HttpResponse()

    assert (response.status, response.body, response.media_type, response.headers) == (200, b"", "application/json", ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        response.status = 500  # type: ignore[misc]  # that is the point


def test_an_endpoint_is_a_frozen_row() -> None:
    async def handler(request: HttpRequest) -> None:
        """Nothing to say."""

    row = Endpoint(method="GET", path="/droplets/{id}", access="read", handler=handler)

    assert (row.scope, row.summary, row.request_model, row.response_model) == (None, "", None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.access = "public"  # type: ignore[misc]  # that is the point
