"""The core droplets in one process, on loopback: the mesh for development that `udc mesh` runs (contract section 6)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from udc import Droplet, _serve
from udc import config as configuration
from udc._wiring.hosting import part_of
from udc._wiring.surroundings import Surroundings
from udc.datadir import DataDirectory, MeshFile
from udc.errors import ConfigError
from udc.mesh.orchestrator import Orchestrator
from udc.mesh.registry import Registry

FIRST_PORT: Final = 8000
_LOOPBACK: Final = "127.0.0.1"
_CHOOSE: Final = "choose others with --port-base (0 = any free ones)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the core droplets listen on; 0 = any free port."""

    registry: int = FIRST_PORT
    orchestrator: int = FIRST_PORT + 1
    dashboard: int = FIRST_PORT + 2

    @classmethod
    def from_base(cls, base: int) -> Ports:
        """Three in a row; 0 = any free ones."""
        return cls(registry=base, orchestrator=base + 1, dashboard=base + 2) if base else cls(**_ANY)


_ANY: Final = {"registry": 0, "orchestrator": 0, "dashboard": 0}


class Mesh:
    """The core droplets as parts of a process. One data directory holds one running mesh.

    Args:
        data: the data directory; `None` = what the configuration says.
        ports: what they listen on; `None` = the usual ones, or any free ones in their place.
        on_ready: told where everything is, the data directory too, once all of them serve.

    Raises:
        ConfigError: the configuration cannot work, a port cannot be had, or a mesh runs there already.
    """

    def __init__(self, *, data: Path | None, ports: Ports | None, on_ready: Callable[[MeshFile, Path], None]) -> None:
        self._surroundings = replace(Surroundings.of_process(), identity_aliases=False)
        self._config = configuration.load(
            explicit={} if data is None else {"data": data},
            environ=self._surroundings.environ,
            file=self._surroundings.config_file,
            identity_aliases=False,
        ).config
        self.data: DataDirectory = DataDirectory(self._config.data.resolve())
        self._on_ready = on_ready
        self._lock = self.data.claim_mesh()
        self._file = MeshFile(pid=os.getpid())
        self.parts: list[_serve.Part] = []
        try:
            self._only_one()
            self.data.make_secret()
            self.parts.append(self._registry(ports))
            self.parts.append(self._orchestrator(ports))
        except BaseException:
            for part in self.parts:
                part.bound.close()
            self._lock.close()
            raise

    def _only_one(self) -> None:
        if self._lock.number:
            mesh = self.data.read_mesh()
            where = f" at {mesh.registry} (process {mesh.pid})" if mesh is not None else ""
            raise ConfigError([f"data: a mesh runs from {self.data.root} already{where}; use it, or another --data"])

    def _registry(self, ports: Ports | None) -> _serve.Part:
        registry = Registry(data=self.data, lease_seconds=self._config.registry.lease_seconds)
        settings = {"droplet.id": self._config.registry.id}
        return self._part(
            registry, settings, port=None if ports is None else ports.registry, on_serving=self._registry_serves
        )

    def _orchestrator(self, ports: Ports | None) -> _serve.Part:
        settings = {"droplet.id": self._config.orchestrator.id, "registry.url": None, "registry.auto_register": True}
        return self._part(
            Orchestrator(data=self.data),
            settings,
            port=None if ports is None else ports.orchestrator,
            default_port=FIRST_PORT + 1,
            on_serving=self._orchestrator_serves,
        )

    def _part(
        self,
        droplet: Droplet,
        settings: dict[str, Any],  # Any: values of many types
        *,
        port: int | None,
        default_port: int = FIRST_PORT,
        on_serving: Callable[[str], None],
    ) -> _serve.Part:
        explicit = {
            # Nothing of what the environment or the file say of "the droplet" is meant for these.
            "droplet.name": droplet.name,
            "droplet.steward": droplet.steward,
            "droplet.version": droplet.version,
            "droplet.url": None,
            "data": self.data.root,
            "server.host": _LOOPBACK,
            "server.port": default_port if port is None else port,
            **settings,
        }
        return part_of(
            droplet,
            explicit=explicit,
            surroundings=self._surroundings,
            or_any_port=port is None,
            bind=partial(_serve.bind, choose=_CHOOSE),
            on_serving=lambda hosted: on_serving(hosted.parts.facts.endpoint),
        )

    def _registry_serves(self, url: str) -> None:
        self._tell(replace(self._file, registry=url))

    def _orchestrator_serves(self, url: str) -> None:
        self._tell(replace(self._file, orchestrator=url))
        self._on_ready(self._file, self.data.root)

    def _tell(self, file: MeshFile) -> None:
        # At once, since each part finds the ones before it there.
        self._file = file
        self.data.write_mesh(file)

    def close(self) -> None:
        """The mesh is no more. May be called twice."""
        mesh = self.data.read_mesh()
        if mesh is not None and mesh.pid == self._file.pid:
            self.data.remove_mesh()
        for part in self.parts:
            part.bound.close()
        self._lock.close()
