"""The development mesh on this machine: found by its data directory, and lost and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

import anyio

from udc._frozen import dataclass
from udc._wiring.settings import Settings
from udc.clients._base import (
    Beat,
    BeatAnswer,
    Changes,
    Listing,
    Registered,
    Registration,
    RegistryClient,
    RevocationList,
)
from udc.clients._calls import PEER
from udc.config import is_loopback
from udc.datadir import DataDirectory, MeshFile
from udc.errors import ConfigError, PeerUnreachable, TokenError, UnknownInstance
from udc.identity._base import Token, TokenSource

NOT_IN_SIGHT: Final = "there is no mesh in sight; start one with 'udc mesh', or set registry.url"
"""What to do about it."""

_LOOK_SECONDS: Final = 1.0
_SPREAD_SECONDS: Final = 1.0
"""The droplets of one machine come back within this time: they are few, and somebody is watching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A mesh on this machine: its Registry's URL and the development secret."""

    url: str
    secret: str = field(repr=False)


class Nearby:
    """Looks into a data directory, once a second at most.

    Args:
        data: the data directory.
        on_found: told of each mesh that was not there before.

    Attributes:
        core: where the other core droplets of the mesh were when it was last looked at, by `orchestrator` and
            `dashboard`.
    """

    def __init__(self, data: DataDirectory, *, on_found: Callable[[Found], None] = lambda _: None) -> None:
        self._data = data
        self.on_found = on_found
        self._found: Found | None = None
        self._last: Found | None = None
        self._look_at = float("-inf")
        self.core: Mapping[str, str] = {}

    def look(self) -> Found | None:
        """The mesh that is there now, if there is one."""
        now = anyio.current_time()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._found = self._read()
            if self._found is not None and self._found != self._last:
                self._last = self._found
                self.on_found(self._found)
        return self._found

    def _read(self) -> Found | None:
        mesh = self._data.read_mesh()
        self.core = {} if mesh is None else _core(mesh)
        # A file is no reason to send the secret to another machine.
        if mesh is None or mesh.registry is None or not _is_here(mesh.registry):
            return None
        try:
            return Found(url=mesh.registry.rstrip("/"), secret=self._data.secret())
        except (ConfigError, OSError):
            return None


def look_out(settings: Settings) -> Nearby | None:
    """What looks for a mesh, where one may be joined unasked: no Registry is configured, and only we can reach us."""
    config = settings.config
    wanted = config.registry.url is None and config.registry.auto_register and config.droplet.id != config.registry.id
    return Nearby(DataDirectory(config.data)) if wanted and settings.loopback else None


def _core(mesh: MeshFile) -> dict[str, str]:
    found = {"orchestrator": mesh.orchestrator, "dashboard": mesh.dashboard}
    return {word: url.rstrip("/") for word, url in found.items() if url is not None and _is_here(url)}


def _is_here(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
    except ValueError:
        return False


class NearbyRegistry:
    """The Registry of whatever mesh is there. Implements `RegistryClient`.

    Args:
        make: the client of a mesh that was found.
    """

    def __init__(self, nearby: Nearby, make: Callable[[Found], RegistryClient]) -> None:
        self._nearby = nearby
        self._make = make
        self._client: RegistryClient | None = None
        self._of: Found | None = None
        self._registered_at: Found | None = None

    async def register(self, registration: Registration) -> Registered:
        """See `RegistryClient.register`."""
        client = self._now()
        of = self._of
        answer = await client.register(registration)
        self._registered_at = of
        return answer

    async def beat(self, beat: Beat) -> BeatAnswer:
        """See `RegistryClient.beat`; a mesh that has gone, or is another one, does not know us."""
        if self._nearby.look() is None or self._nearby.look() != self._registered_at:
            raise UnknownInstance(NOT_IN_SIGHT, spread_seconds=_SPREAD_SECONDS)
        return await self._now().beat(beat)

    async def deregister(self) -> None:
        """See `RegistryClient.deregister`; harmless when the mesh has gone."""
        if self._nearby.look() is not None:
            await self._now().deregister()

    async def list(self) -> Listing:
        """See `RegistryClient.list`."""
        return await self._now().list()

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """See `RegistryClient.changes`."""
        return await self._now().changes(since, wait_seconds=wait_seconds)

    async def revocations(self) -> RevocationList | None:
        """See `RegistryClient.revocations`."""
        return await self._now().revocations()

    def _now(self) -> RegistryClient:
        found = self._nearby.look()
        if found is None:
            raise PeerUnreachable(NOT_IN_SIGHT, peer=PEER)
        if self._client is None or found != self._of:
            self._client, self._of = self._make(found), found
        return self._client


class NearbyTokens:
    """Tokens of the mesh on this machine, once there is one. Implements `TokenSource`.

    Args:
        make: the tokens of a mesh that was found.
    """

    def __init__(self, nearby: Nearby, make: Callable[[Found], TokenSource]) -> None:
        self._nearby = nearby
        self._make = make

    async def fetch(self, audience: str | None) -> Token:
        """A new token.

        Raises:
            TokenError: there is no mesh, or it gives none.
        """
        found = self._nearby.look()
        if found is None:
            raise TokenError(f"no token for {audience!r}: {NOT_IN_SIGHT}")
        return await self._make(found).fetch(audience)
