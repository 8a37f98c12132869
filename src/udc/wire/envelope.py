"""Messages from bytes and back: every form is read, the contract's own or the superset is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from udc._ids import Ambient, iso_utc
from udc._types import DropletId
from udc.errors import InvalidRequest
from udc.messages import Message, MessageType, Peer, Priority, received
from udc.wire import fields, forms, json_text, trace
from udc.wire.actions import choose, is_envelope
from udc.wire.plain import read_plain
from udc.wire.words import MESSAGE_TYPES, moment

UDC_VERSION = "1.0"
"""The version of the contract that is written."""

PLACEHOLDER_SIGNATURE = "unsigned"
"""What foreign peers find in `signature` when they are not known to want the bearer there."""

TypeForAction: TypeAlias = Callable[[str | None], MessageType | None]
"""Tells the type of the only handler of an action, `None` when there is none or more than one."""

_Optional: TypeAlias = tuple[
    str | None, str | None, int | None, datetime | None, int, int, DropletId | None, Priority, str | None
]
_TEXT_OR_NULL = (str, type(None))
_WRITTEN = frozenset({MessageType.STATUS, MessageType.EVENT, MessageType.COMMAND, MessageType.QUERY})


def decode_message(
    body: bytes,
    *,
    me: DropletId,
    ambient: Ambient,
    type_for_action: TypeForAction | None = None,
) -> Message:
    """The message in a body, whatever form it came in (contract section 3).

    A missing source or target stays `None`. Neither is compared with the token or with `me`, nor are hops
    and deadline looked at: the surface does that.

    Args:
        me: this droplet, for the hint of a refusal.
        ambient: gives a missing trace id and timestamp.
        type_for_action: asked for the type where a foreign form names none; else that is an event.

    Raises:
        InvalidRequest: malformed; names the field.
        Forbidden: it carries two identities that contradict each other; names the field.
    """
    plain = read_plain(body)
    return plain if plain is not None else _read_any(body, me, ambient, type_for_action)


def _read_any(body: bytes, me: DropletId, ambient: Ambient, type_for_action: TypeForAction | None) -> Message:
    """The long way: every form, and what is wrong with one that cannot be read."""
    envelope = json_text.parse_object(body)
    form = forms.recognise(envelope)
    if form == forms.CONTRACT:
        return _read_contract(envelope, me, ambient, len(body))
    return _read_foreign(envelope, form, me, ambient, len(body), type_for_action)


def _read_contract(envelope: dict[str, Any], me: DropletId, ambient: Ambient, size: int) -> Message:  # Any: JSON
    message_type = _message_type(envelope.get("message_type"), "message_type")
    payload = envelope.get("payload")
    if type(payload) is not dict:
        raise InvalidRequest.field("payload", "is missing" if "payload" not in envelope else "must be a JSON object")
    optional = _optional(envelope, fields.OPTIONAL)
    _check_unkept(envelope)
    payload = _unwrapped(payload)
    action, data = choose(payload)
    trace_id, stamp = envelope.get("trace_id"), envelope.get("timestamp")
    return received(
        message_type,
        payload,
        ambient.new_id() if trace_id is None else fields.trace_id(trace_id, "trace_id"),
        ambient.now() if stamp is None else moment(stamp),
        action,
        data,
        forms.id_in(envelope, "source", me=me),
        forms.id_in(envelope, "target", me=me),
        *optional,
        forms.CONTRACT,
        size,
    )


def _check_unkept(envelope: Mapping[str, Any]) -> None:  # Any: JSON values
    for name in fields.UNKEPT:
        if name in envelope and not isinstance(envelope[name], _TEXT_OR_NULL):
            raise InvalidRequest.field(name, "must be a string")


def _read_foreign(
    envelope: dict[str, Any],  # Any: JSON values
    form: str,
    me: DropletId,
    ambient: Ambient,
    size: int,
    type_for_action: TypeForAction | None,
) -> Message:
    envelope = forms.lifted(envelope)
    outer = _foreign_payload(envelope.get("payload"))
    payload = _unwrapped(outer)
    action, data = choose(payload)
    trace_id, stamp = envelope.get("trace_id"), envelope.get("timestamp")
    return received(
        _foreign_type(envelope, outer if payload is not outer else {}, action, type_for_action),
        payload,
        ambient.new_id() if trace_id is None else fields.foreign_trace_id(trace_id, "trace_id"),
        ambient.now() if stamp is None else moment(stamp),
        action,
        data,
        forms.source_of(envelope),
        forms.target_of(envelope, me=me),
        *_optional(envelope, fields.FOREIGN_OPTIONAL),
        form,
        size,
    )


def _message_type(value: object, name: str) -> MessageType:
    known = MESSAGE_TYPES.get(value) if isinstance(value, str) else None
    if known is None:
        problem = "is missing" if value is None else f"must be one of {', '.join(MessageType)}"
        raise InvalidRequest.field(name, problem)
    return known


def _foreign_type(
    envelope: Mapping[str, Any],  # Any: JSON values
    outer: Mapping[str, Any],  # Any: likewise; the nested envelope, if the payload was one
    action: str | None,
    type_for_action: TypeForAction | None,
) -> MessageType:
    for place, name in ((envelope, "message_type"), (envelope, "type"), (outer, "message_type")):
        if place.get(name) is not None:
            return _message_type(place[name], name)
    only = type_for_action(action) if type_for_action is not None else None
    return only or MessageType.EVENT


def _foreign_payload(value: object) -> dict[str, Any]:  # Any: JSON values
    payload = {} if value is None else json_text.unfold(value)
    if not isinstance(payload, dict):
        raise InvalidRequest.field("payload", "must be a JSON object")
    return payload


def _unwrapped(payload: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    # Once only: the mistake is made once, and a chain of envelopes is an attack.
    if not is_envelope(payload):
        return payload
    inner = json_text.unfold(payload["payload"])
    return inner if isinstance(inner, dict) else payload


def _optional(envelope: Mapping[str, Any], readers: Mapping[str, fields.Reader]) -> _Optional:  # Any: JSON values
    """The optional fields, `message_id` to `reply_to`, in the order of `Message`; JSON null counts as left out."""
    get = envelope.get
    message_id, correlation_id, timeout_ms = get("message_id"), get("correlation_id"), get("timeout_ms")
    deadline, attempt, hops = get("deadline"), get("attempt"), get("hops")
    on_behalf_of, priority, reply_to = get("on_behalf_of"), get("priority"), get("reply_to")
    return (
        None if message_id is None else readers["message_id"](message_id, "message_id"),
        None if correlation_id is None else readers["correlation_id"](correlation_id, "correlation_id"),
        None if timeout_ms is None else readers["timeout_ms"](timeout_ms, "timeout_ms"),
        None if deadline is None else readers["deadline"](deadline, "deadline"),
        1 if attempt is None else readers["attempt"](attempt, "attempt"),
        0 if hops is None else readers["hops"](hops, "hops"),
        None if on_behalf_of is None else readers["on_behalf_of"](on_behalf_of, "on_behalf_of"),
        Priority.NORMAL if priority is None else readers["priority"](priority, "priority"),
        None if reply_to is None else readers["reply_to"](reply_to, "reply_to"),
    )


def compose(
    message_type: MessageType,
    action: str | None,
    data: Any,  # Any: whatever can be made JSON
    *,
    payload: Mapping[str, Any] | None = None,  # Any: likewise
    **fields: Any,  # Any: the further fields of `Message`, each of its own type
) -> Message:
    """A message to send, its payload written by the contract's rule (section 3, "Action").

    Events become `{"event_type": action, "data": …}`, everything else `{"type": action, "data": …}`. Without an
    action the data is the payload if it is a mapping, else stands alone under `data`.

    Args:
        payload: written exactly as it is instead (the core messages of sections 5 and 7).
        fields: of `Message`; `trace_id` and `timestamp` are required.

    Raises:
        ValueError: a `response` or an `error`: these are only read.
    """
    _writable(message_type)
    if payload is not None:
        chosen, rest = choose(payload)
        action, data = (action or chosen), (rest if data is None else data)
    elif action:
        payload = {"event_type" if message_type is MessageType.EVENT else "type": action, "data": data}
    else:
        payload = data if isinstance(data, Mapping) else {"data": data}
        action, data = choose(payload)  # what its reader will find
    return Message(message_type=message_type, payload=payload, action=action, data=data, **fields)


def _writable(message_type: MessageType) -> None:
    if message_type not in _WRITTEN:
        raise ValueError(f"a {message_type.value!r} message is read, never written; send one of {', '.join(_WRITTEN)}")


def encode_message(
    message: Message, *, peer: Peer, signature: str | None = None
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The body and the further headers: canonical to our own kind, the superset to anyone else.

    Args:
        signature: the bearer, written only to a foreign peer that is known to want it there.

    Returns:
        The body, and `X-Trace-Id`, `traceparent` and, where the source is known, `X-Source`.

    Raises:
        TypeError: the payload holds something that cannot be made JSON; names its type.
        ValueError: a `response` or an `error`: these are only read.
    """
    _writable(message.message_type)
    # A foreign trace id may be any text, but the contract's form and strict readers take only a UUID.
    trace_id = trace.as_uuid(message.trace_id)
    target = message.target if message.target is not None else peer.id
    if peer.ours:
        written = _canonical(message, trace_id, target)
    else:
        written = _superset(message, trace_id, target, peer, signature)
    return _bytes(written), _headers(message, trace_id)


def _bytes(written: dict[str, Any]) -> bytes:  # Any: JSON values
    payload = written["payload"]
    if isinstance(payload, json_text.Prewritten):
        del written["payload"]
        return json_text.write_with(written, "payload", payload.text)
    return json_text.write(written)


def _canonical(message: Message, trace_id: str, target: DropletId | None) -> dict[str, Any]:  # Any: JSON values
    optional = {
        "source": message.source,
        "target": target,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "timeout_ms": message.timeout_ms,
        "deadline": None if message.deadline is None else iso_utc(message.deadline),
        "on_behalf_of": message.on_behalf_of,
        "reply_to": message.reply_to,
        "priority": None if message.priority is Priority.NORMAL else message.priority,
    }
    return {
        "trace_id": trace_id,
        "message_type": message.message_type,
        "payload": message.payload,
        "timestamp": iso_utc(message.timestamp),
        "attempt": message.attempt,
        "hops": message.hops,
        "udc_version": UDC_VERSION,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _superset(
    message: Message, trace_id: str, target: DropletId | None, peer: Peer, signature: str | None
) -> dict[str, Any]:  # Any: JSON values
    kind = MessageType.EVENT if message.message_type is MessageType.STATUS else message.message_type
    written: dict[str, Any] = {  # Any: JSON values
        "udc_version": UDC_VERSION,
        "trace_id": trace_id,
        "message_type": kind,
        "type": kind,
        "payload": message.payload,
        "timestamp": iso_utc(message.timestamp),
        "signature": signature if peer.wants_signature and signature is not None else PLACEHOLDER_SIGNATURE,
    }
    if message.source is not None:
        written["source"] = written["from_service"] = str(message.source)
    if target is not None:
        written["target"] = str(target)
    to_service = peer.name or written.get("target")
    return written if to_service is None else {**written, "to_service": to_service}


def _headers(message: Message, trace_id: str) -> tuple[tuple[str, str], ...]:
    # The span is the message's own: each attempt at it is another one, the same bytes give the same header.
    seed = f"{message.message_id or message.timestamp}:{message.source}:{message.attempt}:{message.hops}"
    headers = (("X-Trace-Id", trace_id), ("traceparent", trace.traceparent_of(trace_id, seed)))
    if message.source is None:
        return headers
    return (*headers, ("X-Source", trace.header_value(str(message.source))))
