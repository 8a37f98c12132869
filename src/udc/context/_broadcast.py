"""What came of a broadcast: an answer or an error per droplet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from udc._frozen import dataclass
from udc._types import UNSET, DropletId
from udc.context._order import Order
from udc.context._verb import as_asked
from udc.errors import DeliveryError, InvalidReply, TokenError
from udc.messages import Reply

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast(Generic[T]):
    """The results of a broadcast, by droplet id; each id is in `replies` or in `errors`.

    Attributes:
        trace_id: the trace of all its messages.
        replies: the receipts of those who took it.
        data: what they answered with, as `returns=` asked for.
        errors: how the others failed.
    """

    trace_id: str
    replies: Mapping[DropletId, Reply]
    data: Mapping[DropletId, T]
    errors: Mapping[DropletId, DeliveryError | TokenError]


def gathered(
    order: Order, results: Mapping[DropletId, Reply | DeliveryError | TokenError], returns: object
) -> Broadcast[Any]:  # Any: typed by the overloads of `Context.broadcast`
    """Sort the results, and validate the answers unless `returns` is `UNSET`."""
    replies: dict[DropletId, Reply] = {}
    data: dict[DropletId, Any] = {}  # Any: as above
    errors: dict[DropletId, DeliveryError | TokenError] = {}
    for target, result in results.items():
        if not isinstance(result, Reply):
            errors[target] = result
            continue
        try:
            data[target] = result.data if returns is UNSET else as_asked(result, returns, target, order.action or "")
            replies[target] = result
        except InvalidReply as error:
            errors[target] = error
    return Broadcast(trace_id=order.lineage.trace_id, replies=replies, data=data, errors=errors)
