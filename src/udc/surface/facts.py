"""What a droplet says of itself, and the proof of its last action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from udc._frozen import dataclass
from udc._ids import Ambient, iso_utc
from udc._types import DropletId
from udc.identity.instance_key import InstanceKey
from udc.wire.canonical import canonical_json, sha256_hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Who a running droplet is (contract section 1).

    Attributes:
        endpoint: its public base URL; "" when nobody told it.
        metadata: build facts for `/capabilities`.
    """

    id: DropletId
    name: str
    steward: str
    version: str
    endpoint: str
    instance_id: str
    started_at: float
    capabilities: tuple[str, ...] = ()
    needs: tuple[DropletId, ...] = ()
    wants: tuple[DropletId, ...] = ()
    environment: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class ProofBook:
    """Remembers the last action that changed state, and signs it when it is asked for (contract section 2).

    Signing costs about as much as handling a message, so it waits until somebody wants to see the proof.
    """

    def __init__(self, *, facts: Facts, key: InstanceKey, ambient: Ambient) -> None:
        self._facts = facts
        self._key = key
        self._ambient = ambient
        self._last: dict[str, object] | None = None
        self._signed: dict[str, object] | None = None
        self._digest = sha256_hex(canonical_json({}))

    def note(self, action: str, *, trace_id: str) -> None:
        """This action has just changed state."""
        self._last = {"action": action, "at": self._ambient.now(), "trace_id": trace_id}
        self._signed = None

    def proof(self) -> Mapping[str, object] | None:
        """The signed body of `/proof`; `None` when nothing has been done yet."""
        if self._last is not None and self._signed is None:
            self._signed = self._sign(self._last)
            self._digest = sha256_hex(canonical_json(self._signed))
        return self._signed

    def digest(self) -> str:
        """The sha256 of the canonical body of `/proof`; of `{}` when there is none."""
        self.proof()
        return self._digest

    def _sign(self, last: Mapping[str, object]) -> dict[str, object]:
        body: dict[str, object] = {
            "action": last["action"],
            "timestamp": iso_utc(last["at"]),  # type: ignore[arg-type]  # a datetime, put there by `note`
            "trace_id": last["trace_id"],
            "droplet_id": self._facts.id,
            "instance_id": self._facts.instance_id,
        }
        return {**body, "signature": self._key.sign(canonical_json(body))}
