"""`FakeRegistry`: the Registry of contract section 6, in memory, with knobs for tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from udc._types import DropletId
from udc._wiring.surroundings import Surroundings
from udc.droplet import Droplet
from udc.identity.audiences import own_audience, registry_audience
from udc.identity.verify import TokenVerifier
from udc.instrument import Event, PhaseChanged
from udc.lifecycle import Phase
from udc.surface._base import Endpoint
from udc.testing.keys import Keys
from udc.testing.registry_desk import Enrolment, Forced, RegistryCall, RegistryDesk
from udc.wire.ids import canonical_id

if TYPE_CHECKING:
    from udc._wiring.hosted import Hosted

__all__ = ["FakeRegistry"]


class FakeRegistry(Droplet):
    """A Registry that keeps everything in memory. In a `mesh` there is one already: `world.registry`.

    Serve it over real sockets with `udc.asgi.app(FakeRegistry())`. Any droplet may enrol with the `secret`.
    Leases last 30 s; it probes nobody, and reads no environment variables.

    Args:
        secret: what droplets show for a token.
        permissions: what they get, unless `enrol` says otherwise.
        token_seconds: how long tokens live.
        keys: what signs the tokens.
        config: further settings, for example `{"droplet.url": "http://127.0.0.1:8000"}`.

    Attributes:
        desk: its endpoints and the state behind them.
    """

    id: int | None = 1
    name: str = "Registry"
    steward: str = "udc-testing"
    capabilities: Sequence[str] = ("registry",)

    def __init__(
        self,
        *,
        secret: str = "test-secret",  # noqa: S107 - the well-known secret of test meshes
        permissions: Iterable[str] = ("read", "write"),
        token_seconds: int = 3600,
        keys: Keys | None = None,
        config: Mapping[str, Any] | None = None,  # Any: values of many types
    ) -> None:
        super().__init__(config=config, hooks=(self._follow,))
        self._lives = 0
        self.desk: RegistryDesk = RegistryDesk(
            secret=secret,
            keys=keys or Keys(lifetime_seconds=token_seconds),
            default=Enrolment(frozenset(permissions)),
        )
        self.endpoints: Sequence[Endpoint] = tuple(self.desk.table())

    @property
    def secret(self) -> str:
        """What droplets show for a token."""
        return self.desk.secret

    @property
    def keys(self) -> Keys:
        """What signs the tokens; forge tokens of this mesh with it."""
        return self.desk.keys

    @property
    def calls(self) -> list[RegistryCall]:
        """Every call to an endpoint of section 6, oldest first."""
        return self.desk.calls

    @property
    def is_down(self) -> bool:
        """Whether it is `down`."""
        return self.desk.is_down

    def down(self) -> None:
        """Be away: in a mesh connections are refused, over real sockets everything is 503."""
        self.desk.is_down = True
        self.desk.watch.wake()

    def up(self) -> None:
        """Be back."""
        self.desk.is_down = False

    def answer_with(self, status: int | None, *, times: int | None = None, path: str = "") -> None:
        """Answer calls with this status instead of doing anything; `None` ends that.

        Args:
            status: for example 500 or 429.
            times: for this many calls; `None` = until told otherwise.
            path: only calls whose path begins so.
        """
        self.desk.forced = None if status is None else Forced(status, times, path)

    def enrol(self, droplet_id: DropletId, *, permissions: Iterable[str], scopes: Iterable[str] | None = None) -> None:
        """Limit what a droplet's tokens allow from now on; without `scopes` it gets all that it asks for."""
        limited = None if scopes is None else frozenset(scopes)
        self.desk.enrolled[canonical_id(droplet_id)] = Enrolment(frozenset(permissions), limited)

    def rotate_keys(self, *, publish_first: bool = True, drop_old: bool = False) -> None:
        """Sign with a new key from now on.

        Args:
            publish_first: publish it before it signs, as a good Registry does; else not until `publish_keys`.
            drop_old: take the keys before it out of the JWKS, so that their tokens are refused once it is read.
        """
        self.desk.keyring.rotate(publish=publish_first, drop_old=drop_old)

    def publish_keys(self) -> None:
        """Publish the key that signs now."""
        self.desk.keyring.publish()

    def revoke(
        self, *, droplet_id: DropletId | None = None, token_id: str | None = None, before: float | None = None
    ) -> None:
        """Put one token, or a droplet's tokens from before a moment (default: now), on the deny-list.

        The Registry refuses them at once; droplets do after their next beat, at which they read the list.

        Raises:
            ValueError: neither a token nor a droplet is named.
        """
        entry = {"jti": token_id, "droplet_id": droplet_id}
        # Tokens tell whole seconds: without rounding up, those of this very second would pass.
        moment = math.floor(self.desk.ambient.wall()) + 1.0 if before is None else before
        given = {key: value for key, value in entry.items() if value is not None}
        if not given:
            raise ValueError("revoke either token_id or droplet_id")
        self.desk.revoked.append({**given, "before": moment})
        self.desk.denied.revoke(droplet_id=droplet_id, token_id=token_id, before=moment)

    def forget(self) -> None:
        """Lose all registrations, as after a restart without a disk."""
        self.desk.watch.forget()

    def _host(self, surroundings: Surroundings | None = None) -> Hosted:
        """Make ready for one life: clock and verifier are those of its surroundings."""
        around = surroundings or Surroundings(loopback=True)
        self.desk.ambient = around.ambient
        self.keys.wall = around.ambient.wall
        if self._lives:
            self.desk.watch.restarted()
        self._lives += 1
        self.desk.url = str(around.explicit.get("droplet.url", self._inside.explicit.get("droplet.url", "")))
        mesh = self.keys.audience
        own = around.explicit.get("registry.id", self._inside.explicit.get("droplet.id", self.id))
        audiences = frozenset({mesh, own_audience(mesh, own), registry_audience(mesh)})
        self.desk.verifier = self._inside.verifier = TokenVerifier(
            self.desk.keyring,
            issuer=self.keys.issuer,
            audiences=audiences,
            ambient=around.ambient,
            revocations=self.desk.denied,
        )
        apart = {name: value for name, value in around.explicit.items() if name != "registry.url"}
        return super()._host(replace(around, explicit=apart))

    def _follow(self, event: Event, /) -> None:
        if isinstance(event, PhaseChanged) and event.after is Phase.STOPPING:
            self.desk.watch.stop()  # who waits for changes would hold up the end
