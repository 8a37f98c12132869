"""When two answers say the same: what must differ between two lives of a droplet is left out of the comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.contract.adapters.cases import Case
from tests.contract.served import Answer

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")

OF_THE_SERVER = frozenset({"date", "server", "connection", "keep-alive", "transfer-encoding", "content-length"})
"""Headers that say how a server sends an answer, not what the droplet answers. (Lengths vary with numbers in the
bodies; that they are right, the client checks.)"""


def contract_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in OF_THE_SERVER}


def same(body: bytes, *, shape: bool) -> Any:
    """The body without moments and identities; `shape`: only of what it consists."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    return _shape(value) if shape else _still(value)


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _still(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_still(each) for each in value]
    if isinstance(value, str):
        return _TIME.sub("TIME", _UUID.sub("UUID", value))
    return value


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shape(each) for each in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def told(answer: Answer, *, shape: bool = False) -> tuple[int, dict[str, str], Any]:
    """What the droplet said, as far as the contract decides it."""
    return answer.status, contract_headers(answer.headers), same(answer.body, shape=shape)


def check_as_said(case: Case, answer: Answer) -> None:
    """The answer is what the row says, and nobody who came by http is told to use https only."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert dict(case.shows).items() <= headers.items()
    assert ("strict-transport-security" in headers) == case.https
    if case.text is not None:
        assert answer.body == case.text
    if case.code is not None and case.method != "HEAD":
        assert answer.code == case.code
        assert headers["content-type"] == "application/json"
        assert set(answer.json()) == {"status", "error", "timestamp", "trace_id"}
    for key, wanted in case.json.items():
        value = answer.json()[key]
        assert wanted(value) if callable(wanted) else value == wanted, (key, value)


def whole(schema: Any, document: Mapping[str, Any]) -> Any:
    """The schema with what it refers to in it, but for what FastAPI words its own way: titles, nulls, bounds."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return whole(document["components"]["schemas"][name], document)
        return {
            key: whole(value, document)
            for key, value in schema.items()
            if key != "title" and (key, value) != ("default", None)
        }
    if isinstance(schema, list):
        return [whole(each, document) for each in schema]
    return float(schema) if isinstance(schema, int) and not isinstance(schema, bool) else schema
