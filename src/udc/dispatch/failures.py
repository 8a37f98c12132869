"""The border of the droplet's own code: what a handler may raise as an answer, and what becomes of all else."""

from __future__ import annotations

import logging
from typing import Final, cast

from udc.context import Context
from udc.dispatch.table import Handler
from udc.errors import ContractError, DeliveryError, InternalError, TokenError
from udc.instrument import HandlerFailed, Instrument

_log = logging.getLogger("udc.dispatch")

ANSWERS: Final = (ContractError, DeliveryError, TokenError)
"""What a handler may raise, and its caller is told."""


MAX_TOLD: Final = 256
"""How much of an action's name is told: more than any handler's."""


class Failures:
    """Makes answers of what handlers raise; logs what is none."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument

    def of(self, handler: Handler, ctx: Context, error: Exception) -> Exception:
        """What the caller of the handler gets instead: an answer as it is, anything else without a word of it."""
        answer = _lone(error)
        if isinstance(answer, ANSWERS):
            return answer
        what = f"{handler.kind} {told(handler, ctx.message.action)!r}"
        _log.error(
            "a handler failed",
            exc_info=error,
            extra={"handler": handler.name, "place": handler.plan.place, "trace_id": ctx.trace_id},
        )
        self._instrument.emit(
            HandlerFailed(
                message_type=handler.kind,
                action=told(handler, ctx.message.action),
                trace_id=ctx.trace_id,
                error=type(answer).__name__,
            )
        )
        return InternalError(f"the handler of {what} failed")


def code_of(failure: Exception) -> str:
    """The error code by which such an answer is counted."""
    return failure.code if isinstance(failure, ContractError) else "DEPENDENCY_UNAVAILABLE"


def told(handler: Handler, action: str | None) -> str:
    """The action's name as it is told, kept and counted. A catch-all takes any text, which may be as long as a body."""
    return (action or handler.action)[:MAX_TOLD]


def _lone(error: Exception) -> Exception:
    """What a task group raised when only one thing went wrong in it."""
    lone: Exception = error
    while isinstance(lone, ExceptionGroup):
        inner = cast("ExceptionGroup[Exception]", lone).exceptions
        if len(inner) != 1:
            return error
        lone = inner[0]
    return lone
