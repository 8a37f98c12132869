"""One way to call a peer for its data, and what every call takes beside its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from pydantic import ValidationError

from udc._types import UNSET, DropletId
from udc.dispatch.values import adapter_of, fit, problems
from udc.errors import InvalidReply
from udc.messages import MessageType, Priority, Reply

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # pydantic brings it; only type checkers read it

    from udc.context._context import Context

T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """What every outgoing call takes beside its content.

    Attributes:
        timeout_seconds: limit of the whole call with its retries (default: the messenger's, 10 s); an
            inherited deadline that ends earlier counts.
        retries: how often to try again (default: the retry policy's).
        priority: `high`, `normal` or `low`.
        message_id: its identity for de-duplication (default: a fresh one).
    """

    timeout_seconds: float | None
    retries: int | None
    priority: Priority | Literal["high", "normal", "low"]
    message_id: str | None


class Verb:
    """One way to call a peer for its data: `ctx.query`, `ctx.command`, `ctx.event`, `ctx.status`."""

    __slots__ = ("_context", "_message_type")

    def __init__(self, context: Context, message_type: MessageType) -> None:
        self._context = context
        self._message_type = message_type

    @overload
    async def __call__(
        self,
        target: DropletId,
        action: str,
        data: object = None,
        *,
        returns: TypeForm[T],
        **options: Unpack[CallOptions],
    ) -> T: ...

    @overload
    async def __call__(
        self,
        target: DropletId,
        action: str,
        data: object = None,
        **options: Unpack[CallOptions],
    ) -> Any: ...  # Any: without `returns=` only the caller knows what the peer sends

    async def __call__(
        self,
        target: DropletId,
        action: str,
        data: object = None,
        *,
        returns: object = UNSET,
        **options: Unpack[CallOptions],
    ) -> Any:  # Any: see the overloads
        """Call a peer and return the data it answers with.

        On cancel the call is given up; the peer may have worked on it.

        Args:
            target: the peer's id or name.
            action: what is asked of it.
            data: the handler's data there: whatever can be made JSON, pydantic models and dataclasses included.
            returns: the type to validate the answer against, and the type returned; `int | None` will do.
            options: see `CallOptions`.

        Raises:
            DeliveryError: the call did not succeed: `PeerError`, `PeerUnreachable`, `CallTimeout`, ….
            InvalidReply: the answer is not what `returns` asks for.
            HopLimit: the trace has been through 16 droplets.
        """
        reply = await self._context.call(target, action, data, message_type=self._message_type, **options)
        return reply.data if returns is UNSET else as_asked(reply, returns, target, action)


def as_asked(reply: Reply, returns: object, target: DropletId, action: str) -> Any:  # Any: typed by Verb's overloads
    """The reply's data as the type that the caller asked for.

    Raises:
        InvalidReply: it is something else.
    """
    return fitted(reply.data, returns, target, asked=repr(action), by=reply.peer.label)


def fitted(
    data: object, returns: object, target: DropletId, *, asked: str, by: str
) -> Any:  # Any: typed by the callers' overloads
    """What a peer answered with, as the type that the caller asked for.

    Raises:
        InvalidReply: it is something else.
    """
    try:
        return fit(adapter_of(returns), data)
    except ValidationError as error:
        first = problems(error)[0]
        name = getattr(returns, "__name__", None) or str(returns)
        raise InvalidReply(
            f"{by} answered {asked} with something other than {name}: {first['field']}: {first['message']}",
            peer=target,
        ) from error
