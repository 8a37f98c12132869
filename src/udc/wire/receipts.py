"""Receipts written, and every form of a peer's answer read (contract section 3, "Receipt")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from udc.errors import InvalidReply, InvalidRequest
from udc.messages import Message, Peer, Reply
from udc.wire import json_text
from udc.wire._scalars import write_scalar
from udc.wire.faults import decode_error
from udc.wire.words import moment

SUCCESS: Final = frozenset({200, 201, 202, 204})
"""The HTTP statuses that say a message was taken."""

STATUS_BY_RESULT: Final = {"success": "completed", "queued": "processing", "error": "failed"}
"""The union's `status` word for each `result`."""

RECEIPT_KEYS: Final = frozenset(
    {"received", "result", "status", "message_id", "processed_at", "handled", "data", "trace_id", "ok", "success"}
    | {"sent", "message_type", "payload"}
)
"""Keys of which a receipt has at least one; an object with none of them is the bare data of a foreign handler."""


def encode_receipt(
    trace_id: str,
    processed_at: bytes,
    result: str = "success",
    handled: bool = True,
    data: bytes = b"null",
    message_id: str | None = None,
    duplicate: bool = False,
) -> bytes:
    """What is answered to a message that was taken, as JSON, with the union's keys for lax readers.

    Args:
        trace_id: of this very message, as it came.
        processed_at: when its handler was done, or it was queued, as the contract writes time.
        result: `success`, or `queued` when the work goes on.
        handled: whether a handler took it.
        data: what the handler returned, as JSON bytes.
        message_id: the message's own, if it had one.
        duplicate: it had been done before; this is the same receipt again.
    """
    trace_text = write_scalar(trace_id)
    return b"".join(
        (
            b'{"received":true,"trace_id":',
            trace_text,
            b',"processed_at":"',
            processed_at,
            (_TAKEN if handled else _LEFT)[result],
            # Lax readers insist on a text here; a message without an id is known by its trace.
            trace_text if message_id is None else write_scalar(message_id),
            b',"duplicate":true,"timestamp":"' if duplicate else b',"timestamp":"',
            processed_at,
            b'","data":',
            data,
            b"}",
        )
    )


def _words(handled: str) -> Mapping[str, bytes]:
    return {
        result: f'","result":"{result}","status":"{status}","handled":{handled},"message_id":'.encode()
        for result, status in STATUS_BY_RESULT.items()
    }


_TAKEN, _LEFT = _words("true"), _words("false")


def decode_reply(
    body: bytes,
    *,
    status: int,
    headers: Mapping[str, str],
    peer: Peer,
    message: Message,
    now: datetime | None = None,
) -> Reply:
    """The peer's receipt, whatever form it has.

    Args:
        headers: of the answer, names in any case.
        now: to read a `Retry-After` date with when the answer has no `Date`.

    Raises:
        PeerError: an error in any form and of any status, also one inside a 200.
        InvalidReply: the status says success, but the body is no receipt.
    """
    if status not in SUCCESS:
        raise decode_error(body, status=status, headers=headers, peer=_name(peer), now=now)
    if status == 204 or not body.strip():
        return Reply(peer=peer, trace_id=message.trace_id, result="queued" if status == 202 else "success")
    receipt = _object(body, peer)
    wrapped: Mapping[str, Any] = receipt  # Any: JSON values
    if _is_wrapped(receipt):
        wrapped = json_text.as_mapping(receipt["payload"])
    if _failed(receipt) or (wrapped is not receipt and _refused(wrapped)):
        raise decode_error(body, status=status, headers=headers, peer=_name(peer), now=now)
    if peer.ours and RECEIPT_KEYS.isdisjoint(receipt):
        raise InvalidReply(f"{peer.label} answered with an object that is no receipt", peer=_name(peer))
    return _reply(receipt, wrapped, peer, message, status)


def _name(peer: Peer) -> str | int:
    return peer.label


def _object(body: bytes, peer: Peer) -> dict[str, Any]:  # Any: JSON values
    try:
        receipt = json_text.parse_object(body)
    except InvalidRequest as error:
        raise InvalidReply(f"{peer.label} answered with no receipt: {error.message}", peer=_name(peer)) from error
    return receipt


def _is_wrapped(receipt: Mapping[str, Any]) -> bool:  # Any: JSON values
    return "payload" in receipt and "received" not in receipt


def _failed(receipt: Mapping[str, Any]) -> bool:  # Any: JSON values
    return (
        receipt.get("message_type") == "error"
        or any(receipt.get(key) is False for key in ("sent", "success", "received", "ok"))
        or receipt.get("result") == "error"
        or receipt.get("status") in ("error", "failed")
        or bool(receipt.get("error"))
    )


def _refused(payload: Mapping[str, Any]) -> bool:  # Any: JSON values
    # Inside an envelope that says "response", a status or an error alone may be data: a task's record has both.
    return any(payload.get(key) is False for key in ("sent", "success", "received")) or (
        payload.get("status") == "error" and bool(payload.get("error"))
    )


def _reply(
    receipt: Mapping[str, Any],  # Any: JSON values
    wrapped: Mapping[str, Any],  # Any: likewise
    peer: Peer,
    message: Message,
    status: int,
) -> Reply:
    result = wrapped.get("result")
    word = result if isinstance(result, str) and result in STATUS_BY_RESULT else None
    if word is None:
        word = "queued" if status == 202 or wrapped.get("status") == "processing" else "success"
    trace_id, message_id = receipt.get("trace_id"), wrapped.get("message_id")
    return Reply(
        peer=peer,
        trace_id=trace_id if isinstance(trace_id, str) else message.trace_id,
        data=_data(receipt, wrapped),
        handled=wrapped.get("handled") is not False,
        result=word,
        duplicate=wrapped.get("duplicate") is True,
        message_id=message_id if isinstance(message_id, str) else None,
        processed_at=_time(wrapped),
        receipt=receipt,
    )


def _data(receipt: Mapping[str, Any], wrapped: Mapping[str, Any]) -> Any:  # Any: JSON values
    if "data" in wrapped:
        return wrapped["data"]
    result = wrapped.get("result")
    if result is not None and not (isinstance(result, str) and result in STATUS_BY_RESULT):
        return json_text.unfold(result)
    if wrapped is not receipt and "received" not in wrapped:
        return wrapped or json_text.unfold(receipt["payload"])
    return receipt if RECEIPT_KEYS.isdisjoint(receipt) else None


def _time(receipt: Mapping[str, Any]) -> datetime | None:  # Any: JSON values
    for key in ("processed_at", "timestamp"):
        if receipt.get(key) is not None:
            try:
                return moment(receipt[key])
            except InvalidRequest:
                continue  # a foreign clock's spelling is no reason to lose a success
    return None
