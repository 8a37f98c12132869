"""Verification keys whose address is learned, or changes, while the droplet runs (contract section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus
from jwt import PyJWK

from udc.errors import KeysUnavailable
from udc.identity.jwks import RemoteKeys

_REVISIONS_OF_ONE: Final = 2**32


class FollowedKeys:
    """The keys of the Registry, wherever it is. Implements `KeySet`; a service.

    Moving to another address takes no keys away: the old ones serve until the first new ones are there.

    Args:
        make: the keys at an address.
        url: the address; `None` = not known yet.
        hint: what to do while it is not known.

    Raises:
        ConfigError: the address is not secure.
    """

    name = "keys"

    def __init__(self, make: Callable[[str], RemoteKeys], url: str | None = None, *, hint: str = "") -> None:
        self._make = make
        self._hint = hint
        self._keys = None if url is None else make(url)
        self._before: RemoteKeys | None = None
        self._moves = 0
        self._moved = anyio.Event()

    @property
    def revision(self) -> int:
        """Rises when the set of keys changes, also by a move."""
        return self._moves * _REVISIONS_OF_ONE + (0 if self._keys is None else self._keys.revision)

    async def key(self, kid: str | None) -> PyJWK:
        """See `KeySet.key`."""
        if self._keys is None:
            raise KeysUnavailable("this droplet has no keys to check tokens with yet", hint=self._hint)
        old = self._before if not self._keys.kids else None
        return await (self._keys if old is None else old).key(kid)

    def believed_seconds(self) -> float:
        """See `Aging`."""
        return math.inf if self._keys is None else self._keys.believed_seconds()

    def point_at(self, url: str) -> None:
        """The keys are at this address from now on.

        Raises:
            ConfigError: it is not secure; then nothing has changed.
        """
        if self._keys is not None and self._keys.url == url:
            return
        self._before, self._keys = self._keys, self._make(url)
        self._moves += 1
        self._moved.set()

    def refresh_soon(self) -> None:
        """The Registry says that its keys have changed."""
        if self._keys is not None:
            self._keys.refresh_soon()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the keys fresh until cancelled."""
        task_status.started()
        while True:
            self._moved = anyio.Event()
            async with anyio.create_task_group() as tasks:
                if self._keys is not None:
                    tasks.start_soon(self._keys.run)
                await self._moved.wait()
                tasks.cancel_scope.cancel()
