"""The shapes of the decorators, so that type checkers see the decorated function unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from udc._types import Access

if TYPE_CHECKING:
    from typing import Unpack

    from udc.dispatch.declare import HandlerOptions
    from udc.surface._query import QueryParameter

F = TypeVar("F", bound=Callable[..., Any])  # Any: handlers have the signature their author likes


class ActionDecorator(Protocol):
    """What declares the handler of an action."""

    def __call__(self, action: str, /, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """The decorator."""
        ...


class MarkDecorator(Protocol):
    """What is written without brackets."""

    def __call__(self, function: F, /) -> F:
        """The function, noted."""
        ...


class EveryDecorator(Protocol):
    """What declares a job; see `JobSpec`."""

    def __call__(
        self,
        *,
        seconds: float,
        first_after_seconds: float | None = None,
        jitter: float = 0.1,
        timeout_seconds: float | None = None,
    ) -> Callable[[F], F]:
        """The decorator."""
        ...


class EndpointDecorator(Protocol):
    """What declares an endpoint; see `EndpointSpec`."""

    def __call__(
        self,
        method: str,
        path: str,
        access: Access,
        *,
        scope: str | None = None,
        summary: str = "",
        request_model: Any = None,  # Any: whatever pydantic takes as a type
        response_model: Any = None,  # Any: likewise
        query: Sequence[QueryParameter] = (),
    ) -> Callable[[F], F]:
        """The decorator."""
        ...
