"""Query parameters: declared, read, refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from typing_extensions import TypeAliasType

from udc import Endpoint, HttpRequest, QueryParameter
from udc.errors import DefinitionError, InvalidRequest
from udc.surface.openapi import OpenApi
from udc.surface.routes import Routes

LIMIT = QueryParameter("limit", Annotated[int, Field(ge=1, le=10)], default=5)
WAY = QueryParameter("way", Literal["up", "down"], required=True)
NAMES = QueryParameter("name", Annotated[list[str], Field(max_length=2)])


def query(text: str) -> dict[str, list[str]]:
    return HttpRequest(method="GET", path="/", query_string=text).query


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (LIMIT, "", 5),
        (LIMIT, "limit=10", 10),
        (LIMIT, "limit=3&limit=4", 4),
        (WAY, "way=down", "down"),
        (NAMES, "", None),
        (NAMES, "name=a", ["a"]),
        (NAMES, "name=a&name=b", ["a", "b"]),
        (QueryParameter("word"), "word=a%20b", "a b"),
        (QueryParameter("word"), "word=", ""),
        (QueryParameter("word"), "words=x", None),
        (QueryParameter("deep", bool, default=False), "deep=true", True),
        (QueryParameter("share", float, default=0.5), "", 0.5),
        (QueryParameter("ids", set[int]), "ids=1&ids=2&ids=1", {1, 2}),
        (QueryParameter("id", int | str), "id=x", "x"),
        (QueryParameter("tag", list[str] | None), "tag=a&tag=b", ["a", "b"]),
        (QueryParameter("tag", Annotated[list[int], Field(max_length=2)] | None), "tag=1", [1]),
        (QueryParameter("tag", TypeAliasType("Tags", list[str])), "tag=a", ["a"]),
        (QueryParameter("tag", str | None), "tag=a&tag=b", "b"),
    ],
)
def test_a_value_is_read_as_its_type(parameter: QueryParameter, text: str, value: Any) -> None:
    assert parameter.read(query(text)) == value


@pytest.mark.parametrize(
    ("parameter", "text", "problem"),
    [
        (LIMIT, "limit=11", "limit: Input should be less than or equal to 10"),
        (LIMIT, "limit=ten", "limit: Input should be a valid integer"),
        (LIMIT, "limit=", "limit: Input should be a valid integer"),
        (WAY, "way=left", "way: Input should be 'up' or 'down'"),
        (WAY, "", "way: is missing in the query"),
        (NAMES, "name=a&name=b&name=c", "name: List should have at most 2 items"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(parameter: QueryParameter, text: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parameter.read(query(text))
    assert caught.value.message.startswith(problem)
    assert caught.value.details == {"field": parameter.name}


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: QueryParameter(""), "query parameter '': give it the name that stands in the URL"),
        (lambda: QueryParameter(" a"), "query parameter ' a': give it the name"),
        (lambda: QueryParameter("a", object()), "query parameter 'a': pydantic does not know the type"),
        (lambda: QueryParameter("a", int, default="x"), "query parameter 'a': the default 'x' does not fit: Input"),
        (lambda: QueryParameter("a", int, default="5"), "query parameter 'a': the default '5' does not fit: Input"),
        (lambda: QueryParameter("a", int, default=5, required=True), "query parameter 'a' is required, so its default"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(made: Any, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        made()
    assert str(caught.value).startswith(problem)


async def _answer(_: HttpRequest) -> None: ...


def row(*parameters: Any, path: str = "/things") -> Endpoint:
    return Endpoint(method="GET", path=path, access="read", handler=_answer, query=parameters)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"_answer: GET /things has two query parameters 'limit'"):
        Routes([row(LIMIT, QueryParameter("limit"))])


def test_a_name_alone_is_refused_with_what_to_write() -> None:
    with pytest.raises(DefinitionError, match=r"'limit' .* is no QueryParameter; write .*\('limit'\)"):
        Routes([row("limit")])


def test_a_value_object_compares_by_what_it_says() -> None:
    assert QueryParameter("limit", int) == QueryParameter("limit", int)
    assert QueryParameter("limit", int) != QueryParameter("limit", int, default=1)
    assert "adapter" not in repr(LIMIT)


async def test_the_document_tells_them_in_order() -> None:
    class Known:
        name, version, endpoint = "T", "1", ""

    known: Any = Known()
    rows = [row(LIMIT, WAY, NAMES, QueryParameter("word", description="Any."), path="/{way}/things")]
    document = await OpenApi(known, rows=lambda: rows, public=True)(HttpRequest(method="GET", path="/openapi.json"))
    told = json.loads(document.body)  # type: ignore[arg-type]  # bytes
    assert told["paths"]["/{way}/things"]["get"]["parameters"] == [
        {"name": "way", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": 10, "default": 5},
        },
        {"name": "way", "in": "query", "required": True, "schema": {"type": "string", "enum": ["up", "down"]}},
        {
            "name": "name",
            "in": "query",
            "required": False,
            "schema": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        },
        {"name": "word", "in": "query", "required": False, "schema": {"type": "string"}, "description": "Any."},
    ]
