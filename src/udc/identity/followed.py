"""Verification keys whose address is learned, or changes, while the droplet runs (contract section 6)."""

from __future__ import annotations

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
        return self._moves *
