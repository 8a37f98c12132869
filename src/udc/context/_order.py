"""What goes out: an order or an errand, what it is part of, and the seams that send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from udc._frozen import dataclass
from udc._types import UNSET, DropletId, JsonObject
from udc.errors import DeliveryError, TokenError
from udc.messages import MessageType, Priority, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where an outgoing message comes from.

    Attributes:
        trace_id: shared by every message that one first message caused.
        hops: how many droplets the trace has been through, this one included.
        deadline: when the work it belongs to must be done, by `anyio.current_time()`; `None` = no end set.
        on_behalf_of: for whom the work is done, when that is not the sender.
    """

    trace_id: str
    hops: int = 0
    deadline: float | None = None
    on_behalf_of: DropletId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An outgoing message as its sender asks for it; the messenger makes the `Message`.

    Attributes:
        action, data: written by the contract's rule (section 3), unless `payload` is given.
        payload: the whole payload, sent verbatim.
        timeout_seconds: limit of the whole call with its retries; the lineage's deadline counts as well.
        retries: how often to try again; `None` = the policy's number.
        message_id: its identity for de-duplication; `None` = a fresh one.
    """

    target: DropletId
    message_type: MessageType
    lineage: Lineage
    action: str | None = None
    data: Any = None  # Any: whatever can be made JSON
    payload: JsonObject | None = None
    timeout_seconds: float | None = None
    retries: int | None = None
    priority: Priority = Priority.NORMAL
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A request to one of a peer's own HTTP endpoints, as its sender asks for it.

    Attributes:
        method: upper case.
        path: from the peer's root, with the query.
        body: to be made JSON; `UNSET` = none.
        instance_id: this instance and no other; `None` = whichever takes it.
        timeout_seconds: limit of the whole; the lineage's deadline counts as well.
    """

    target: DropletId
    method: str
    path: str
    lineage: Lineage
    body: object = UNSET
    instance_id: str | None = None
    timeout_seconds: float | None = None


class Courier(Protocol):
    """Runs errands to peers' own endpoints."""

    async def run(self, errand: Errand) -> Any:  # Any: a JSON value
        """Send the request with our token, and return the JSON that a success was answered with.

        On cancel it is given up; the peer may have worked on it.

        Raises:
            DeliveryError, TokenError: it did not succeed; the subclass says whether it may have run.
        """
        ...


class Sender(Protocol):
    """Sends messages: the messenger, or a test's stand-in."""

    async def send(self, order: Order) -> Reply:
        """Deliver the order and return the peer's receipt.

        On cancel the call is given up; the peer may have worked on it.

        Raises:
            DeliveryError: it did not succeed; the subclass says whether it may have run.
        """
        ...


class Spreader(Sender, Protocol):
    """A sender that also knows everybody."""

    async def spread(
        self, order: Order, *, capability: str | None
    ) -> Mapping[DropletId, Reply | DeliveryError | TokenError]:
        """Deliver the order once to each droplet id that is known (with `capability`: that offers it), but to us.

        `order.target` only names the audience. Each id has its receipt, or how its delivery failed. All share
        the order's deadline. On cancel the deliveries under way are given up.
        """
        ...
