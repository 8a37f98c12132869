"""Which mesh the commands speak to, and the secret that lets them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from udc import config as configuration
from udc._wiring.surroundings import Surroundings
from udc.cli.faults import Usage
from udc.config import DropletConfig, is_loopback
from udc.datadir import DataDirectory
from udc.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which mesh to speak to, and as whom.

    Attributes:
        data: the data directory.
        secret: what the operator enrols with; `None` = there is none.
    """

    registry: str
    config: DropletConfig
    data: DataDirectory
    secret: str | None


def find_mesh(*, registry: str | None, data: Path | None, operator: int | None) -> Place:
    """The mesh that the options, the environment, `udc_config.json` or the data directory name, in this order.

    Raises:
        ConfigError: the configuration cannot be read.
        Usage: there is none; says how to start or name one.
    """
    given = {"registry.url": registry, "data": data, "operator.id": operator}
    config = read_config({name: value for name, value in given.items() if value is not None})
    directory = DataDirectory(config.data)
    mesh = directory.read_mesh()
    local = mesh.registry if mesh is not None else None
    url = config.registry.url or local
    if url is None:
        raise Usage(
            f"no mesh in sight: no --registry, no REGISTRY_URL, and none runs from the data directory {config.data}; "
            "start one with 'udc mesh'"
        )
    return Place(
        registry=url, config=config, data=directory, secret=_secret(url, config, directory, local=url == local)
    )


def read_config(explicit: Mapping[str, Any]) -> DropletConfig:  # Any: values of many types
    """The configuration, as far as it does not mean one droplet."""
    process = Surroundings.of_process()
    return configuration.load(
        explicit=explicit, environ=process.environ, file=process.config_file, identity_aliases=False
    ).config


def _secret(url: str, config: DropletConfig, directory: DataDirectory, *, local: bool) -> str | None:
    """The mesh's own secret goes to that mesh, or at least stays on this machine."""
    if not local and config.droplet.secret is not None:
        return config.droplet.secret.reveal()
    if local or is_loopback(urlsplit(url).hostname or ""):
        try:
            return directory.secret()
        except ConfigError:
            pass
    return None
