"""The keys that tokens are checked with: fixed ones, or a JWKS fetched and kept fresh (contract section 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import anyio
from anyio.abc import TaskGroup, TaskStatus
from jwt import PyJWK

from udc._ids import Ambient
from udc.errors import ConfigError, KeysUnavailable, UdcError, Unauthorized
from udc.identity import _jwk
from udc.identity._flight import Flight
from udc.identity.keys import ALGORITHM
from udc.identity.origin import require_secure
from udc.instrument import Instrument, KeysFailed, KeysFetched

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)
_BACKOFF_SECONDS: Final = 0.5
_BACKOFF_CAP_SECONDS: Final = 30.0
# Without any key nothing can be answered, so the pause between attempts stays short.
_BACKOFF_CAP_WITHOUT_KEYS_SECONDS: Final = 5.0


class KeySet(Protocol):
    """The keys of one issuer."""

    @property
    def revision(self) -> int:
        """Rises whenever the set of keys changes, so that what was verified with the old ones can be forgotten."""
        ...

    async def key(self, kid: str | None) -> PyJWK:
        """The key of that name; `None` = the token names none, which is enough only when there is one key.

        Does not suspend for a key that is at hand.

        Raises:
            Unauthorized: there is no such key.
            KeysUnavailable: there are no keys at all yet.
        """
        ...


@runtime_checkable
class Aging(Protocol):
    """A key set that somebody has to ask now and then, or it grows old."""

    def believed_seconds(self) -> float:
        """How long what is verified now may go unasked; infinite while the set is kept fresh by itself."""
        ...


class FixedKeys:
    """Keys from the configuration.

    One PEM key without a name answers for every `kid`, since nothing tells what its issuer calls it. Of several,
    each is known by its name (a mapping's key, or `kid` in a JWKS) or its RFC 7638 thumbprint.

    Args:
        keys: one or several public keys in PEM, one after another or as a sequence; or a mapping from `kid` to PEM;
            or the text of a JWKS document (RFC 7517).
        algorithms: what the keys may be used with.

    Raises:
        ConfigError: no public key, or one that is unfit.
    """

    def __init__(
        self,
        keys: str | bytes | Sequence[str | bytes] | Mapping[str, str | bytes],
        algorithms: Sequence[str] = (ALGORITHM,),
    ) -> None:
        self.revision: Final = 0
        self._keys, named = _read_fixed(keys, _jwk.pinned(algorithms))
        if not self._keys:
            raise ConfigError(["security.public_key is empty; give at least one public key"])
        self._only = next(iter(self._keys.values())) if len(self._keys) == 1 else None
        self._any_kid = self._only is not None and not named

    async def key(self, kid: str | None) -> PyJWK:
        """See `KeySet.key`; never suspends."""
        found = self._only if kid is None or self._any_kid else self._keys.get(kid)
        if found is None:
            raise _unknown(kid)
        return found

    def __repr__(self) -> str:
        return f"FixedKeys(kids={sorted(self._keys)!r})"


class RemoteKeys:
    """A JWKS kept in memory: fetched at start and every `ttl_seconds`, and anew for a `kid` never seen.

    An outage never takes good keys away; keys that a newer set lacks are out of use. Only `run`, or a caller while
    `run` is not going, fetches; there is one fetch at a time.

    Args:
        url: of the JWKS document; https, loopback, or a host in `insecure_hosts`.
        fetch: gets its body without following redirects; may raise anything.
        ttl_seconds: age at which the set is fetched again (spread by ±10 %).
        cooldown_seconds: an unknown `kid` causes at most one fetch in this time.
        wait_seconds: how long a request waits for keys.
        fetch_timeout_seconds: how long one fetch may take.

    Raises:
        ConfigError: the URL is not secure, or an algorithm cannot be pinned.
    """

    def __init__(
        self,
        url: str,
        *,
        fetch: Callable[[str], Awaitable[bytes]],
        ambient: Ambient,
        instrument: Instrument,
        algorithms: Sequence[str] = (ALGORITHM,),
        insecure_hosts: frozenset[str] = frozenset(),
        ttl_seconds: float = 300.0,
        cooldown_seconds: float = 30.0,
        wait_seconds: float = 2.0,
        fetch_timeout_seconds: float = 10.0,
    ) -> None:
        require_secure(url, insecure_hosts)
        self.url = url
        self._algorithms = _jwk.pinned(algorithms)
        self._fetch, self._ambient, self._instrument = fetch, ambient, instrument
        self._ttl, self._cooldown = ttl_seconds, cooldown_seconds
        self._wait, self._fetch_timeout = wait_seconds, fetch_timeout_seconds
        self._keys: dict[str, PyJWK] = {}
        self.revision: int = 0
        self._failures = 0
        self._due_at = -math.inf
        self._kid_fetch_at = -math.inf
        self._flight = Flight(self._attempt)
        self._group: TaskGroup | None = None
        self._asked = False
        self._wake: anyio.Event | None = None

    @property
    def kids(self) -> tuple[str, ...]:
        """The names of the keys in use."""
        return tuple(self._keys)

    async def start(self) -> None:
        """Make the first fetch, or wait for the one that goes; returns without keys when it fails."""
        await self._flight.join(self._group)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the set fresh until cancelled. A service: for the runtime's task group, once at a time."""
        async with anyio.create_task_group() as group:
            self._group = group
            task_status.started()
            try:
                while True:
                    await self._sleep_until_due()
                    await self._flight.join(group)
            finally:
                self._group = self._wake = None

    def refresh_soon(self) -> None:
        """Have `run` fetch now: for a Registry's word that its keys changed (`keys_revision`)."""
        # Kept beside the event, which between two waits nobody holds: the word must not get lost then.
        self._asked = True
        if self._wake is not None:
            self._wake.set()

    async def key(self, kid: str | None) -> PyJWK:
        """See `KeySet.key`; waits at most `wait_seconds` for a fetch. A cancelled caller disturbs no other."""
        found = self._find(kid)
        # Without `run` nobody else refreshes, so the caller who finds the set too old does.
        old = self._group is None and anyio.current_time() >= self._due_at
        if found is not None and not old:
            return found
        with anyio.move_on_after(self._wait):
            await (self._await_keys() if old or not self._keys else self._look_for(kid))
        found = self._find(kid)
        if found is not None:
            return found
        if not self._keys:
            pause = self._due_at - anyio.current_time()
            raise KeysUnavailable(retry_after_seconds=float(max(1, math.ceil(pause) if math.isfinite(pause) else 1)))
        raise _unknown(kid)

    def believed_seconds(self) -> float:
        """See `Aging`: without `run`, until the set is due."""
        return math.inf if self._group is not None else max(0.0, self._due_at - anyio.current_time())

    def _find(self, kid: str | None) -> PyJWK | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _await_keys(self) -> None:
        """Until a fetch that is due or running has ended, and there are keys."""
        while not self._keys or anyio.current_time() >= self._due_at:
            if self._flight.running or anyio.current_time() >= self._due_at:
                await self._flight.join(self._group)
            else:
                await anyio.sleep_until(self._due_at)

    async def _look_for(self, kid: str | None) -> None:
        """One fetch for the sake of a `kid` never seen, or the one that runs; none while cooling down."""
        if kid is None:
            return
        if not self._flight.running:
            # Anybody can make up a kid: this is what keeps made-up ones from flooding the JWKS host.
            if anyio.current_time() < self._kid_fetch_at + self._cooldown:
                return
            self._kid_fetch_at = anyio.current_time()
        await self._flight.join(self._group)

    async def _sleep_until_due(self) -> None:
        while not self._asked and (left := self._due_at - anyio.current_time()) > 0:
            self._wake = anyio.Event()
            with anyio.move_on_after(left):
                await self._wake.wait()

    async def _attempt(self) -> None:
        self._asked = False
        # Said beforehand: a fetch that dies with its caller must not be begun anew by each of the next.
        self._due_at = anyio.current_time() + self._pause()
        try:
            with anyio.fail_after(self._fetch_timeout):
                body = await self._fetch(self.url)
            keys = _jwk.read_set(body, self._algorithms)
        except Exception as exc:  # noqa: BLE001 - a border: whatever the fetch raises, the good keys stay
            self._note_failure(exc)
        else:
            self._take(keys)

    def _take(self, keys: dict[str, PyJWK]) -> None:
        if _identities(keys) != _identities(self._keys):
            self.revision += 1
            self._keys = keys
        self._failures = 0
        self._due_at = anyio.current_time() + self._ttl * (0.9 + 0.2 * self._ambient.chance())
        self._instrument.emit(KeysFetched(kids=tuple(keys)))

    def _note_failure(self, exc: Exception) -> None:
        self._due_at = anyio.current_time() + self._pause()
        self._failures += 1
        # Texts of strangers' exceptions may hold anything; ours are made to be read.
        known = isinstance(exc, UdcError | _jwk.UnreadableKeySet)
        error = f"{type(exc).__name__}: {exc}" if known else type(exc).__name__
        self._instrument.emit(KeysFailed(error=error, have_keys=bool(self._keys)))

    def _pause(self) -> float:
        cap = _BACKOFF_CAP_SECONDS if self._keys else _BACKOFF_CAP_WITHOUT_KEYS_SECONDS
        # Half of it is chance, so that a mesh does not return in one second; never zero, so that it is no loop.
        return min(cap, _BACKOFF_SECONDS * 2.0 ** min(self._failures, 10)) * (0.5 + 0.5 * self._ambient.chance())

    def __repr__(self) -> str:
        return f"RemoteKeys({self.url!r}, kids={list(self._keys)!r})"


def _read_fixed(
    keys: str | bytes | Sequence[str | bytes] | Mapping[str, str | bytes], algorithms: tuple[str, ...]
) -> tuple[dict[str, PyJWK], bool]:
    """The keys by name, and whether somebody gave them their names."""
    if isinstance(keys, Mapping):
        return {kid: _jwk.from_pem(pem, algorithms, kid=kid) for kid, pem in keys.items()}, True
    parts = [keys] if isinstance(keys, str | bytes) else list(keys)
    texts = [part.encode() if isinstance(part, str) else part for part in parts]
    if len(texts) == 1 and texts[0].lstrip().startswith(b"{"):
        try:
            return _jwk.read_set(texts[0], algorithms), True
        except _jwk.UnreadableKeySet as exc:
            raise ConfigError([f"security.public_key: {exc}"]) from None
    # Text without a PEM block is handed on whole, so that the error is about it.
    blocks = [block for text in texts for block in _PEM_BLOCK.findall(text) or [text]]
    found = [_jwk.from_pem(block, algorithms) for block in blocks]
    return {_jwk.name_of(key): key for key in found}, False


def _identities(keys: Mapping[str, PyJWK]) -> dict[str, tuple[str, str]]:
    """What makes a set of keys the same set: names, algorithms and material."""
    return {kid: (key.algorithm_name, repr(sorted(_jwk.members(key).items()))) for kid, key in keys.items()}


def _unknown(kid: str | None) -> Unauthorized:
    if kid is None:
        return Unauthorized("the token names no key (kid), and there are several")
    return Unauthorized("the token is signed with a key that is not known here")
