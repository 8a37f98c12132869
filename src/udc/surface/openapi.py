"""`GET /openapi.json`: the endpoint table as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import to_json

from udc.models import ErrorAnswer
from udc.surface._base import Endpoint, HttpRequest, HttpResponse
from udc.surface._query import QueryParameter
from udc.surface.facts import Facts

_NAME: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_REF: Final = "#/components/schemas/{model}"
_BEARER: Final[list[dict[str, list[str]]]] = [{"bearer": []}]

Json = dict[str, Any]  # Any: JSON values


class OpenApi:
    """The endpoint's handler. The document is made once, at the first request.

    Args:
        rows: the whole endpoint table.
        public: whether it is shown without a token.
    """

    def __init__(self, facts: Facts, *, rows: Callable[[], Sequence[Endpoint]], public: bool) -> None:
        self._facts = facts
        self._rows = rows
        self._public = public
        self._document: bytes | None = None

    async def __call__(self, _: HttpRequest) -> HttpResponse:
        """The document."""
        if self._document is None:
            self._document = to_json(self._made())
        return HttpResponse(body=self._document)

    def table(self) -> list[Endpoint]:
        """The row of this endpoint."""
        return [
            Endpoint(
                method="GET",
                path="/openapi.json",
                access="public" if self._public else "read",
                handler=self,
                summary="This document",
                always=True,
            )
        ]

    def _made(self) -> Json:
        rows = self._rows()
        schemas, definitions = _schemas(rows)
        paths: dict[str, Json] = {}
        for row, name in zip(rows, operation_ids((row.method, row.path) for row in rows), strict=True):
            paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, name, schemas)
        return {
            "openapi": "3.1.0",
            "info": {"title": self._facts.name, "version": self._facts.version},
            **({"servers": [{"url": self._facts.endpoint}]} if self._facts.endpoint else {}),
            "paths": paths,
            "components": {
                "schemas": definitions,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }


def _schemas(rows: Sequence[Endpoint]) -> tuple[Mapping[tuple[int, JsonSchemaMode], Json], Json]:
    """A schema for each model in each direction, and the definitions they refer to."""
    asked: dict[tuple[int, JsonSchemaMode], TypeAdapter[Any]] = {}  # Any: models of many types
    for row in rows:
        if row.request_model is not None:
            asked[id(row.request_model), "validation"] = TypeAdapter(row.request_model)
        if row.response_model is not None:
            asked[id(row.response_model), "serialization"] = TypeAdapter(row.response_model)
        for each in row.query:
            asked[id(each), "validation"] = each.adapter
    asked[id(ErrorAnswer), "serialization"] = TypeAdapter(ErrorAnswer)
    made, definitions = TypeAdapter.json_schemas(
        [(key, key[1], adapter) for key, adapter in asked.items()], ref_template=_REF
    )
    return {key: schema for (key, _), schema in made.items()}, dict(definitions.get("$defs", {}))


def _operation(row: Endpoint, name: str, schemas: Mapping[tuple[int, JsonSchemaMode], Json]) -> Json:
    answer: Json = {"description": "Success"}
    if row.response_model is not None:
        answer["content"] = _content(schemas[id(row.response_model), "serialization"])
    error = {"description": "The contract's error", "content": _content(schemas[id(ErrorAnswer), "serialization"])}
    operation: Json = {
        "operationId": name,
        "summary": summary(row),
        "responses": {"200": answer, "default": error},
        "security": [] if row.access == "public" else _BEARER,
    }
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _NAME.findall(row.path)
    ]
    parameters += (_parameter(each, schemas[id(each), "validation"]) for each in row.query)
    if parameters:
        operation["parameters"] = parameters
    if row.request_model is not None:
        operation["requestBody"] = {
            "required": True,
            "content": _content(schemas[id(row.request_model), "validation"]),
        }
    return operation


def _parameter(declared: QueryParameter, schema: Json) -> Json:
    told: Json = {"name": declared.name, "in": "query", "required": declared.required, "schema": schema}
    if declared.description:
        told["description"] = declared.description
    if declared.default is not None:
        told["schema"] = {**schema, "default": declared.adapter.dump_python(declared.default, mode="json")}
    return told


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def summary(row: Endpoint) -> str:
    """The line that tells what an endpoint is for, or at least which it is."""
    return row.summary or f"{row.method} {row.path}"


def operation_ids(operations: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What endpoints, by method and path, are called in a document: each has a name of its own."""
    taken: Counter[str] = Counter()
    for method, path in operations:
        words = re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_")
        name = f"{method.lower()}_{words or 'root'}"
        taken[name] += 1
        yield name if taken[name] == 1 else f"{name}__{taken[name]}"  # no path gives two lines
