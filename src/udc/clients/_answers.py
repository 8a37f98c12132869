"""A Registry's answers as values; what makes no sense in them counts as not told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from udc.clients._base import BeatAnswer, Change, Changes, Registered, RevocationList, Revoked
from udc.errors import InvalidRequest
from udc.wire import json_text, words
from udc.wire.ids import canonical_id

_LONGEST_SECONDS: Final = 86_400.0

Fields = Mapping[str, Any]  # Any: JSON values


def opened(body: Fields) -> Fields:
    """The fields of an answer, and of the record or payload inside it."""
    inner = [json_text.as_mapping(body.get(key)) for key in ("payload", "droplet", "service", "record")]
    merged: dict[str, Any] = {}  # Any: JSON values
    for each in inner:
        merged |= each
    return {**merged, **body}


def registered(body: Fields) -> Registered:
    """The answer to a registration."""
    fields = opened(body)
    return Registered(
        token=text(fields.get("token")),
        expires_in=seconds(fields.get("expires_in")),
        lease_ttl_seconds=seconds(fields.get("lease_ttl_seconds")),
        beat_every_seconds=seconds(fields.get("beat_every_seconds")),
        jwks_uri=text(fields.get("jwks_uri")),
        issuer=text(fields.get("issuer")),
        keys_revision=word(fields.get("keys_revision")),
        revocations_revision=word(fields.get("revocations_revision")),
        record={key: value for key, value in fields.items() if key not in ("token", "access_token")},
    )


def beaten(body: Fields) -> BeatAnswer:
    """The answer to a beat."""
    fields = opened(body)
    return BeatAnswer(
        beat_every_seconds=seconds(fields.get("beat_every_seconds")),
        lease_ttl_seconds=seconds(fields.get("lease_ttl_seconds")),
        revision=word(fields.get("revision")),
        keys_revision=word(fields.get("keys_revision")),
        revocations_revision=word(fields.get("revocations_revision")),
        send_record=fields.get("send_record") is True,
        token=text(fields.get("token")),
        expires_in=seconds(fields.get("expires_in")),
    )


def changes(body: Fields, *, warming: bool) -> Changes | None:
    """The answer to `since`; `None` when it is none: that Registry has no watch."""
    revision, listed = word(body.get("revision")), body.get("changes")
    if revision is None or not isinstance(listed, list):
        return None
    found: list[Change] = []
    for entry in listed:
        record = json_text.as_mapping(json_text.as_mapping(entry).get("record"))
        if record:
            found.append(Change(op="remove" if entry.get("op") == "remove" else "put", record=record))
    return Changes(revision=revision, changes=tuple(found), snapshot=body.get("snapshot") is True, warming=warming)


def revocations(body: Fields) -> RevocationList:
    """The list of revoked tokens; an entry that cannot be understood is counted, and keeps no other from its effect.

    Raises:
        InvalidRequest: it is no list.
    """
    fields = opened(body)
    listed = fields.get("revoked")
    if not isinstance(listed, list):
        raise InvalidRequest.field("revoked", "must be a list")
    found = [_revoked(json_text.as_mapping(entry)) for entry in listed]
    revoked = tuple(each for each in found if each is not None)
    return RevocationList(revision=word(fields.get("revision")), revoked=revoked, unread=len(found) - len(revoked))


def _revoked(entry: Fields) -> Revoked | None:
    jti = text(entry.get("jti"))
    if jti is not None:
        return Revoked(token_id=jti)
    try:
        droplet_id = canonical_id(entry.get("droplet_id"), field="droplet_id")
        return Revoked(droplet_id=droplet_id, before=words.moment(entry.get("before"), field="before").timestamp())
    except InvalidRequest:
        return None


def warming(headers: Mapping[str, str]) -> bool:
    """Whether the Registry says that it may not know everybody yet."""
    return headers.get("x-udc-warming", "").strip().lower() not in ("", "0", "false", "no")


def seconds(value: object) -> float | None:
    """A positive, finite number of seconds up to a day, else `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 < value <= _LONGEST_SECONDS else None


def text(value: object) -> str | None:
    """A text that is not empty, else `None`."""
    return value if isinstance(value, str) and value else None


def word(value: object) -> str | None:
    """An opaque mark as text; Registries write some of them as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
        return None
    return str(value)
