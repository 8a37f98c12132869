"""Where settings come from: arguments, the environment, `udc_config.json`, class attributes.

Each source becomes a layer, a mapping from dotted names to what was given there. Nothing is checked here
but names; problems and notes are collected, so that all of them can be told at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, cast

from udc._frozen import dataclass
from udc._types import UNSET
from udc.config.names import (
    ALIASES,
    FIELDS,
    FROM_FILE,
    IDENTITY_ALIASES,
    READ_ELSEWHERE,
    SECTIONS,
    VARIABLES,
    did_you_mean,
)

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Given:
    """A value before it is checked, and where it stands.

    Attributes:
        origin: for people: "environment DROPLET_ID".
        beside: the directory that relative paths to secrets start from.
    """

    value: object = field(repr=False)
    origin: str
    beside: Path = Path()


Layer: TypeAlias = dict[str, Given]


@dataclass(slots=True)
class Findings:
    """What came up while sources were read.

    Attributes:
        problems: lines for `ConfigError`.
        notes: lines that do no harm: unknown keys of the file.
        unread: a whole source could not be read, so nothing can be said about what is missing.
    """

    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    unread: bool = False


def from_arguments(explicit: Mapping[str, object], findings: Findings) -> Layer:
    """Explicit arguments, nested or dotted; `UNSET` = not given, `None` = given as "none"."""
    layer: Layer = {}
    for name, value in _flat(explicit):
        if value is UNSET:
            continue
        if name in FIELDS:
            layer[name] = Given(value, "argument")
        else:
            findings.problems.append(f"{name}: unknown argument{did_you_mean(name, FIELDS)}")
    return layer


def from_attributes(attributes: Mapping[str, object]) -> Layer:
    """Class attributes: bare names belong to `droplet`; those that are no settings, and `None`, do not count."""
    layer: Layer = {}
    for name, value in _flat(attributes):
        dotted = name if name in FIELDS else f"droplet.{name}"
        if dotted in FIELDS and value is not None and value is not UNSET:
            layer[dotted] = Given(value, "class attribute")
    return layer


def from_environment(environ: Mapping[str, str], findings: Findings, *, identity_aliases: bool) -> tuple[Layer, Layer]:
    """The `UDC_` variables, and below them the aliases. Empty variables count as unset."""
    for variable in sorted(environ):
        unknown = variable.startswith("UDC_") and variable not in VARIABLES and variable not in READ_ELSEWHERE
        if unknown and environ[variable].strip():
            findings.problems.append(f"{variable}: unknown variable{did_you_mean(variable, VARIABLES)}")
    aliases = {**ALIASES, **IDENTITY_ALIASES} if identity_aliases else ALIASES
    return _variables(environ, VARIABLES), _variables(environ, aliases)


def _variables(environ: Mapping[str, str], names: Mapping[str, str]) -> Layer:
    return {
        name: Given(environ[variable].strip(), f"environment {variable}")
        for variable, name in names.items()
        if environ.get(variable, "").strip()
    }


def from_file(file: Path | None, findings: Findings) -> Layer:
    """`udc_config.json`: keys that are unknown are noted and ignored, `null` counts as not given."""
    if file is None:
        return {}
    try:
        content: object = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as exc:
        return _unread(findings, f"{file}: cannot be read: {exc.strerror}")
    except json.JSONDecodeError as exc:
        return _unread(findings, f"{file}: no JSON: {exc.msg} in line {exc.lineno}, column {exc.colno}")
    except (ValueError, RecursionError):
        return _unread(findings, f"{file}: no JSON in UTF-8")
    if not isinstance(content, dict):
        return _unread(findings, f'{file}: wanted a JSON object with sections, for example {{"droplet": {{"id": 14}}}}')
    return _file_layer(cast("Mapping[str, object]", content), file, findings)


def _unread(findings: Findings, problem: str) -> Layer:
    findings.problems.append(problem)
    findings.unread = True
    return {}


def _file_layer(content: Mapping[str, object], file: Path, findings: Findings) -> Layer:
    layer: Layer = {}
    for name, value in _flat(content):
        if name in FIELDS:
            if value is not None:
                layer[name] = Given(value, f"file {file.name}", file.parent)
        elif name in SECTIONS:
            if value is not None:
                # The value stays unsaid: it may be a secret in the wrong place.
                findings.problems.append(f"{name}: a {type(value).__name__} from file {file.name}; wanted an object")
        else:
            findings.notes.append(f"file {file.name}: '{name}' is unknown and ignored{did_you_mean(name, FIELDS)}")
    return layer


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if not prefix and name in SECTIONS and isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, object]", value), f"{name}.")
        else:
            yield name, value


def merged(layers: list[Layer], findings: Findings) -> Layer:
    """Of each name what the highest layer gives; files that hold a value are read."""
    chosen: Layer = {}
    for layer in reversed(layers):
        for name, file_name in FROM_FILE.items():
            # Whichever of the two a higher layer gives, it replaces both of the lower ones.
            if name in layer or file_name in layer:
                chosen.pop(name, None)
                chosen.pop(file_name, None)
        chosen.update(layer)
    for name, file_name in FROM_FILE.items():
        if file_name in chosen:
            _read_into(chosen, name, file_name, findings)
    return chosen


def _read_into(chosen: Layer, name: str, file_name: str, findings: Findings) -> None:
    given = chosen[file_name]
    if name in chosen:
        both = f"given by {chosen[name].origin}, and {file_name} by {given.origin}"
        findings.problems.append(f"{name}: {both}; wanted one of the two")
        return
    if not isinstance(given.value, str | Path):
        return  # validation tells what is wanted
    try:
        text = (given.beside / given.value).read_text(encoding="utf-8").strip()
        if not text:
            raise ValueError("it is empty")
    except OSError as exc:
        reason = exc.strerror or "no such file"
    except ValueError as exc:
        reason = "it is not UTF-8" if isinstance(exc, UnicodeError) else str(exc)
    else:
        chosen[name] = Given(text, given.origin)
        return
    findings.problems.append(f"{file_name}: {str(given.value)!r} from {given.origin} cannot be read: {reason}")
