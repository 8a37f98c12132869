"""What can be observed: frozen events."""

from __future__ import annotations

from typing import Final

from udc._drafts import draft_of
from udc._frozen import dataclass
from udc._types import DropletId
from udc.lifecycle import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a droplet."""


# It has no field to protect, and what it lays around those of all events would be in the way of their drafts.
delattr(Event, "__setattr__")
delattr(Event, "__delattr__")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChanged(Event):
    """The droplet went from one phase to another."""

    before: Phase
    after: Phase
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswered(Event):
    """An HTTP request has its answer; `route` is the path template, or "" for an unknown path."""

    method: str
    route: str
    status: int
    seconds: float
    trace_id: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHandled(Event):
    """A message, task or chat ran through its handler; `error_code` tells how it failed, if it did."""

    message_type: str
    action: str
    source: DropletId | None
    seconds: float
    trace_id: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFailed(Event):
    """A handler raised something that is not an answer; the log has the traceback."""

    message_type: str
    action: str
    trace_id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSuppressed(Event):
    """A message that had been done before got its old receipt again."""

    source: DropletId | None
    message_id: str
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEvicted(Event):
    """De-duplication forgot a receipt before its window was over, for want of room."""

    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAttempted(Event):
    """One attempt to deliver a message; `error` is the failure's class name, `None` for success."""

    peer: str
    message_type: str
    action: str | None
    attempt: int
    seconds: float
    trace_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFinished(Event):
    """A call to a peer ended, after all its attempts; `peer_id` is known when one was made."""

    peer: str
    message_type: str
    action: str | None
    attempts: int
    seconds: float
    trace_id: str
    error: str | None = None
    peer_id: DropletId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersChanged(Event):
    """The Registry told of droplets that came, changed or went; `known` is how many there are now."""

    added: tuple[DropletId, ...]
    changed: tuple[DropletId, ...]
    removed: tuple[DropletId, ...]
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryStale(Event):
    """The Registry cannot be asked any more; calls go to the peers that are known, for as long as it takes."""

    error: str
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryFresh(Event):
    """The Registry answers again, after `stale_seconds`."""

    stale_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDoubted(Event):
    """The Registry said that there is nobody, without saying why; the `known` peers are kept."""

    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFailed(Event):
    """A file of the droplet's own state could not be read or written; it goes on in memory.

    Attributes:
        what: which state: `receipts`, `tasks`, `peers` or `data directory`.
        error: what failed.
        moved_to: where the file was put aside, when it could not be read.
    """

    what: str
    error: str
    moved_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRecovered(Event):
    """State is written to disk again."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRenewed(Event):
    """A new token was fetched for an audience."""

    audience: str | None
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFailed(Event):
    """No new token could be had; the old one is used as long as it lives."""

    audience: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFetched(Event):
    """The verification keys were fetched anew."""

    kids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFailed(Event):
    """The verification keys could not be fetched; the last good ones stay in use."""

    error: str
    have_keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationsFetched(Event):
    """The Registry's list of revoked tokens was read anew; `entries` are those that are refused now."""

    revision: str | None
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationsFailed(Event):
    """The list of revoked tokens could not be read; what is known stays refused."""

    error: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationFailed(Event):
    """A guarded path was called without a valid token."""

    client: str | None
    route: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCrashed(Event):
    """A background service raised; it starts again after `restart_in_seconds`."""

    service: str
    error: str
    restart_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecovered(Event):
    """A background service that had crashed is up again."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceChanged(Event):
    """How the droplet stands with its Registry changed: `unregistered`, `registered` or `lost`."""

    before: str
    after: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAccepted(Event):
    """The Registry has taken our record; the seconds are those it named, if it did."""

    beat_every_seconds: float | None
    lease_ttl_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationFailed(Event):
    """The Registry has not taken our record, or cannot be asked yet; tried again after `retry_in_seconds`."""

    error: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatFailed(Event):
    """A heartbeat did not succeed; the loop goes on after `retry_in_seconds`."""

    error: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFailed(Event):
    """The Orchestrator was not told how the droplet does; the next report comes after `retry_in_seconds`."""

    error: str
    retry_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeregistrationFailed(Event):
    """The Registry was not told that the droplet leaves; its lease will run out instead."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMoved(Event):
    """A task given to this droplet changed its state.

    Attributes:
        state: `accepted`, `completed`, `failed`, `cancelled`; `interrupted` when an earlier life did not end it.
    """

    task_id: str
    state: str
    attempt: int
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReported(Event):
    """The Orchestrator has heard how a task ended (or will never take it); `kind` is the message's type."""

    task_id: str
    kind: str
    attempt: int
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReloaded(Event):
    """Configuration values changed while the droplet ran."""

    changed: tuple[str, ...]


_RequestDraft: Final = draft_of(RequestAnswered)
_MessageDraft: Final = draft_of(MessageHandled)


def request_answered(
    method: str, route: str, status: int, seconds: float, trace_id: str, error_code: str | None
) -> RequestAnswered:
    """A `RequestAnswered`, at a third of its constructor's price: there is one with every request."""
    draft = _RequestDraft()
    draft.method = method
    draft.route = route
    draft.status = status
    draft.seconds = seconds
    draft.trace_id = trace_id
    draft.error_code = error_code
    draft.__class__ = RequestAnswered
    made: RequestAnswered = draft
    return made


def message_handled(
    message_type: str,
    action: str,
    source: DropletId | None,
    seconds: float,
    trace_id: str,
    error_code: str | None,
) -> MessageHandled:
    """A `MessageHandled`, likewise."""
    draft = _MessageDraft()
    draft.message_type = message_type
    draft.action = action
    draft.source = source
    draft.seconds = seconds
    draft.trace_id = trace_id
    draft.error_code = error_code
    draft.__class__ = MessageHandled
    made: MessageHandled = draft
    return made
