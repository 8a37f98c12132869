"""Who may prove with which secret to be whom, and what that allows (contract section 6, "Development mesh")."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from udc._types import DropletId
from udc.errors import ConfigError
from udc.mesh.registry.store import Enrolment

ALL_PERMISSIONS: Final = frozenset({"read", "write", "admin"})
MIN_SECRET_CHARS: Final = 24
"""Shorter secrets can be guessed; a hash that is quick to compute does not protect them."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a droplet may have in its tokens; `scopes` is `None` where it gets every scope that it asks for."""

    permissions: frozenset[str]
    scopes: frozenset[str] | None


_DEVELOPMENT: Final = Rights(ALL_PERMISSIONS, None)


def digest(secret: str) -> bytes:
    """What is kept of a secret. Plain SHA-256 is enough, and quick: secrets are long and random."""
    return hashlib.sha256(secret.encode()).digest()


class Credentials:
    """The secrets that are accepted. Holds their hashes only.

    Args:
        development: the development secret, with which any id may enrol where the caller is on loopback.
    """

    def __init__(self, development: str | None) -> None:
        self._development = digest(development) if development else None
        self._enrolled: dict[DropletId, Enrolment] = {}
        self._by_hash: dict[bytes, DropletId] = {}

    def take(self, enrolments: Iterable[Enrolment]) -> None:
        """Accept these too; a newer one of a droplet takes the older one's place."""
        for each in enrolments:
            self.drop(each.droplet_id)
            self._enrolled[each.droplet_id] = each
            self._by_hash[each.secret_hash] = each.droplet_id

    def drop(self, droplet_id: DropletId) -> None:
        """Accept this droplet's secret no more."""
        old = self._enrolled.pop(droplet_id, None)
        if old is not None and self._by_hash.get(old.secret_hash) == droplet_id:
            del self._by_hash[old.secret_hash]

    def knows(self, droplet_id: DropletId) -> bool:
        """Whether the id is enrolled by name."""
        return droplet_id in self._enrolled

    def proves(self, droplet_id: DropletId, secret: str, *, development: bool) -> Rights | None:
        """What the secret gives that droplet; `None` = it proves nothing. Takes the same time whatever is wrong.

        A droplet that is enrolled has its own secret and its own rights, in a development mesh too.

        Args:
            droplet_id: who says it is.
            secret: what it shows.
            development: the caller is where the development secret counts.
        """
        shown = digest(secret)
        enrolled = self._enrolled.get(droplet_id)
        own = hmac.compare_digest(shown, enrolled.secret_hash if enrolled is not None else bytes(len(shown)))
        shared = hmac.compare_digest(shown, self._development or bytes(len(shown)))
        if enrolled is not None:
            return Rights(enrolled.permissions, enrolled.scopes) if own else None
        return _DEVELOPMENT if shared and development and self._development is not None else None

    def owner(self, secret: str, *, development: bool) -> tuple[DropletId | None, Rights] | None:
        """Whose secret it is, for callers that show nothing else. The development secret is nobody's."""
        # Looked up by its hash, of which nothing can be learned byte by byte.
        droplet_id = self._by_hash.get(digest(secret))
        if droplet_id is not None:
            enrolled = self._enrolled[droplet_id]
            return droplet_id, Rights(enrolled.permissions, enrolled.scopes)
        rights = self.proves("", secret, development=development)
        return None if rights is None else (None, rights)

    def rights_of(self, droplet_id: DropletId, *, development: bool) -> Rights | None:
        """What the droplet may have now, proved already; `None` = nothing any more."""
        enrolled = self._enrolled.get(droplet_id)
        if enrolled is not None:
            return Rights(enrolled.permissions, enrolled.scopes)
        return _DEVELOPMENT if development and self._development is not None else None


def checked_secret(secret: str) -> str:
    """The secret, when it is long enough and can stand in a header.

    Raises:
        ConfigError: it is or does not; never tells it.
    """
    if len(secret) < MIN_SECRET_CHARS or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError([f"a droplet secret has at least {MIN_SECRET_CHARS} characters, printable ASCII, no spaces"])
    return secret
