"""The forms an envelope comes in: how each is recognised and where it keeps its identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from udc._types import DropletId
from udc.errors import Forbidden, InvalidRequest
from udc.wire.ids import canonical_id

CONTRACT: Final = "udc"
"""The contract's own form: flat, without the marks of any other."""

METADATA: Final = "metadata"
"""`{metadata: {source_droplet_id, timestamp, trace_id}, payload}`."""

SERVICE: Final = "service"
"""`{from_service, to_service, message_type, payload, …}`."""

TYPED: Final = "type"
"""`{type, payload, trace_id}`, where `type` is the message type."""

FORMS: Final = (CONTRACT, METADATA, SERVICE, TYPED)
"""Every value of `Message.dialect` of a message that was read."""

_CARRIED = ("trace_id", "timestamp")


def recognise(envelope: Mapping[str, Any]) -> str:  # Any: JSON values
    """Which form it is. The marks are asked in the order of the table; a mark that is JSON null is none."""
    if envelope.get("from_service") is not None:
        return SERVICE
    metadata = envelope.get("metadata")
    if isinstance(metadata, dict) and metadata.get("source_droplet_id") is not None:
        return METADATA
    return TYPED if envelope.get("type") is not None else CONTRACT


def lifted(envelope: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """The envelope with what a metadata form carries inside brought to the top; the top's own values count."""
    metadata = envelope.get("metadata")
    if not isinstance(metadata, dict):
        return envelope
    found = {key: metadata[key] for key in _CARRIED if envelope.get(key) is None and key in metadata}
    return {**envelope, **found}


def source_of(envelope: Mapping[str, Any]) -> DropletId | None:  # Any: JSON values
    """Who a foreign form says sent it: `source`, `metadata.source_droplet_id`, or a number in `from_service`.

    Raises:
        InvalidRequest: a claim that is no id; names the field.
        Forbidden: a number that contradicts another claim: two identities in one message are one too many.
    """
    metadata = envelope.get("metadata")
    claims = (
        ("source", envelope.get("source")),
        ("metadata.source_droplet_id", metadata.get("source_droplet_id") if isinstance(metadata, dict) else None),
        ("from_service", envelope.get("from_service")),
    )
    source: DropletId | None = None
    for field, claim in claims:
        if claim is None or (claim == "" and field == "from_service"):
            continue  # an empty name informs of nothing
        found = canonical_id(claim, field=field)
        if source is None:
            # A name in from_service is information only: the token says who it is.
            source = found if isinstance(found, int) or field != "from_service" else None
        elif isinstance(found, int) and found != source:
            raise Forbidden(f"{field}: {found} contradicts {source}", details={"field": field})
    return source


def target_of(envelope: Mapping[str, Any], *, me: DropletId) -> DropletId | None:  # Any: JSON values
    """Whom a foreign form is for. `to_service` is read only where `target` is absent.

    Raises:
        InvalidRequest: no id; names the field, and in the hint this droplet.
    """
    target = id_in(envelope, "target", me=me)
    return target if target is not None else id_in(envelope, "to_service", me=me)


def id_in(envelope: Mapping[str, Any], field: str, *, me: DropletId) -> DropletId | None:  # Any: JSON values
    """The id in a field, `None` when it is missing or null.

    Raises:
        InvalidRequest: no id; names the field, and in the hint this droplet.
    """
    value = envelope.get(field)
    if value is None:
        return None
    try:
        return canonical_id(value, field=field)
    except InvalidRequest as refusal:
        refusal.hint = f"write an id such as 14; this droplet's own is {me!r}"
        raise
