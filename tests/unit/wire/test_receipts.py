"""Receipts written, and every form of a peer's answer read."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import steady
from udc.errors import InvalidReply, PeerError
from udc.messages import Message, MessageType, Peer, Reply
from udc.wire.receipts import decode_reply, encode_receipt

TRACE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"
WHEN = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
ISO = "2025-01-02T03:04:05.678Z"
AT = ISO.encode()
OURS = Peer(endpoint="http://ours", id=4, name="Billing", ours=True)
FOREIGN = Peer(endpoint="http://foreign", id=5)
SENT = Message(message_type=MessageType.QUERY, payload={}, trace_id=TRACE, timestamp=WHEN)


def reply_to(body: object, *, status: int = 200, peer: Peer = FOREIGN, headers: dict[str, str] | None = None) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_reply(raw, status=status, headers=headers or {}, peer=peer, message=SENT)


@pytest.mark.parametrize(
    ("receipt", "written"),
    [
        (
            encode_receipt(TRACE, AT, data=b'{"a":1}', message_id="m-1"),
            {"result": "success", "status": "completed", "handled": True, "message_id": "m-1", "data": {"a": 1}},
        ),
        (
            encode_receipt(TRACE, AT, result="queued", handled=False, duplicate=True),
            {
                "result": "queued",
                "status": "processing",
                "handled": False,
                "message_id": TRACE,
                "data": None,
                "duplicate": True,
            },
        ),
        (
            encode_receipt('job "7"\n', AT, message_id='"', data=b"[]"),
            {
                "result": "success",
                "status": "completed",
                "handled": True,
                "message_id": '"',
                "data": [],
                "trace_id": 'job "7"\n',
            },
        ),
        (
            encode_receipt(TRACE, AT, result="error"),
            {"result": "error", "status": "failed", "handled": True, "message_id": TRACE, "data": None},
        ),
    ],
)
def test_a_receipt_is_the_union(receipt: bytes, written: dict[str, Any]) -> None:
    assert json.loads(receipt) == {
        "received": True,
        "trace_id": TRACE,
        "processed_at": ISO,
        "timestamp": ISO,
        **written,
    }


@pytest.mark.parametrize("result", ["success", "queued"])
@pytest.mark.parametrize("duplicate", [True, False])
@pytest.mark.parametrize("handled", [True, False])
def test_our_own_receipt_is_read_as_it_was(result: str, duplicate: bool, handled: bool) -> None:
    body = encode_receipt(TRACE, AT, result, handled, b'"{}"', "m", duplicate)
    reply = reply_to(body, peer=OURS)
    assert reply == Reply(
        peer=OURS,
        trace_id=TRACE,
        data="{}",  # ours means text when it sends text
        handled=handled,
        result=result,
        duplicate=duplicate,
        message_id="m",
        processed_at=WHEN,
        receipt=json.loads(body),
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (204, b"", {"data": None, "result": "success", "handled": True, "trace_id": TRACE}),
        (204, b"ignored", {"data": None}),
        (200, b" ", {"data": None, "result": "success"}),
        (202, b"", {"data": None, "result": "queued"}),
        (202, {"received": True}, {"result": "queued"}),
        (201, {"received": True, "data": 5}, {"result": "success", "data": 5}),
        (200, {"received": True, "trace_id": "job-7"}, {"trace_id": "job-7"}),
        (200, {"received": True, "trace_id": 7, "message_id": 7}, {"trace_id": TRACE, "message_id": None}),
        (200, {"status": "processing", "message_id": "m"}, {"result": "queued", "message_id": "m"}),
        (200, {"received": True, "timestamp": 1735787045.678}, {"processed_at": WHEN}),
        (200, {"received": True, "processed_at": "rubbish", "timestamp": ISO}, {"processed_at": WHEN}),
        (200, {"received": True, "processed_at": "rubbish"}, {"processed_at": None}),
        (200, {"received": True, "error": None}, {"data": None}),
        (200, {"status": "ok", "result": {"a": 1}}, {"data": {"a": 1}, "result": "success"}),
        (200, {"status": "ok", "result": '{"a": 1}'}, {"data": {"a": 1}}),
        (200, {"status": "ok", "result": "plain"}, {"data": "plain"}),
        (200, {"status": "ok", "result": 5}, {"data": 5}),
        (200, {"sent": True, "result": "success", "data": [1]}, {"data": [1]}),
        (200, {"message_type": "response", "payload": {"a": 1}, "trace_id": "x"}, {"data": {"a": 1}, "trace_id": "x"}),
        (200, {"message_type": "response", "payload": '{"a": 1}'}, {"data": {"a": 1}}),
        (200, {"message_type": "response", "payload": "[1]"}, {"data": [1]}),
        (200, {"message_type": "response", "payload": "text"}, {"data": "text"}),
        (200, {"message_type": "response", "payload": {}}, {"data": {}}),
        (200, {"message_type": "response", "payload": {"result": '{"a": 1}'}}, {"data": {"a": 1}}),
        (
            200,
            {"message_type": "response", "payload": {"received": True, "data": 5, "message_id": "m", "handled": False}},
            {"data": 5, "message_id": "m", "handled": False},
        ),
        (200, {"message_type": "response", "payload": {"received": True}}, {"data": None}),
        (
            200,
            {"message_type": "response", "payload": {"task_id": "t", "status": "failed", "error": "why"}},
            {"data": {"task_id": "t", "status": "failed", "error": "why"}},
        ),
        (200, {"answer": 42}, {"data": {"answer": 42}}),
        (200, {"received": True, "handled": False}, {"handled": False, "data": None}),
    ],
)
def test_every_form_of_success(status: int, body: object, expected: dict[str, Any]) -> None:
    reply = reply_to(body, status=status)
    assert {key: getattr(reply, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (200, {"sent": False, "error": {"code": "NO_HANDLER", "message": "m"}}, "NO_HANDLER", "m"),
        (200, {"sent": False, "result": "error"}, "ERROR", "no reason given"),
        (200, {"received": True, "result": "error", "error": "why"}, "ERROR", "why"),
        (200, {"received": False, "reason": "why"}, "ERROR", "why"),
        (200, {"message_type": "error", "payload": {"code": "X_Y", "message": "why"}}, "X_Y", "why"),
        (200, {"message_type": "error", "payload": '{"error": "why"}'}, "ERROR", "why"),
        (200, {"message_type": "error", "error": "why"}, "ERROR", "why"),
        (200, {"message_type": "response", "payload": {"success": False, "error": "why"}}, "ERROR", "why"),
        (
            200,
            {"message_type": "response", "payload": {"status": "error", "error": {"code": "A_B"}}},
            "A_B",
            "no reason given",
        ),
        (200, {"success": False, "error": "why", "detail": "more"}, "ERROR", "why"),
        (200, {"ok": False, "detail": "why"}, "ERROR", "why"),
        (200, {"error": True, "message": "why", "type": "QuotaSpent"}, "QUOTA_SPENT", "why"),
        (200, {"error": {"code": "CONFLICT", "message": "why"}}, "CONFLICT", "why"),
        (201, {"status": "error", "error": {"code": "CONFLICT", "message": "why"}}, "CONFLICT", "why"),
        (202, {"status": "failed", "reason": "why"}, "ERROR", "why"),
        (404, {"detail": "nothing"}, "NOT_FOUND", "nothing"),
        (302, b"", "HTTP_302", "no reason given"),
        (206, b"{}", "ERROR", "no reason given"),
        (503, b"<html>", "HTTP_503", "no reason given"),
    ],
)
def test_every_form_of_failure(status: int, body: object, code: str, message: str) -> None:
    with pytest.raises(PeerError) as failure:
        reply_to(body, status=status, peer=OURS)
    error = failure.value
    assert (error.status, error.code, error.message, error.peer) == (status, code, message, "Billing")


@pytest.mark.parametrize("body", [b"OK", b"<html>", b"[1]", b'"sent"', b"5", b"null", b"[" * 100_000])
@pytest.mark.parametrize("peer", [OURS, FOREIGN])
def test_a_success_without_a_receipt(body: bytes, peer: Peer) -> None:
    with pytest.raises(InvalidReply, match=f"{peer.label} answered with no receipt"):
        reply_to(body, peer=peer)


def test_from_our_own_kind_an_object_must_be_a_receipt() -> None:
    with pytest.raises(InvalidReply, match="is no receipt"):
        reply_to({"answer": 42}, peer=OURS)
    assert reply_to({"answer": 42}, peer=replace(OURS, ours=False)).data == {"answer": 42}


def test_the_answers_headers_reach_the_error() -> None:
    with pytest.raises(PeerError) as failure:
        reply_to({}, status=503, headers={"Retry-After": "7"})
    assert failure.value.retry_after_seconds == 7.0


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["error", "failed", "{}"])
KEYS = ["received", "result", "status", "data", "error", "payload", "sent", "message_type", "detail", "message", "type"]
BODIES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=9
)


@steady
@given(
    st.binary(max_size=30) | BODIES.map(lambda body: json.dumps(body).encode()), st.sampled_from([200, 202, 404, 503])
)
def test_any_answer_is_a_reply_or_a_known_failure(body: bytes, status: int) -> None:
    with suppress(PeerError, InvalidReply):
        assert reply_to(body, status=status).peer is FOREIGN
