"""What every setting is called: in dotted form, in the environment, and in a message about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from udc.config.fields import Wanted
from udc.config.secret import MASK, Secret
from udc.config.sections import DropletConfig, PeerConfig


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


FIELDS: Final[Mapping[str, FieldInfo]] = dict(_leaves(DropletConfig))
"""Dotted name → field, for every setting."""

SECTIONS: Final = frozenset(name.split(".")[0] for name in FIELDS if "." in name)

FROM_FILE: Final[Mapping[str, str]] = {name: f"{name}_file" for name in FIELDS if f"{name}_file" in FIELDS}
"""Setting → the setting that names a file to read it from. These are also the ones that are never shown."""

VARIABLES: Final[Mapping[str, str]] = {f"UDC_{name.upper().replace('.', '__')}": name for name in FIELDS}
"""Variable → dotted name."""

IDENTITY_ALIASES: Final[Mapping[str, str]] = {
    "DROPLET_ID": "droplet.id",
    "DROPLET_NAME": "droplet.name",
    "DROPLET_STEWARD": "droplet.steward",
    "DROPLET_URL": "droplet.url",
    "DROPLET_SECRET": "droplet.secret",
    "DROPLET_SECRET_FILE": "droplet.secret_file",
    "PORT": "server.port",
}
"""Names that mean one droplet, so they are read only where one is hosted."""

ALIASES: Final[Mapping[str, str]] = {
    "REGISTRY_URL": "registry.url",
    "ORCHESTRATOR_URL": "orchestrator.url",
    "ENVIRONMENT": "environment",
    "LOG_LEVEL": "log_level",
}

READ_ELSEWHERE: Final = frozenset({"UDC_DATA"})
"""`UDC_` variables that other parts read as well, or alone: never reported as unknown."""


def wanted(name: str) -> str:
    """What the setting must be; also for a part of `peers`, such as `peers.0.endpoint`."""
    if name.startswith("peers."):
        part = name.split(".")[2:]
        return _words(PeerConfig.model_fields[part[0]]) if part else "an endpoint, and an id or a name"
    return _words(FIELDS[name])


def _words(field: FieldInfo) -> str:
    found = _find_wanted((*field.metadata, field.annotation))
    return found.words if found else "something else"


def _find_wanted(parts: Iterable[Any]) -> Wanted | None:  # Any: whatever stands in an annotation
    for part in parts:
        found = part if isinstance(part, Wanted) else _find_wanted(get_args(part))
        if found:
            return found
    return None


# Greedy on purpose: a password may hold quotes and spaces, and masking too much does no harm.
_CREDENTIALS = re.compile(r"(?<=//).*(?=@)|(?<=\?).+", re.DOTALL)


def shown(name: str, value: object) -> str:
    """The value as a message may show it: secrets masked, also those inside URLs, and never long."""
    if name in FROM_FILE or isinstance(value, Secret):
        return MASK
    text = _CREDENTIALS.sub(MASK, repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean 'x'?`, or nothing."""
    import difflib

    # The parts before the last are mostly right and make everything look close, hence the high bar.
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f"; did you mean '{close[0]}'?" if close else ""
