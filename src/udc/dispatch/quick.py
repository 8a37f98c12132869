"""Handlers that nothing stands in front of, for those who answer the usual message in one step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from udc.dispatch.declare import CATCH_ALL
from udc.dispatch.failures import told
from udc.dispatch.plan import CallPlan
from udc.dispatch.table import Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """A handler that nothing stands in front of: a coroutine function for one action, without scope or middleware.

    Attributes:
        limit_seconds, limit_ms: how long it may take.
    """

    call: Callable[..., Awaitable[Any]]  # Any: whatever it returns
    plan: CallPlan
    action: str
    limit_seconds: float
    limit_ms: float
    handler: Handler


def quick_handlers(handlers: Iterable[Handler], timeout_seconds: float) -> Mapping[str, Quick]:
    """Those of the handlers that are such, by action.

    Args:
        timeout_seconds: for those that name no time of their own.
    """
    return {each.action: _quick(each, timeout_seconds) for each in handlers if _is_quick(each)}


def _is_quick(handler: Handler) -> bool:
    return handler.awaits and handler.scope is None and handler.action != CATCH_ALL


def _quick(handler: Handler, timeout_seconds: float) -> Quick:
    own = handler.timeout_seconds
    limit = timeout_seconds if own is None else own
    return Quick(
        call=handler.call,
        plan=handler.plan,
        action=told(handler, None),
        limit_seconds=limit,
        limit_ms=1000 * limit,
        handler=handler,
    )
