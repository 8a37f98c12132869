"""What droplets of every style send: registrations, beats, updates (contract section 6, dialects)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from udc._types import DropletId, JsonObject
from udc.errors import InvalidRequest, PayloadTooLarge
from udc.identity.audiences import RESERVED_NAME
from udc.lifecycle import Phase, Status
from udc.mesh.registry.instances import FOREIGN
from udc.surface._base import HttpRequest
from udc.surface.messages import require_json
from udc.wire import json_text, records, words
from udc.wire.canonical import canonical_json, sha256_hex
from udc.wire.ids import canonical_id

MAX_RECORD_BYTES: Final = 64 * 1024
_MAX_TEXT: Final = 256
_MAX_URL: Final = 2048
_MAX_CAPABILITIES: Final = 1000
_HASH_CHARS: Final = 16
# What foreign readers look for in a record, kept as it was sent. Everything else that is sent is left out, so that
# a secret which a stranger writes into its registration is shown to nobody.
_KEPT: Final = ("fqdn", "host", "ip", "port", "role", "env", "cost_hour", "proof", "cost_usd", "yield_usd")
_OURS: Final = ("public_key", "fingerprint")
_SCALARS: Final = (str, int, float, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration as it was understood."""

    droplet_id: DropletId
    instance_id: str
    record: JsonObject
    record_hash: str
    status: Status
    phase: Phase | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat as it was understood; `None` = not said."""

    droplet: object
    instance_id: str
    status: Status | None
    phase: Phase | None
    record_hash: str | None
    in_flight: int


def fields_of(request: HttpRequest) -> dict[str, Any]:  # Any: JSON values
    """The object in the body; that of `payload` where the body is an envelope.

    Raises:
        InvalidRequest, UnsupportedMediaType: no JSON object.
    """
    require_json(request)
    return opened(json_text.parse_object(request.body)) if request.body else {}


def opened(fields: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """The content of an envelope, or the object itself."""
    for key in ("payload", "droplet", "service"):
        if inner := json_text.as_mapping(fields.get(key)):
            return dict(inner)
    return fields


def read_registration(request: HttpRequest) -> Registration:
    """A registration of any style.

    Raises:
        InvalidRequest: names the field at fault.
        PayloadTooLarge: more than a registration needs.
    """
    if len(request.body) > MAX_RECORD_BYTES:
        raise _too_large()
    sent = fields_of(request)
    droplet_id = id_of(sent)
    if droplet_id == RESERVED_NAME:  # others would show it tokens of the Registry's audience
        raise InvalidRequest.field("id", f"must not be {RESERVED_NAME!r}")
    phase = _phase(sent.get("phase"))
    return Registration(
        droplet_id=droplet_id,
        instance_id=_text(sent, "instance_id", FOREIGN),
        record=_record(sent, droplet_id),
        record_hash=record_hash(sent),
        status=_status(sent.get("status")) or Status.ACTIVE,
        phase=phase,
    )


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"a registration has at most {MAX_RECORD_BYTES} bytes",
        details={"limit_bytes": MAX_RECORD_BYTES},
        hint="send fewer metadata",
    )


def record_hash(sent: Mapping[str, Any]) -> str:  # Any: JSON values
    """What the sender beats with: over the body as sent, without `status` and `phase`."""
    lasting = {key: value for key, value in sent.items() if key not in ("status", "phase")}
    return sha256_hex(canonical_json(lasting))[:_HASH_CHARS]


def id_of(sent: JsonObject) -> DropletId:
    """Whom a registration is about: its ids in any spelling, else its host name.

    Raises:
        InvalidRequest: nobody is named.
    """
    found = records.record_id(sent)
    for key in ("fqdn", "host"):
        if found is None and sent.get(key) is not None:
            found = canonical_id(sent[key], field=key)
    if found is None:
        raise InvalidRequest.field("id", "is missing", hint="send your droplet id as 'id'")
    return found


def _record(sent: JsonObject, droplet_id: DropletId) -> dict[str, Any]:  # Any: JSON values
    endpoint = records.base_url(sent)
    if endpoint is None or len(endpoint) > _MAX_URL:
        raise InvalidRequest.field("endpoint", "must be the http(s) URL that others reach you by")
    capabilities = records.capabilities(sent)
    if len(capabilities) > _MAX_CAPABILITIES or any(len(each) > _MAX_TEXT for each in capabilities):
        raise InvalidRequest.field("capabilities", f"are at most {_MAX_CAPABILITIES} names of {_MAX_TEXT} characters")
    metadata = json_text.as_mapping(sent.get("metadata"))
    fallback = str(sent.get("service") or sent.get("fqdn") or sent.get("host") or f"droplet-{droplet_id}")
    record: dict[str, Any] = {  # Any: JSON values
        "id": droplet_id,
        "droplet_id": droplet_id,
        "name": _text(sent, "name", fallback[:_MAX_TEXT]),
        "steward": _text(sent, "steward", _text(metadata, "steward", "")),
        "endpoint": endpoint,
        "url": endpoint,
        "capabilities": list(dict.fromkeys(capabilities)),
        "version": _text(sent, "version", _text(metadata, "version", "")),
        "metadata": dict(metadata),
    }
    record |= {key: sent[key] for key in _KEPT if isinstance(sent.get(key), _SCALARS)}
    return record | {key: _text(sent, key, "") for key in _OURS if sent.get(key) is not None}


def read_beat(request: HttpRequest) -> Beat:
    """A heartbeat of any style; unknown status words say nothing, because a beat is a sign of life in any words.

    Raises:
        InvalidRequest: no JSON object, or a field of the wrong type.
    """
    sent = fields_of(request)
    droplet = request.params.get("id") or next(
        (sent[key] for key in ("droplet_id", "id", "service_id") if sent.get(key) is not None), None
    )
    in_flight = sent.get("in_flight", 0)
    if not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 0:
        raise InvalidRequest.field("in_flight", "must be a whole number from 0")
    try:
        status = _status(sent.get("status"))
    except InvalidRequest:
        status = None
    return Beat(
        droplet=droplet,
        instance_id=_text(sent, "instance_id", FOREIGN),
        status=status,
        phase=_phase(sent.get("phase")),
        record_hash=_text(sent, "record_hash", "") or None,
        in_flight=in_flight,
    )


def updated(record: JsonObject, sent: JsonObject) -> dict[str, Any]:  # Any: JSON values
    """The record after a PATCH: `endpoint`, `metadata` (merged), `proof`, `cost_usd`, `yield_usd`, and our own fields.

    Raises:
        InvalidRequest: names the field at fault.
        PayloadTooLarge: changes have made more of it than a registration may have.
    """
    merged: dict[str, Any] = {**record, **{key: value for key, value in sent.items() if value is not None}}
    merged["metadata"] = {**record.get("metadata", {}), **json_text.as_mapping(sent.get("metadata"))}
    if sent.get("endpoint") is None and sent.get("url") is None:
        merged["endpoint"] = record["endpoint"]
    elif sent.get("endpoint") is None:
        merged["endpoint"] = sent["url"]
    changed = _record(merged, record["id"])
    for key in ("fqdn", "host"):  # readers take the number in a host name for the id of a droplet that has a name
        if records.record_id({"id": record["id"], key: changed.get(key)}) != record["id"]:
            raise InvalidRequest.field(key, "is the host name of another droplet")
    size = len(canonical_json(changed))
    if size > MAX_RECORD_BYTES and size > len(canonical_json(record)):
        raise _too_large()
    return changed


def status_in(sent: JsonObject) -> Status | None:
    """The status word of an update.

    Raises:
        InvalidRequest: a word that is none.
    """
    return _status(sent.get("status"))


def _status(word: object) -> Status | None:
    return None if word is None else words.status(word)


def _phase(word: object) -> Phase | None:
    if word is None:
        return None
    try:
        return Phase(str(word))
    except ValueError:
        raise InvalidRequest.field("phase", f"must be one of {', '.join(Phase)}") from None


def _text(sent: JsonObject, key: str, default: str) -> str:
    value = sent.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise InvalidRequest.field(key, f"must be text of at most {_MAX_TEXT} printable characters")
    return value
