"""What surrounds a droplet while it is served: clock, configuration sources, network, process."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from udc import config as configuration
from udc._database import OpenDatabase, open_database
from udc._frozen import dataclass
from udc._http import HttpClient
from udc._ids import Ambient, system
from udc.identity._base import Tokens
from udc.instrument import Hook
from udc.transports._base import Transport

MakeTransports = Callable[[HttpClient, Tokens, configuration.DropletConfig], Mapping[str, Transport]]
"""Makes the transports by URL scheme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a droplet meets when it is served. A test brings its own.

    Attributes:
        environ: environment variables.
        config_file: the `udc_config.json` to read.
        explicit: settings that win over all others, those of the droplet's constructor included.
        identity_aliases: whether `DROPLET_ID` and its like count; false where several droplets are hosted.
        listening: we run the server, so `server.host` tells where the droplet listens.
        listen: opens the server's port; called when the start hooks are done.
        loopback: known from elsewhere (a mesh in memory); decides alone.
        make_client: makes the HTTP client.
        make_transports: makes the transports; `None` = HTTP only.
        threads: sync handlers run in threads; false in virtual time, whose clock leaps while a thread works.
        sample_process: measure CPU and memory; false in virtual time.
        disk: the droplet may keep its own state in the data directory.
        open_database: opens the files of that state.
        exit_process: ends the process at once.
        hooks: take every event beside the droplet's own hooks.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    config_file: Path | None = None
    explicit: Mapping[str, Any] = field(default_factory=dict)  # Any: values of many types
    ambient: Ambient = field(default_factory=system)
    identity_aliases: bool = True
    listening: bool = False
    listen: Callable[[], Awaitable[None]] | None = None
    loopback: bool | None = None
    make_client: Callable[[], HttpClient] = HttpClient
    make_transports: MakeTransports | None = None
    threads: bool = True
    sample_process: bool = True
    disk: bool = False
    open_database: OpenDatabase = open_database
    exit_process: Callable[[], None] = field(default=lambda: os._exit(1))
    hooks: Sequence[Hook] = ()

    @classmethod
    def of_process(cls, *, identity_aliases: bool = True) -> Surroundings:
        """The process's own environment and working directory."""
        file = configuration.find_file(Path.cwd())
        return cls(environ=dict(os.environ), config_file=file, disk=True, identity_aliases=identity_aliases)
