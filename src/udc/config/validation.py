"""Turns given values into a `DropletConfig`, and what pydantic refuses into lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from udc.config.fields import decoded
from udc.config.names import did_you_mean, shown, wanted
from udc.config.sections import DropletConfig, PeerConfig
from udc.config.sources import Given, Layer


def validated(given: Layer) -> tuple[DropletConfig, set[str], list[str]]:
    """The configuration without the values that are refused, the names of those, and a line for each."""
    try:
        return DropletConfig.model_validate(_nested(given)), set(), []
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False)
    refused = {_setting(error) for error in errors}
    kept = {name: value for name, value in given.items() if name not in refused}
    lines = dict.fromkeys(_line(error, given[_setting(error)]) for error in errors)
    return DropletConfig.model_validate(_nested(kept)), refused, list(lines)


def _nested(given: Layer) -> dict[str, object]:
    sections: dict[str, dict[str, object]] = {}
    single: dict[str, object] = {}
    for name, value in given.items():
        section, _, field = name.rpartition(".")
        (sections.setdefault(section, {}) if section else single)[field] = value.value
    return {**sections, **single}


def _setting(error: ErrorDetails) -> str:
    section, *rest = error["loc"]
    # Below a setting pydantic names list items; `peers` is the one list that stands outside the sections.
    return str(section) if section == "peers" or not rest else f"{section}.{rest[0]}"


def _line(error: ErrorDetails, given: Given) -> str:
    setting, parts = _setting(error), error["loc"]
    if setting != "peers" or len(parts) == 1:
        return f"{setting}: {shown(setting, given.value)} from {given.origin}; wanted {wanted(setting)}"
    place = ".".join(str(part) for part in parts)
    value = "missing" if error["type"] == "missing" else shown(place, error["input"])
    return f"{place}: {value} from {given.origin}; wanted {wanted(place)}"


def unknown_of_peers(peers: Given | None) -> Iterator[str]:
    """A note for every key of a peer that is ignored because nobody here knows it."""
    try:
        entries = decoded(peers.value) if peers else None
    except ValueError:
        return  # validation tells
    if not peers or not isinstance(entries, list | tuple):
        return
    for place, entry in enumerate(cast("Sequence[object]", entries)):
        for key in cast("Mapping[object, object]", entry) if isinstance(entry, Mapping) else ():
            if key not in PeerConfig.model_fields:
                guess = did_you_mean(str(key), PeerConfig.model_fields)
                yield f"{peers.origin}: 'peers.{place}.{key}' is unknown and ignored{guess}"
