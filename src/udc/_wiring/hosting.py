"""Makes a droplet a part of a process of our own: its port taken first, its URL known, its log lines on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from udc import _serve
from udc import config as configuration
from udc._wiring.definition import Definition
from udc._wiring.hosted import Hosted
from udc._wiring.program import tell
from udc._wiring.surroundings import Surroundings
from udc.config import DropletConfig
from udc.errors import ConfigError

_HIGHEST_PORT: Final = 65535
_FIRST_PORT: Final = 8000
"""The mesh's own ports begin here (contract section 9); a droplet's is this and its id."""


class Droplet(Protocol):
    """What is needed of a droplet."""

    def _host(self, surroundings: Surroundings | None = None) -> Hosted: ...

    def _definition(self) -> Definition: ...


def part_of(
    droplet: Droplet,
    *,
    explicit: Mapping[str, Any],  # Any: values of many types
    surroundings: Surroundings | None = None,
    or_any_port: bool = False,
    bind: Callable[[str, int], _serve.Bound] = _serve.bind,
    on_serving: Callable[[Hosted], None] = lambda _: None,
) -> _serve.Part:
    """Check its configuration, take its port.

    Args:
        explicit: settings that win over all others.
        or_any_port: take any free port when the one in the settings cannot be had.
        bind: takes a port.
        on_serving: called once it serves.

    Raises:
        ConfigError: every problem of the configuration at once, or the port cannot be had.
    """
    definition = droplet._definition()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - kept out of users' way
    around = replace(surroundings or Surroundings.of_process(), listening=True, explicit=explicit)
    loaded = configuration.load_for_start(
        explicit={**definition.explicit, **explicit},
        environ=around.environ,
        file=around.config_file,
        attributes=definition.attributes,
        identity_aliases=around.identity_aliases,
        listening=True,
        loopback=around.loopback,
    )
    config = loaded.config
    log_to_stderr(config.log_level)
    if loaded.origins["server.port"] == "default":
        port, or_any_port = _own_port(config), True
    else:
        port = config.server.port
    bound = _bound(bind, config, port, or_any_port=or_any_port)
    known = {**explicit, "server.port": bound.port, "droplet.url": config.droplet.url or bound.url}

    made: list[Hosted] = []

    def host(listen: _serve.Listen) -> Hosted:
        surrounded = replace(around, explicit=known, listen=listen)
        made.append(droplet._host(surrounded))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - likewise
        return made[-1]

    return _serve.Part(bound=bound, host=host, on_serving=lambda: on_serving(made[-1]))


def _own_port(config: DropletConfig) -> int:
    """The port of a droplet for which nobody chose one: none of the mesh's, and the same at every start."""
    port = _FIRST_PORT + (config.droplet.id or 0)
    return port if port <= _HIGHEST_PORT else 0


def _bound(
    bind: Callable[[str, int], _serve.Bound], config: DropletConfig, port: int, *, or_any_port: bool
) -> _serve.Bound:
    try:
        return bind(config.server.host, port)
    except ConfigError as error:
        if not or_any_port:
            raise
        reason = error.problems[0].removeprefix("server.port: ").partition(";")[0]
    bound = bind(config.server.host, 0)
    tell(f"udc: {reason}, so {config.droplet.name} listens on any free port: {bound.port}", to=sys.stderr)
    return bound


def log_to_stderr(level: str) -> None:
    """Set logging up, unless the program has done so."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root.addHandler(handler)
    logging.getLogger("udc").setLevel(level)


class _Lines(logging.Formatter):
    """One line for people: time, level, logger, message, and the values that came with it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        values = {name: value for name, value in vars(record).items() if name not in _USUAL}
        return super().formatMessage(record) + "".join(f" {name}={_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    """A value in one line: a stranger's trace id or path must not write lines of its own, or steer the terminal."""
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


_USUAL: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
