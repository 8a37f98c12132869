"""Reads a configuration: every source, in its order, with all problems told at once (contract section 9).

Explicit arguments > `UDC_` variables > aliases > `udc_config.json` > class attributes > defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from udc._frozen import dataclass
from udc.config.names import FIELDS, FROM_FILE
from udc.config.sections import DropletConfig
from udc.config.sources import (
    NOTHING,
    Findings,
    Given,
    from_arguments,
    from_attributes,
    from_environment,
    from_file,
    merged,
)
from udc.config.startup import check_start
from udc.config.validation import unknown_of_peers, validated
from udc.errors import ConfigError

FILE_NAME: Final = "udc_config.json"
"""What the file is called."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and how it came about.

    Attributes:
        config: the values.
        origins: for every setting where its value comes from, for people: "droplet.id" → "environment DROPLET_ID".
        notes: what was ignored, one line each.
    """

    config: DropletConfig
    origins: Mapping[str, str]
    notes: tuple[str, ...] = ()


def find_file(directory: Path) -> Path | None:
    """The `udc_config.json` of a directory, when there is one."""
    file = directory / FILE_NAME
    return file if file.is_file() else None


def load(
    *,
    explicit: Mapping[str, object] = NOTHING,
    environ: Mapping[str, str],
    file: Path | None,
    attributes: Mapping[str, object] = NOTHING,
    identity_aliases: bool = True,
) -> Loaded:
    """Read and check every setting by itself; what must hold between them is `require_startable`'s.

    Args:
        explicit: arguments, nested or dotted: `{"droplet": {"id": 14}}` or `{"droplet.id": 14}`.
        environ: the environment; nothing else of the process is read.
        file: a `udc_config.json`; `None` = none. A given one must be readable.
        attributes: the droplet class's own `id`, `name`, `steward`, `version`, ….
        identity_aliases: whether `DROPLET_ID` and its like count; false where several droplets are hosted.

    Raises:
        ConfigError: every problem at once, each with the value, its origin and what is wanted instead.
    """
    draft, problems, _ = _read(explicit, environ, file, attributes, identity_aliases=identity_aliases)
    if problems:
        raise ConfigError(problems)
    return draft


def load_for_start(
    *,
    explicit: Mapping[str, object] = NOTHING,
    environ: Mapping[str, str],
    file: Path | None,
    attributes: Mapping[str, object] = NOTHING,
    identity_aliases: bool = True,
    listening: bool = False,
    loopback: bool | None = None,
    own_verifier: bool = False,
) -> Loaded:
    """`load`, and the rules of `check_start`, with the problems of both listed at once.

    Args:
        explicit, environ, file, attributes, identity_aliases: as for `load`.
        listening: we run the server, so `server.host` decides what loopback is; else `droplet.url` does.
        loopback: known from elsewhere: decides alone.
        own_verifier: the droplet brings what checks tokens, so the settings need not name keys.

    Raises:
        ConfigError: every problem at once.
    """
    draft, problems, unsure = _read(explicit, environ, file, attributes, identity_aliases=identity_aliases)
    config = draft.config
    listen_host = config.server.host if listening else None
    problems += check_start(
        config,
        listen_host=listen_host,
        loopback=loopback,
        own_verifier=own_verifier,
        origins=draft.origins,
        unsure=unsure,
    )
    if problems:
        raise ConfigError(problems)
    return draft


def _read(
    explicit: Mapping[str, object],
    environ: Mapping[str, str],
    file: Path | None,
    attributes: Mapping[str, object],
    *,
    identity_aliases: bool,
) -> tuple[Loaded, list[str], frozenset[str]]:
    """What could be read, the problems, and the settings whose value there is not the one meant."""
    findings = Findings()
    layers = [
        from_arguments(explicit, findings),
        *from_environment(environ, findings, identity_aliases=identity_aliases),
        from_file(file, findings),
        from_attributes(attributes),
        {"config_dir": Given(file.parent, "default")} if file else {},
    ]
    given = merged(layers, findings)
    findings.notes += unknown_of_peers(given.get("peers"))
    config, refused, lines = validated(given)
    origins = {name: given[name].origin if name in given else "default" for name in FIELDS}
    unsure = refused | {name for name, file_name in FROM_FILE.items() if file_name in given and name not in given}
    if findings.unread:
        unsure |= {name for name, origin in origins.items() if origin == "default"}
    loaded = Loaded(config, MappingProxyType(origins), tuple(findings.notes))
    return loaded, findings.problems + lines, frozenset(unsure)
