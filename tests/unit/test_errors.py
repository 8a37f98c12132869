"""The hierarchy is the one its docstring draws, and the codes are the contract's table."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from udc import errors
from udc.errors import (
    BusinessError,
    CallTimeout,
    ConfigError,
    ConnectionLost,
    ContractError,
    DeliveryError,
    InvalidReply,
    InvalidRequest,
    NotFound,
    PeerError,
    PeerUnreachable,
    RateLimited,
    UdcError,
    Unauthorized,
    UnknownPeer,
)

CONTRACT = {
    # contract section 4: code → status, retryable
    "INVALID_REQUEST": (400, False),
    "HOP_LIMIT": (400, False),
    "UNAUTHORIZED": (401, False),
    "FORBIDDEN": (403, False),
    "NOT_FOUND": (404, False),
    "NO_HANDLER": (404, False),
    "METHOD_NOT_ALLOWED": (405, False),
    "DEADLINE_EXCEEDED": (408, False),
    "CONFLICT": (409, False),
    "PAYLOAD_TOO_LARGE": (413, False),
    "UNSUPPORTED_MEDIA_TYPE": (415, False),
    "RATE_LIMITED": (429, True),
    "INTERNAL_ERROR": (500, False),
    "NOT_READY": (503, True),
    "DRAINING": (503, True),
    "OVERLOADED": (503, True),
    "KEYS_UNAVAILABLE": (503, True),
    "DEPENDENCY_UNAVAILABLE": (503, False),
    "TIMEOUT": (504, False),
}
DEFINED = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, UdcError) and value.__module__.startswith("udc.errors")
]
ANSWERS = [kind for kind in DEFINED if issubclass(kind, ContractError) and kind not in (ContractError, BusinessError)]


def test_every_code_of_the_contract_has_its_class_and_no_other() -> None:
    table = {kind.code: (kind.http_status, kind.retryable) for kind in ANSWERS}

    assert table == CONTRACT
    assert len(ANSWERS) == len(CONTRACT)


def test_tracebacks_name_the_module_that_errors_are_imported_from() -> None:
    assert {kind.__module__ for kind in DEFINED} == {"udc.errors"}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    parents: list[str] = []
    drawn: set[tuple[str, str]] = set()
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]  # it has one
        match = re.match(r"^( *(?:[│├└─ ]*))([A-Z]\w+)\b", line)
        if match and ("─" in match[1] or line.strip() == "UdcError"):
            depth = (len(match[1]) - 4) // 4
            parents[depth:] = [match[2]]
            if depth:
                drawn.add((match[2], parents[depth - 1]))

    assert drawn == {
        (kind.__name__, kind.__base__.__name__) for kind in DEFINED if kind is not UdcError and kind.__base__
    }


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_an_answer_says_something_by_default(kind: type[ContractError]) -> None:
    error = kind()

    assert str(error) == error.message == kind.__doc__
    assert (error.details, error.retry_after_seconds, error.hint) == ({}, None, kind.default_hint)


def test_an_answer_carries_what_it_is_given() -> None:
    error = RateLimited("slow down", details={"limit": 3}, hint="wait", retry_after_seconds=1.5)

    assert (str(error), error.details, error.hint, error.retry_after_seconds) == (
        "slow down",
        {"limit": 3},
        "wait",
        1.5,
    )
    assert Unauthorized("no").hint == Unauthorized.default_hint


def test_an_answer_of_no_kind_has_its_code_for_text() -> None:
    class Bare(ContractError):
        __doc__ = None

    assert str(Bare()) == "INTERNAL_ERROR"


def test_a_refused_field_is_named() -> None:
    error = InvalidRequest.field("target", "must be an int", hint="send 14")

    assert str(error) == "target: must be an int"
    assert (error.details, error.hint) == ({"field": "target"}, "send 14")


def test_a_business_error_brings_its_own_values_and_leaves_the_class_alone() -> None:
    error = BusinessError("QUOTA_SPENT", "none left", status=409, retryable=True, details={"left": 0}, hint="pay")

    assert (error.code, error.http_status, error.retryable) == ("QUOTA_SPENT", 409, True)
    assert (error.message, error.details, error.hint) == ("none left", {"left": 0}, "pay")
    assert (BusinessError.code, BusinessError.http_status) == ("INTERNAL_ERROR", 500)
    assert BusinessError("QUOTA_SPENT", "none left").http_status == 422
    assert not BusinessError("QUOTA_SPENT", "none left").retryable


@pytest.mark.parametrize("code", ["", "A", "quota", "1QUOTA", "QUOTA SPENT", "QUOTA\n", "Q" * 65, "ÄRGER"])
def test_a_business_code_is_upper_case(code: str) -> None:
    with pytest.raises(ValueError, match="is not UPPER_CASE"):
        BusinessError(code, "x")


@pytest.mark.parametrize("code", ["QU", "Q" * 64, "A_1"])
def test_a_business_code_has_2_to_64_characters(code: str) -> None:
    assert BusinessError(code, "x").code == code


@pytest.mark.parametrize("status", [200, 399, 600, -1])
def test_a_business_status_is_an_error_status(status: int) -> None:
    with pytest.raises(ValueError, match=f"error status {status} is not between 400 and 599"):
        BusinessError("QUOTA_SPENT", "x", status=status)


@pytest.mark.parametrize("status", [400, 599])
def test_the_ends_of_the_range_are_in_it(status: int) -> None:
    assert BusinessError("QUOTA_SPENT", "x", status=status).http_status == status


def test_a_peers_error_is_told_with_the_peer() -> None:
    error = PeerError("no such", peer="billing", status=404, code="NOT_FOUND", details={"a": 1}, hint="look")

    assert str(error) == "billing answered 404 NOT_FOUND: no such"
    assert (error.peer, error.status, error.code, error.retryable) == ("billing", 404, "NOT_FOUND", False)
    assert (error.details, error.hint, error.retry_after_seconds) == ({"a": 1}, "look", None)
    assert PeerError("x", peer=1, status=500, code="X").details == {}
    assert not isinstance(error, ContractError)


@pytest.mark.parametrize(
    ("kind", "may"),
    [(PeerUnreachable, False), (UnknownPeer, False), (ConnectionLost, True), (CallTimeout, True), (InvalidReply, True)],
)
def test_whether_the_peer_may_have_worked_on_it(kind: type[DeliveryError], may: bool) -> None:
    error = kind("gone", peer=3)

    assert (error.may_have_run, error.peer, str(error)) == (may, 3, "gone")


@pytest.mark.parametrize(("problems", "head"), [(["a"], "has 1 problem:"), (["a", "b"], "has 2 problems:")])
def test_a_configuration_error_lists_its_problems(problems: list[str], head: str) -> None:
    error = ConfigError(problems)

    assert error.problems == tuple(problems)
    assert str(error).splitlines() == [f"the configuration {head}", *(f"  - {line}" for line in problems)]


def test_everything_is_caught_by_the_root() -> None:
    with pytest.raises(UdcError):
        raise NotFound


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_every_answer_says_what_to_do(kind: type[ContractError]) -> None:
    hint = kind("it happened").hint
    assert hint
    assert "\n" not in hint


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest.field("id", "must be a number"),
        errors.BusinessError("SOLD_OUT", "none left", status=409, details={"left": 0}, retryable=True),
        errors.PeerError("no", peer="billing", status=503, code="DRAINING", retryable=True, retry_after_seconds=2.0),
        errors.PeerUnreachable("refused", peer=15),
        errors.RegistryRefused("wrong secret", status=401),
        errors.ConfigError(["a", "b"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error: UdcError) -> None:
    """As from a process pool: same class, same text, same attributes."""
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is type(error)
        assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
