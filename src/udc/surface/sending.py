"""`POST /send`: a message sent on behalf of the caller (contract section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from udc import models
from udc._ids import Ambient
from udc.context import Lineage, Order, Sender
from udc.directory import is_url
from udc.errors import DeliveryError, InvalidRequest, NotFound, PeerError, TokenError, UnknownPeer
from udc.messages import MessageType
from udc.surface._base import Endpoint, HttpRequest
from udc.surface.messages import require_json
from udc.wire.faults import answer_for
from udc.wire.ids import canonical_id

SCOPE = "udc:send"


class Sending:
    """The endpoint's handler."""

    def __init__(self, sender: Sender, *, ambient: Ambient) -> None:
        self._sender = sender
        self._ambient = ambient

    async def __call__(self, request: HttpRequest) -> models.SendResult:
        """Send, and tell how it went; a failed delivery is an answer, not an error."""
        require_json(request)
        asked = models.read(models.SendRequest, request.body)
        if is_url(asked.target):
            raise InvalidRequest.field("target", "must be an id or a name, not a URL")
        order = self._order(asked, request)
        request.trace_id = order.lineage.trace_id
        try:
            reply = await self._sender.send(order)
        except UnknownPeer as error:
            raise NotFound(error.message, details={"target": asked.target}) from None
        except (DeliveryError, TokenError) as error:
            return self._result(order, sent=False, result="error", error=error_object(error))
        return self._result(order, sent=True, result=reply.result, data=reply.data)

    def _order(self, asked: models.SendRequest, request: HttpRequest) -> Order:
        caller = request.caller
        return Order(
            target=canonical_id(asked.target, field="target"),
            message_type=MessageType(asked.message_type),
            payload=asked.payload,
            lineage=Lineage(
                trace_id=self._ambient.new_id(),
                on_behalf_of=caller.droplet_id if caller.droplet_id is not None else caller.subject,
            ),
            retries=asked.retry_count,
            priority=asked.priority,
        )

    def _result(self, order: Order, **facts: Any) -> models.SendResult:  # Any: fields of the model
        return models.SendResult(
            trace_id=order.lineage.trace_id, target=order.target, timestamp=self._ambient.now(), **facts
        )

    def table(self) -> list[Endpoint]:
        """The row of this endpoint."""
        return [
            Endpoint(
                method="POST",
                path="/send",
                access="admin",
                scope=SCOPE,
                handler=self,
                summary="Send a message to a peer",
                request_model=models.SendRequest,
                response_model=models.SendResult,
            )
        ]


def error_object(error: DeliveryError | TokenError) -> Mapping[str, Any]:  # Any: JSON values
    """The peer's error object; for a peer that gave none, what we know of the failure."""
    if isinstance(error, PeerError):
        return {
            "code": error.code,
            "message": error.message,
            "details": dict(error.details),
            "retryable": error.retryable,
            "status": error.status,
        }
    fault = answer_for(error)
    return {"code": fault.code, "message": fault.message, "details": {}, "retryable": False}
