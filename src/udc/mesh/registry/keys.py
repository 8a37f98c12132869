"""The keys that sign the mesh's tokens: the one in use, the next one published before its first use, the past ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic_core import to_json

from udc.datadir import DataDirectory
from udc.errors import ConfigError, Conflict
from udc.identity.keys import SigningKey
from udc.identity.own_keys import OwnKeys
from udc.wire.canonical import sha256_hex

PUBLISHED_SECONDS: Final = 600.0
"""How long a key is published before it signs: twice as long as droplets keep a key set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingState:
    """Which keys there are.

    Attributes:
        published_at: when `following` was first published, seconds since the epoch.
        past: keys that sign no more, each with the end of its last token.
    """

    current: SigningKey
    following: SigningKey
    published_at: float
    past: tuple[tuple[SigningKey, float], ...] = ()


class Keeping(Protocol):
    """Where the keys are kept."""

    def load(self) -> RingState | None:
        """The keys; `None` when none have been kept yet."""
        ...

    def save(self, state: RingState) -> None:
        """Keep these, whole or not at all."""
        ...


class KeyFiles:
    """Keeps keys as PEM files of mode 0600, and which is which in `keys/registry.json`. Blocks."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._index = data.key("registry").with_suffix(".json")

    def load(self) -> RingState | None:
        """See `Keeping.load`.

        Raises:
            ConfigError: a key file is missing or damaged.
        """
        try:
            index: dict[str, Any] = json.loads(self._index.read_bytes())  # Any: JSON values
            return RingState(
                current=self._read(index["current"]),
                following=self._read(index["next"]),
                published_at=float(index["published_at"]),
                past=tuple((self._read(kid), float(until)) for kid, until in index["past"]),
            )
        except FileNotFoundError as error:
            if error.filename == str(self._index):
                return None
            raise ConfigError(
                [f"{error.filename}: missing; restore it, or remove {self._index} to begin anew"]
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError([f"{self._index}: damaged; restore it, or remove it to begin anew"]) from error

    def save(self, state: RingState) -> None:
        """See `Keeping.save`: the index comes last, and names only files that are there."""
        for key in (state.current, state.following):
            path = self._path(key.kid)
            if not path.exists():
                self._data.write_private(path, key.private_pem)
        index = {
            "current": state.current.kid,
            "next": state.following.kid,
            "published_at": state.published_at,
            "past": [[key.kid, until] for key, until in state.past],
        }
        named = {state.current.kid, state.following.kid, *(key.kid for key, _ in state.past)}
        self._data.write_private(self._index, json.dumps(index))
        for path in self._index.parent.glob("registry-*.pem"):
            if path not in {self._path(kid) for kid in named}:
                path.unlink()

    def _path(self, kid: str) -> Path:
        return self._data.key(f"registry-{kid}")

    def _read(self, kid: str) -> SigningKey:
        return SigningKey.from_pem(self._path(kid).read_bytes(), kid=kid)


class Unkept:
    """Keeps nothing: for Registries in memory."""

    def load(self) -> RingState | None:
        """Nothing."""
        return None

    def save(self, state: RingState) -> None:
        """Nothing."""


class KeyRing:
    """Signs with the current key and publishes all that count.

    Args:
        keeping: where the keys are kept.
        make: makes a fresh key; slow.
        wall: seconds since the epoch.
        token_seconds: how long a past key's tokens may still live.
        given: keys to begin with where none are kept.
    """

    def __init__(
        self,
        keeping: Keeping,
        *,
        wall: Callable[[], float],
        token_seconds: float,
        make: Callable[[], SigningKey] = SigningKey.generate,
        given: Sequence[SigningKey] = (),
    ) -> None:
        self._keeping, self._make, self._wall, self._token_seconds = keeping, make, wall, token_seconds
        self._given = list(given)
        self._state: RingState | None = None
        self.trusted: OwnKeys = OwnKeys()
        self.jwks: bytes = b""
        self.revision: str = ""

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._now.current

    @property
    def _now(self) -> RingState:
        if self._state is None:
            raise ConfigError(["the Registry's keys are not open yet"])
        return self._state

    def open(self) -> None:
        """Load the keys, or make the first ones. Blocks.

        Raises:
            ConfigError: they are damaged.
        """
        state = self._keeping.load()
        if state is None:
            state = RingState(current=self._fresh(), following=self._fresh(), published_at=self._wall())
            self._keeping.save(state)
        self._use(state)

    @property
    def outlived(self) -> bool:
        """Whether a past key is still published though all its tokens have ended."""
        return any(until <= self._wall() for _, until in self._now.past)

    def tidy(self) -> None:
        """Trust those past keys no more, and forget them. Blocks."""
        now, state = self._wall(), self._now
        left = replace(state, past=tuple((key, until) for key, until in state.past if until > now))
        self._keeping.save(left)
        self._use(left)

    def rotate(self, *, at_once: bool = False, leaked: bool = False) -> None:
        """Sign with the next key from now on, and publish a fresh next one. Blocks.

        Args:
            at_once: though the next key was published so lately that not everybody may know it.
            leaked: trust none of the keys of before any more, the next one included, for they lie side by side; their
                tokens end with them. Always at once.

        Raises:
            Conflict: it was published too lately.
        """
        now, state = self._wall(), self._now
        if leaked:
            begun = RingState(current=self._fresh(), following=self._fresh(), published_at=now)
            self._keeping.save(begun)
            self._use(begun)
            return
        if not at_once and now < state.published_at + PUBLISHED_SECONDS:
            raise Conflict("the next key was published too lately for everybody to know it", hint="wait 10 minutes")
        past = [(key, until) for key, until in state.past if until > now]
        past.append((state.current, now + self._token_seconds))
        rotated = RingState(current=state.following, following=self._fresh(), published_at=now, past=tuple(past))
        self._keeping.save(rotated)
        self._use(rotated)

    def _fresh(self) -> SigningKey:
        return self._given.pop(0) if self._given else self._make()

    def _use(self, state: RingState) -> None:
        self._state = state
        past = [key for key, until in state.past if until > self._wall()]
        keys = [state.current, state.following, *past]
        self.trusted.replace(keys)
        published = [{**key.jwk(), "pem": key.public_pem} for key in keys]
        self.jwks = to_json({"keys": published, "public_key": state.current.public_pem})
        self.revision = sha256_hex(" ".join(key.kid for key in keys).encode())[:16]
