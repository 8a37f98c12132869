"""`POST /message`: from the body to the receipt (contract section 3)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final, Protocol

from pydantic_core import to_json

from udc._ids import Ambient, Stamps
from udc._types import DropletId
from udc.dispatch.dedup import Ledger
from udc.dispatch.run import Outcome
from udc.errors import DeadlineExceeded, Forbidden, HopLimit, InvalidRequest, NotFound, UnsupportedMediaType
from udc.identity.claims import Principal
from udc.instrument import DuplicateSuppressed, Instrument
from udc.messages import MAX_HOPS, Message, MessageType
from udc.models import MessageBody, ReceiptBody
from udc.surface._base import Endpoint, HttpRequest, HttpResponse, answered
from udc.wire.envelope import decode_message
from udc.wire.ids import same_droplet
from udc.wire.receipts import encode_receipt

_REMEMBERED: Final = frozenset({MessageType.COMMAND, MessageType.EVENT})
_QUERY: Final = MessageType.QUERY
_ANSWERS: Final = frozenset({MessageType.RESPONSE, MessageType.ERROR})
_in_order: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode
_NOT_HANDLED: Final = Outcome(result="success", handled=False, data=b"null")


class Dispatches(Protocol):
    """What runs a message: the dispatcher."""

    async def dispatch(self, message: Message, principal: Principal) -> Outcome:
        """Run the handler that takes it."""
        ...


TypeForAction = Callable[[str | None], MessageType | None]
"""The message type of the only handler of an action, for messages that name none."""

Reserved = Callable[[Message, Principal], Awaitable[object]]
"""Handles one of the contract's reserved command actions; its value is the receipt's data."""


def require_json(request: HttpRequest) -> None:
    """Refuse a body that says it is something other than plain JSON; saying nothing is fine.

    Raises:
        UnsupportedMediaType: it is.
    """
    coding = request.headers.get("content-encoding")
    if coding is not None and coding.strip().lower() not in ("identity", ""):
        raise packed(coding)  # some servers unpack bodies and some do not: nobody shall depend on it
    media_type = request.headers.get("content-type", "application/json")
    if media_type == "application/json":
        return
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(f"the body is {media_type[:64]!r}, wanted 'application/json'")


def packed(coding: str) -> UnsupportedMediaType:
    """The refusal of a body that is compressed."""
    return UnsupportedMediaType(f"the body is packed as {coding[:64]!r}; send it as it is")


class Messages:
    """The endpoint's handler.

    Args:
        me: this droplet's id.
        name: its name; a message addressed to the name is for it too.
        check_accepts: raises while the droplet takes no new work.
        reserved: the contract's own command actions, answered in every phase.
    """

    def __init__(
        self,
        dispatcher: Dispatches,
        *,
        type_for_action: TypeForAction,
        me: DropletId,
        name: str,
        ledger: Ledger,
        check_accepts: Callable[[], None],
        reserved: dict[str, Reserved],
        instrument: Instrument,
        ambient: Ambient,
    ) -> None:
        self._dispatcher = dispatcher
        self._type_for_action = type_for_action
        self._me = me
        self._name = name
        self._ledger = ledger
        self._check_accepts = check_accepts
        self._reserved = reserved
        self._instrument = instrument
        self._ambient = ambient
        self._stamps = Stamps(ambient.wall)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Read, check, run once, and write the receipt."""
        require_json(request)
        principal = request.caller
        message = decode_message(
            request.body, me=self._me, ambient=self._ambient, type_for_action=self._type_for_action
        )
        request.trace_id = message.trace_id
        message = self._admitted(message, principal)
        if message.message_type is _QUERY:  # nothing to remember, nothing reserved
            self._check_accepts()
            outcome, duplicate = await self._dispatcher.dispatch(message, principal), False
        else:
            outcome, duplicate = await self._run(message, principal)
        receipt = encode_receipt(
            message.trace_id,
            self._stamps.now(),
            outcome.result,
            outcome.handled,
            outcome.data,
            message.message_id,
            duplicate,
        )
        return answered(receipt, request.standing)

    def table(self) -> list[Endpoint]:
        """The row of this endpoint; it is answered in every phase, because cancels are."""
        return [
            Endpoint(
                method="POST",
                path="/message",
                access="write",
                handler=self,
                summary="Take one message",
                always=True,
                request_model=MessageBody,
                response_model=ReceiptBody,
            )
        ]

    def _admitted(self, message: Message, principal: Principal) -> Message:
        """The message with its verified source, when it may be handled here."""
        source = _verified_source(message, principal)
        if message.target is not None and not self._is_me(message.target):
            raise NotFound(
                f"this is droplet {self._me}, not {message.target!r}",
                details={"target": message.target},
                hint="look the target up at the Registry again",
            )
        if message.hops > MAX_HOPS:
            raise HopLimit(f"hops is {message.hops}, at most {MAX_HOPS} are allowed", details={"hops": message.hops})
        late = message.deadline is not None and message.deadline <= self._ambient.now()
        if late or (message.timeout_ms is not None and message.timeout_ms <= 0):
            raise DeadlineExceeded("the deadline had passed when the message arrived; nothing ran")
        if message.source == source and message.target == self._me:
            return message  # the usual case; a copy of a frozen value costs more than all these checks
        return replace(message, source=source, target=self._me)

    def _is_me(self, target: DropletId) -> bool:
        return target in (self._me, self._name) or same_droplet(target, self._me)

    async def _run(self, message: Message, principal: Principal) -> tuple[Outcome, bool]:
        if message.message_type in _ANSWERS:
            return _NOT_HANDLED, False
        if message.message_type is MessageType.COMMAND and message.action in self._reserved:
            value = await self._reserved[message.action](message, principal)
            return Outcome(result="success", handled=True, data=to_json(value)), False
        self._check_accepts()
        if message.message_id is None or message.source is None or message.message_type not in _REMEMBERED:
            return await self._dispatcher.dispatch(message, principal), False
        outcome, duplicate = await self._ledger.once(
            (message.source, message.message_id),
            fingerprint(message),
            lambda: self._dispatcher.dispatch(message, principal),
        )
        if duplicate:
            self._instrument.emit(
                DuplicateSuppressed(source=message.source, message_id=message.message_id, trace_id=message.trace_id)
            )
        return outcome, duplicate


def fingerprint(message: Message) -> bytes:
    """What must be the same in two messages with one id; a hash, because it is kept, on disk as well.

    The order of keys is no part of it: whoever repeats a message may have made its JSON anew.
    """
    return sha256(f"{message.message_type}{_in_order(message.payload)}".encode("ascii")).digest()


def _verified_source(message: Message, principal: Principal) -> DropletId | None:
    """The source, which must be the token's (contract section 3).

    Raises:
        Forbidden: it says it is somebody else.
    """
    if principal.anonymous:
        return message.source
    proved = principal.droplet_id if principal.droplet_id is not None else principal.subject
    if message.source is not None and message.source != proved and not same_droplet(message.source, proved):
        raise Forbidden(
            f"source is {message.source!r}, but the token is of {proved!r}",
            details={"field": "source", "source": message.source},
            hint="send your own id as source, or leave it out",
        )
    return proved


def read_string(data: object, name: str) -> str:
    """A required string of a reserved command's payload.

    Raises:
        InvalidRequest: it is missing or no string.
    """
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str) or not value:
        raise InvalidRequest.field(f"payload.{name}", "must be a non-empty string")
    return value
