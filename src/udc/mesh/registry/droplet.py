"""The Registry as a droplet: its parts put together for one life."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from udc import Droplet, every
from udc._clock import loop_clock
from udc._types import DropletId
from udc.datadir import DataDirectory
from udc.errors import LifecycleError
from udc.identity._base import Token
from udc.identity.audiences import RESERVED_NAME
from udc.identity.claims import Principal
from udc.identity.keys import SigningKey
from udc.instrument import Event, PhaseChanged
from udc.mesh.registry.credentials import ALL_PERMISSIONS, checked_secret, digest
from udc.mesh.registry.mint import LIFETIME_SECONDS
from udc.mesh.registry.parts import Parts
from udc.mesh.registry.store import Enrolment, SqliteStore, Store
from udc.surface._base import Endpoint

if TYPE_CHECKING:
    from udc._wiring.definition import Premises

_SECRET_BYTES: Final = 32
_SWEEP_SECONDS: Final = 0.5


class Registry(Droplet):
    """Droplet 1: who is in the mesh, and the tokens that say so (contract section 6).

    Where it is bound to loopback it is a development mesh: any droplet may enrol with the development secret. Beyond
    that only those that `enrol` was called for, each with its own secret.

    Args:
        data: where registrations, keys and the development secret are kept; `None` = in memory only.
        store: keeps the registrations, open as long as the Registry runs; by default a SQLite file in `data`.
        secret: the development secret; by default the one in `data`, made when missing.
        signing_keys: to begin with where none are kept yet; by default they are made, which takes a second.
        lease_seconds: how long a droplet of our own kind lives without a beat, of which it sends three in that time;
            by default 9, and 30 from 50 droplets on. Droplets beat every 0.5 s at most, so less than 1.5 loses them.
        token_seconds: how long tokens live; they are renewed after 40 to 50 % of that.
        config: as for every droplet.

    Raises:
        ValueError: a time that is not more than 0, or a token's life of more than an hour.
    """

    id: int | None = 1
    name: str = "Registry"
    steward: str = "udc"
    version: str = "1.0"
    capabilities: Sequence[str] = ("registry", "tokens", "discovery")

    def __init__(
        self,
        data: DataDirectory | None = None,
        *,
        store: Store | None = None,
        secret: str | None = None,
        signing_keys: Sequence[SigningKey] = (),
        lease_seconds: float | None = None,
        token_seconds: int = LIFETIME_SECONDS,
        config: dict[str, Any] | None = None,  # Any: values of many types
    ) -> None:
        if lease_seconds is not None and not lease_seconds > 0:  # also refuses NaN
            raise ValueError(f"lease_seconds must be more than 0, not {lease_seconds}")
        if not 0 < token_seconds <= LIFETIME_SECONDS:
            raise ValueError(f"token_seconds must be from 1 to {LIFETIME_SECONDS}, not {token_seconds}")
        super().__init__(
            # Its own record needs no registering, wherever the settings may say that a Registry is.
            config={"registry.auto_register": False, **(config or {})},
            hooks=(self._follow,),
            verifier=_OwnVerifier(lambda: self._running),
            token_source=_OwnTokens(lambda: self._running),
        )
        self._data, self._store = data, store
        self._secret = None if secret is None else checked_secret(secret)
        self._signing_keys = tuple(signing_keys)
        self._lease_seconds, self._token_seconds = lease_seconds, token_seconds
        self._parts: Parts | None = None

    @property
    def secret(self) -> str:
        """The development secret.

        Raises:
            ConfigError: it lies in a data directory that holds none yet.
        """
        if self._secret is None:
            if self._data is not None:
                return self._data.secret()
            self._secret = secrets.token_urlsafe(_SECRET_BYTES)
        return self._secret

    async def enrol(
        self,
        droplet_id: DropletId,
        *,
        permissions: Sequence[str] = ("read", "write"),
        scopes: Sequence[str] = (),
        secret: str | None = None,
    ) -> str:
        """Let a droplet join with a secret of its own; returns that, which is not kept and cannot be asked for again.

        Enrolling it again replaces its secret and rights.

        Raises:
            ValueError: a permission that is none, or a name that no droplet may have.
            ConfigError: the secret is too short or cannot stand in a header.
            LifecycleError: the Registry is not running.
        """
        if droplet_id == RESERVED_NAME:
            raise ValueError(f"no droplet may be called {RESERVED_NAME!r}")
        if not ALL_PERMISSIONS.issuperset(permissions):
            raise ValueError(f"permissions are some of {', '.join(sorted(ALL_PERMISSIONS))}")
        chosen = checked_secret(secret or secrets.token_urlsafe(_SECRET_BYTES))
        enrolment = Enrolment(
            droplet_id=droplet_id,
            secret_hash=digest(chosen),
            permissions=frozenset(permissions),
            scopes=frozenset(scopes),
        )
        await self._running.enrol(enrolment)
        return chosen

    async def withdraw(self, droplet_id: DropletId) -> bool:
        """Take an enrolment back, revoke the droplet's tokens and end its registrations; whether it was enrolled.

        Raises:
            LifecycleError: the Registry is not running.
        """
        return await self._running.withdraw(droplet_id)

    async def rotate_keys(self, *, at_once: bool = False, leaked: bool = False) -> None:
        """Sign with the next key from now on; the old one stays trusted until its tokens have ended.

        Args:
            at_once: though not everybody may know the next key yet.
            leaked: make all keys anew and trust none of the old ones; every token of before is refused, here at
                once, by droplets after their next beat. They get new ones by themselves.

        Raises:
            Conflict: the next key was published less than ten minutes ago.
            LifecycleError: the Registry is not running.
        """
        await self._running.rotate_keys(at_once=at_once, leaked=leaked)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Opens keys and store."""
        parts = self._running
        await parts.open_keys()
        async with _opened(self._store, self._data, threads=parts.premises.threads) as store:
            await parts.begin(store)
            yield

    @every(seconds=_SWEEP_SECONDS)
    async def _sweep(self) -> None:
        await self._running.register.sweep()
        await self._running.tidy_keys()

    def _udc_settle(self, premises: Premises) -> Sequence[Endpoint]:
        if self._data is not None and self._secret is None and premises.loopback:
            self._data.make_secret()
        self._parts = Parts(
            premises,
            data=self._data,
            secret=self.secret if premises.loopback else None,
            signing_keys=self._signing_keys,
            clock=loop_clock(),
            lease_seconds=self._lease_seconds,
            token_seconds=self._token_seconds,
        )
        return self._parts.table()

    def _follow(self, event: Event, /) -> None:
        if isinstance(event, PhaseChanged) and self._parts is not None:
            self._parts.note_phase(event.after)

    @property
    def _running(self) -> Parts:
        if self._parts is None:
            raise LifecycleError("the Registry is not running")
        return self._parts


class _OwnVerifier:
    """Checks tokens with the Registry's own keys."""

    needs_token: Final = True

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def verify(self, token: str) -> Principal:
        """See `Verifier.verify`."""
        return await self._parts().verifier.verify(token)


class _OwnTokens:
    """Makes the Registry's own tokens, for calls to peers."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def fetch(self, audience: str | None) -> Token:
        """See `TokenSource.fetch`."""
        return self._parts().own_token(audience)


@asynccontextmanager
async def _opened(store: Store | None, data: DataDirectory | None, *, threads: bool) -> AsyncGenerator[Store]:
    if store is not None:
        yield store
        return
    path = None if data is None else data.directory() / "registry.db"
    async with SqliteStore.open(path, threads=threads) as opened:
        yield opened
