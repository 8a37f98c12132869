"""The contract's error table, both ways, proved total."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc import errors
from udc.errors import ContractError, InvalidRequest, PeerError, UdcError
from udc.wire import faults

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"


def kinds(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("udc.errors"):
            yield from kinds(child)


def made(kind: type[UdcError]) -> UdcError:
    if kind is errors.BusinessError:
        return errors.BusinessError("QUOTA_SPENT", "secret text", status=402, details={"left": 0})
    if kind is PeerError:
        return PeerError("secret text", peer="billing", status=500, code="INTERNAL_ERROR")
    if issubclass(kind, errors.DeliveryError):
        return kind("secret text", peer="billing")
    if issubclass(kind, errors.RegistryRefused):
        return kind("secret text", status=403)
    if kind is errors.ConfigError:
        return errors.ConfigError(["secret text"])
    return kind("secret text")


CONTRACT = list(kinds(ContractError))
TABLE = {
    "INVALID_REQUEST": (400, False),
    "HOP_LIMIT": (400, False),
    "UNAUTHORIZED": (401, False),
    "FORBIDDEN": (403, False),
    "NOT_FOUND": (404, False),
    "NO_HANDLER": (404, False),
    "METHOD_NOT_ALLOWED": (405, False),
    "UNSUPPORTED_MEDIA_TYPE": (415, False),
    "PAYLOAD_TOO_LARGE": (413, False),
    "DEADLINE_EXCEEDED": (408, False),
    "CONFLICT": (409, False),
    "RATE_LIMITED": (429, True),
    "INTERNAL_ERROR": (500, False),
    "NOT_READY": (503, True),
    "DRAINING": (503, True),
    "OVERLOADED": (503, True),
    "KEYS_UNAVAILABLE": (503, True),
    "DEPENDENCY_UNAVAILABLE": (503, False),
    "TIMEOUT": (504, False),
}


def test_the_classes_are_the_contracts_table() -> None:
    plain = [kind for kind in CONTRACT if kind is not errors.BusinessError]
    assert {kind.code: (kind.http_status, kind.retryable) for kind in plain} == TABLE
    assert {code for code, (_, retryable) in TABLE.items() if retryable} == faults.RETRYABLE_CODES


@pytest.mark.parametrize("kind", CONTRACT)
def test_every_contract_error_goes_out_and_comes_back(kind: type[ContractError]) -> None:
    error = made(kind)
    assert isinstance(error, ContractError)
    status, headers, body = faults.encode_error(error, trace_id=TRACE, now=NOW)
    back = faults.decode_error(body, status=status, headers=dict(headers), peer="billing")
    assert (back.status, back.code, back.retryable) == (error.http_status, error.code, error.retryable)
    assert (back.message, back.details, back.hint) == ("secret text", error.details, error.hint)
    assert back.retry_after_seconds == (1.0 if error.retryable else None)


ANSWERS: dict[type[UdcError], str] = {
    errors.PeerError: "DEPENDENCY_UNAVAILABLE",
    errors.PeerUnreachable: "DEPENDENCY_UNAVAILABLE",
    errors.ConnectionLost: "DEPENDENCY_UNAVAILABLE",
    errors.UnknownPeer: "DEPENDENCY_UNAVAILABLE",
    errors.InvalidReply: "DEPENDENCY_UNAVAILABLE",
    errors.DeliveryError: "DEPENDENCY_UNAVAILABLE",
    errors.CallTimeout: "TIMEOUT",
    errors.TokenError: "DEPENDENCY_UNAVAILABLE",
    errors.RegistryRefused: "INTERNAL_ERROR",
    errors.UnknownInstance: "INTERNAL_ERROR",
    errors.InstanceRetired: "INTERNAL_ERROR",
    errors.ConfigError: "INTERNAL_ERROR",
    errors.DefinitionError: "INTERNAL_ERROR",
    errors.LifecycleError: "INTERNAL_ERROR",
    errors.UdcError: "INTERNAL_ERROR",
}


@pytest.mark.parametrize("kind", list(kinds(UdcError)))
def test_every_error_of_ours_has_an_answer(kind: type[UdcError]) -> None:
    error = made(kind)
    answer = faults.answer_for(error)
    if isinstance(error, ContractError):
        assert answer is error
        return
    assert answer.code == ANSWERS[kind]  # a new class must be put into the table
    assert "secret text" not in repr((answer.message, answer.details, answer.hint))


class Model(pydantic.BaseModel):
    a: int


def invalid() -> pydantic.ValidationError:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"a": "secret text"})
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        invalid(),
        ValueError("secret text"),
        TimeoutError("secret text"),
        KeyboardInterrupt(),
        SystemExit("secret text"),
        ExceptionGroup("secret text", [ValueError("secret text"), errors.Conflict()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_anything_else_is_internal_and_keeps_its_text(error: BaseException) -> None:
    answer = faults.answer_for(error)
    assert type(answer) is errors.InternalError
    assert "secret" not in faults.encode_error(answer, trace_id=None, now=NOW)[2].decode()


def test_a_group_of_one_counts_as_that_one() -> None:
    conflict = errors.Conflict("twice")
    assert faults.answer_for(ExceptionGroup("g", [ExceptionGroup("g", [conflict])])) is conflict


@pytest.mark.parametrize(
    ("status", "code", "answer"),
    [
        (500, "INTERNAL_ERROR", "DEPENDENCY_UNAVAILABLE"),
        (503, "DRAINING", "DEPENDENCY_UNAVAILABLE"),
        (200, "ERROR", "DEPENDENCY_UNAVAILABLE"),
        (302, "HTTP_302", "DEPENDENCY_UNAVAILABLE"),
        (400, "INVALID_REQUEST", "INTERNAL_ERROR"),
        (404, "NO_HANDLER", "INTERNAL_ERROR"),
        (429, "RATE_LIMITED", "INTERNAL_ERROR"),
        (499, "X", "INTERNAL_ERROR"),
        (504, "TIMEOUT", "TIMEOUT"),
        (408, "DEADLINE_EXCEEDED", "TIMEOUT"),
    ],
)
def test_a_peers_error_let_pass(status: int, code: str, answer: str) -> None:
    error = PeerError("secret", peer="billing", status=status, code=code)
    assert faults.answer_for(error).code == answer


def sent(error: ContractError, trace_id: str | None = TRACE) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = faults.encode_error(error, trace_id=trace_id, now=NOW)
    return status, dict(headers), json.loads(body)


def test_the_body_of_an_error() -> None:
    error = errors.RateLimited("slow down", details={"limit": 5}, hint="wait", retry_after_seconds=2.5)
    assert sent(error) == (
        429,
        {"Retry-After": "3"},
        {
            "status": "error",
            "error": {
                "code": "RATE_LIMITED",
                "message": "slow down",
                "details": {"limit": 5},
                "retryable": True,
                "retry_after_seconds": 2.5,
                "hint": "wait",
            },
            "timestamp": "2025-01-02T03:04:05.000Z",
            "trace_id": TRACE,
        },
    )
    assert "hint" not in sent(errors.BusinessError("SOLD_OUT", "none left"))[2]["error"]


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (errors.Unauthorized(), {"WWW-Authenticate": 'Bearer realm="udc"'}),
        (
            errors.Unauthorized(details={"error": "invalid_token"}),
            {"WWW-Authenticate": 'Bearer realm="udc", error="invalid_token"'},
        ),
        (errors.MethodNotAllowed(), {}),
        (errors.MethodNotAllowed(details={"allow": ["GET", "POST"]}), {"Allow": "GET, POST"}),
        (errors.NotFound(details={"allow": ["GET"]}), {}),
        (errors.NotReady(), {"Retry-After": "1"}),
        (errors.Draining(retry_after_seconds=25), {"Retry-After": "25"}),
        (errors.Overloaded(retry_after_seconds=0.01), {"Retry-After": "1"}),
        (errors.KeysUnavailable(retry_after_seconds=-3), {"Retry-After": "0"}),
        (errors.RateLimited(retry_after_seconds=float("nan")), {"Retry-After": "1"}),
        (errors.DependencyUnavailable(), {}),
        (errors.DependencyUnavailable(retry_after_seconds=4), {"Retry-After": "4"}),
        (errors.BusinessError("BUSY_NOW", "m", status=503, retryable=True), {"Retry-After": "1"}),
        (errors.BusinessError("BUSY_NOW", "m", status=409, retryable=True), {}),
    ],
)
def test_headers(error: ContractError, headers: dict[str, str]) -> None:
    assert sent(error)[1] == headers


def test_details_may_be_any_mapping() -> None:
    assert sent(errors.Conflict(details=MappingProxyType({"a": NOW})))[2]["error"]["details"] == {
        "a": "2025-01-02T03:04:05Z"
    }


@pytest.mark.parametrize("details", [{"x": object()}, {"x": "\ud800"}])
def test_details_that_are_no_json_are_left_out(details: dict[str, Any]) -> None:
    told = sent(errors.Conflict("m", details=details, hint="h"))[2]
    assert (told["error"]["details"], told["error"]["message"], told["error"]["hint"]) == ({}, "m", "h")


def test_text_that_utf8_cannot_hold_is_replaced() -> None:
    told = sent(errors.Conflict("a\ud800b"), trace_id="\ud800")[2]
    assert (told["error"]["message"], told["trace_id"]) == ("a?b", "?")


FORMS: list[tuple[int, object, str, str, dict[str, Any]]] = [
    (
        409,
        {"status": "error", "error": {"code": "CONFLICT", "message": "m", "details": {"a": 1}}},
        "CONFLICT",
        "m",
        {"a": 1},
    ),
    (400, {"error": {"message": "m"}}, "INVALID_REQUEST", "m", {}),
    (400, {"error": '{"code": "NO_WAY", "message": "m"}'}, "NO_WAY", "m", {}),
    (404, {"detail": "m"}, "NOT_FOUND", "m", {"detail": "m"}),
    (
        422,
        {"detail": [{"loc": ["body", "id", 0], "msg": "m"}, {"msg": "n"}, {"message": "o"}, {}, "p"]},
        "INVALID_REQUEST",
        "body.id.0: m; n; o; p",
        {"detail": [{"loc": ["body", "id", 0], "msg": "m"}, {"msg": "n"}, {"message": "o"}, {}, "p"]},
    ),
    (
        403,
        {"detail": {"code": "NOT_YOURS", "message": "m"}},
        "NOT_YOURS",
        "m",
        {"detail": {"code": "NOT_YOURS", "message": "m"}},
    ),
    (500, {"error": True, "message": "m", "type": "ValueError"}, "VALUE_ERROR", "m", {}),
    (500, {"success": False, "error": "m", "detail": "more"}, "INTERNAL_ERROR", "m", {"detail": "more"}),
    (500, {"success": False, "error": "m", "detail": {"a": 1}}, "INTERNAL_ERROR", "m", {"detail": {"a": 1}}),
    (500, {"message_type": "error", "type": "error", "payload": {"error": "m"}}, "INTERNAL_ERROR", "m", {}),
    (500, {"payload": '{"error": {"code": "A_B", "message": "m"}}'}, "A_B", "m", {}),
    (500, {"result": {"error": "m", "error_code": "no-way"}}, "NO_WAY", "m", {}),
    (500, {"error_message": "m"}, "INTERNAL_ERROR", "m", {}),
    (500, {"code": 5, "message": 6}, "INTERNAL_ERROR", "no reason given", {}),
    (500, {"code": "?!", "message": "  "}, "INTERNAL_ERROR", "no reason given", {}),
    (500, [], "INTERNAL_ERROR", "no reason given", {}),
    (502, "text", "HTTP_502", "no reason given", {}),
    (503, {}, "HTTP_503", "no reason given", {}),
    (408, {}, "HTTP_408", "no reason given", {}),
    (504, {}, "TIMEOUT", "no reason given", {}),
    (429, {}, "RATE_LIMITED", "no reason given", {}),
    (200, {}, "ERROR", "no reason given", {}),
]


@pytest.mark.parametrize(("status", "body", "code", "message", "details"), FORMS)
def test_every_form_of_error(status: int, body: object, code: str, message: str, details: dict[str, Any]) -> None:
    error = faults.decode_error(json.dumps(body).encode(), status=status, headers={}, peer=5)
    assert (error.status, error.code, error.message, error.details) == (status, code, message, details)
    assert error.peer == 5


@pytest.mark.parametrize("body", [b"", b"<html>secret</html>", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json(body: bytes) -> None:
    error = faults.decode_error(body, status=502, headers={}, peer="billing")
    assert (error.code, error.message) == ("HTTP_502", "no reason given")


def test_a_long_text_is_cut() -> None:
    body = json.dumps({"message": "x" * 10_000, "hint": "y" * 10_000}).encode()
    error = faults.decode_error(body, status=500, headers={}, peer=5)
    assert len(error.message) == len(error.hint or "") == faults.MAX_TEXT


@pytest.mark.parametrize(
    ("body", "retryable"),
    [
        ({"error": {"code": "DRAINING"}}, True),
        ({"error": {"code": "DRAINING", "retryable": False}}, False),
        ({"error": {"code": "CONFLICT", "retryable": True}}, True),
        ({"error": {"code": "CONFLICT", "retryable": "yes"}}, False),
        ({}, False),
    ],
)
def test_retryable_is_the_peers_word_else_the_tables(body: object, retryable: bool) -> None:
    assert faults.decode_error(json.dumps(body).encode(), status=503, headers={}, peer=5).retryable is retryable


DATE = "Thu, 02 Jan 2025 03:04:05 GMT"
LATER = "Thu, 02 Jan 2025 03:04:35 GMT"


@pytest.mark.parametrize(
    ("value", "date", "now", "seconds"),
    [
        (None, None, None, None),
        ("7", None, None, 7.0),
        (" 7 ", None, None, 7.0),
        ("0", None, None, 0.0),
        ("-7", None, None, None),
        ("7.5", None, None, None),
        ("9" * 10, None, None, None),
        ("٧", None, None, None),
        ("soon", DATE, NOW, None),
        ("", DATE, NOW, None),
        (LATER, DATE, None, 30.0),
        (LATER, None, NOW, 30.0),
        (LATER, "rubbish", NOW, 30.0),
        (LATER, DATE, NOW + timedelta(days=1), 30.0),
        (LATER, None, None, None),
        (DATE, LATER, None, 0.0),
        ("Thu, 02 Jan 2025 03:04:35 -0000", DATE, None, 30.0),
        ("Thu, 99 Jan 2025 03:04:35 GMT", DATE, None, None),
    ],
)
def test_retry_after(value: str | None, date: str | None, now: datetime | None, seconds: float | None) -> None:
    assert faults.retry_after_seconds(value, date=date, now=now) == seconds


@pytest.mark.parametrize(
    ("told", "header", "seconds"),
    [
        (5, "7", 5.0),
        (0, "7", 0.0),
        (2.5, "7", 2.5),
        (None, "7", 7.0),
        (-1, "7", 7.0),
        (True, "7", 7.0),
        ("5", "7", 7.0),
        (10**400, "7", 7.0),
    ],
)
def test_what_the_body_tells_comes_before_the_header(told: object, header: str, seconds: float) -> None:
    body = json.dumps({"error": {"code": "DRAINING", "retry_after_seconds": told}}).encode()
    error = faults.decode_error(body, status=503, headers={"RETRY-AFTER": header, "Date": DATE}, peer=5)
    assert error.retry_after_seconds == seconds


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
KEYS = ["error", "detail", "payload", "result", "code", "type", "message", "details", "hint", "retryable", "loc", "msg"]
BODIES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "retry_after_seconds"]), inner),
    max_leaves=9,
)


@steady
@given(BODIES, st.text(max_size=40), st.text(max_size=40))
def test_reading_an_error_is_total(body: object, retry_after: str, date: str) -> None:
    headers = {"retry-after": retry_after, "date": date}
    error = faults.decode_error(json.dumps(body).encode(), status=500, headers=headers, peer=5)
    assert isinstance(error, PeerError)
    assert error.code
    assert error.retry_after_seconds is None or error.retry_after_seconds >= 0


def test_a_refusal_names_its_field_on_the_wire() -> None:
    assert sent(InvalidRequest.field("hops", "must be an integer from 0"))[2]["error"]["details"] == {"field": "hops"}
