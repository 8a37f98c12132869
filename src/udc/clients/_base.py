"""The seam between a droplet and its Registry, whatever style that speaks (contract section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, Protocol

from udc._frozen import dataclass
from udc._types import DropletId, JsonObject
from udc.wire.canonical import canonical_json, sha256_hex

Presence = Literal["unregistered", "registered", "lost"]
"""How a droplet stands with its Registry: never registered, holding a lease, or out of touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a droplet tells of itself when it registers.

    Attributes:
        body: the contract's registration body, `status` and `phase` included.
    """

    body: Mapping[str, Any]  # Any: JSON values

    @property
    def record_hash(self) -> str:
        """The first 16 hex digits of the sha256 over the body without `status` and `phase`."""
        lasting = {key: value for key, value in self.body.items() if key not in ("status", "phase")}
        return sha256_hex(canonical_json(lasting))[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The Registry's answer to a registration; `None` where its style tells nothing.

    Attributes:
        token: of the Registry's own audience, for calls that change the Registry.
        expires_in, lease_ttl_seconds, beat_every_seconds: seconds.
    """

    token: str | None = field(default=None, repr=False)
    expires_in: float | None = None
    lease_ttl_seconds: float | None = None
    beat_every_seconds: float | None = None
    jwks_uri: str | None = None
    issuer: str | None = None
    keys_revision: str | None = None
    revocations_revision: str | None = None
    record: JsonObject = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One heartbeat."""

    droplet_id: DropletId
    instance_id: str
    status: str
    phase: str
    record_hash: str
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatAnswer:
    """The Registry's answer to a beat; `None` where its style tells nothing.

    Attributes:
        send_record: its record of us is out of date: register again.
        token, expires_in: a renewed token of the Registry's audience.
    """

    beat_every_seconds: float | None = None
    lease_ttl_seconds: float | None = None
    revision: str | None = None
    keys_revision: str | None = None
    revocations_revision: str | None = None
    send_record: bool = False
    token: str | None = field(default=None, repr=False)
    expires_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All droplets a Registry knows.

    Attributes:
        revision: where a watch goes on from; `None` where the style has no watch.
        warming: the Registry has just started and may not know everybody yet.
    """

    records: Sequence[JsonObject]
    revision: str | None = None
    warming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One record put or removed."""

    op: Literal["put", "remove"]
    record: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed since a revision; with `snapshot` the changes are all there is."""

    revision: str
    changes: Sequence[Change]
    snapshot: bool = False
    warming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """One entry of the deny-list: a token, or a droplet's tokens from before a moment.

    Attributes:
        token_id: the token's `jti`.
        before: seconds since the epoch; goes with `droplet_id`.
    """

    droplet_id: DropletId | None = None
    token_id: str | None = None
    before: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """The tokens that a Registry has revoked; `revision` is what beats tell of it.

    Attributes:
        unread: how many entries could not be understood.
    """

    revision: str | None
    revoked: Sequence[Revoked]
    unread: int = 0


class RegistryClient(Protocol):
    """Calls to one Registry. Each call is tried once; the caller's cancel scope is the time limit."""

    async def register(self, registration: Registration) -> Registered:
        """Register, or register again.

        Raises:
            RegistryRefused: it says no; the text says why, and what to do.
            DeliveryError: it could not be reached, or failed.
        """
        ...

    async def beat(self, beat: Beat) -> BeatAnswer:
        """Renew the lease.

        Raises:
            UnknownInstance: register again, after up to `spread_seconds`.
            InstanceRetired: a newer instance has taken our place.
            RegistryRefused, DeliveryError: as for `register`.
        """
        ...

    async def deregister(self) -> None:
        """Leave. Harmless when we are not registered. Raises as `register` does."""
        ...

    async def list(self) -> Listing:
        """All droplets. Raises as `register` does."""
        ...

    async def changes(self, since: str, *, wait_seconds: float) -> Changes | None:
        """What changed since a revision, waiting for it up to `wait_seconds`; `None` where the style has no watch.

        Raises as `register` does.
        """
        ...

    async def revocations(self) -> RevocationList | None:
        """The tokens that are revoked; `None` where the style has no such list. Raises as `register` does."""
        ...
