"""Declaring what a droplet does: `@query("quota")` and its siblings, in a class, on a droplet, or in a module.

A decorated function stays what it was, callable as before; the declaration is noted beside it and read when
the handler table is collected.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeVar, Unpack, cast, get_args

from udc._types import Access
from udc.dispatch.decorators import ActionDecorator, EndpointDecorator, EveryDecorator, MarkDecorator
from udc.errors import DefinitionError
from udc.surface._query import QueryParameter

__all__ = [
    "CATCH_ALL",
    "RESERVED_COMMANDS",
    "Declaration",
    "EndpointSpec",
    "HandlerOptions",
    "HandlerSpec",
    "Handlers",
    "HookKind",
    "HookSpec",
    "JobSpec",
    "Kind",
    "On",
    "Spec",
    "chat",
    "command",
    "declared_on",
    "endpoint",
    "event",
    "every",
    "inside",
    "on_ready",
    "on_start",
    "on_stop",
    "place_of",
    "query",
    "readable",
    "status",
    "task",
]

Kind: TypeAlias = Literal["query", "command", "event", "status", "task", "chat"]
"""What a handler takes: a message type, a task, or chat."""

HookKind: TypeAlias = Literal["start", "ready", "stop"]
"""When a hook runs."""

CATCH_ALL: Final = "*"
"""As an action: whatever has no handler of its own."""

RESERVED_COMMANDS: Final = frozenset({"cancel_task", "cancel_trace"})
"""Command actions that the droplet answers itself (contract section 3)."""

AnyFunction: TypeAlias = Callable[..., Any]  # Any: handlers have the signature their author likes
F = TypeVar("F", bound=AnyFunction)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSpec:
    """A handler as declared; `None` = not said, the table's default counts."""

    kind: Kind
    action: str
    scope: str | None = None
    idempotent: bool | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as declared.

    Attributes:
        seconds: from the end of one run to the start of the next.
        first_after_seconds: from ready to the first run; `None` = `seconds`.
        jitter: share of the pause by which it varies, so that droplets started together spread out.
        timeout_seconds: limit of one run; `None` = none.
    """

    seconds: float
    first_after_seconds: float | None = None
    jitter: float = 0.1
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """A hook as declared."""

    kind: HookKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """An endpoint as declared; see `udc.surface.Endpoint`."""

    method: str
    path: str
    access: Access
    scope: str | None = None
    summary: str = ""
    request_model: Any = None  # Any: whatever pydantic takes as a type
    response_model: Any = None  # Any: likewise
    query: tuple[QueryParameter, ...] = ()


Spec: TypeAlias = HandlerSpec | JobSpec | HookSpec | EndpointSpec
"""Whatever can be declared."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A function and what it was declared to be."""

    function: AnyFunction
    spec: Spec


class HandlerOptions(TypedDict, total=False):
    """What every handler declaration takes beside its action.

    Attributes:
        scope: the caller's token must carry it (or the permission `admin`).
        idempotent: running it twice does no harm; queries and statuses say yes unless told otherwise.
        timeout_seconds: limit of one run; the caller's deadline counts if it is earlier.
    """

    scope: str | None
    idempotent: bool | None
    timeout_seconds: float | None


class Handlers:
    """Declarations outside a class, for a droplet whose handlers lie in several modules.

        handlers = Handlers()

        @handlers.query("quota")
        async def quota(steward: str, ctx: Context) -> int: ...

        droplet.on.include(handlers)

    Its methods are the decorators of this module. `droplet.on` is one too: what it is given goes straight
    into the droplet's table.

    Args:
        take: gets each declaration; without it they are kept in `declarations`.
    """

    __slots__ = ("_take", "declarations")

    def __init__(self, *, take: Callable[[Declaration], None] | None = None) -> None:
        self.declarations: list[Declaration] = []
        self._take = take or self.declarations.append

    def include(self, other: Handlers) -> None:
        """Take over what `other` has been given up to now."""
        for declaration in tuple(other.declarations):
            self._take(declaration)

    def query(self, action: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Declare the handler of a query; `"*"` takes every query that has no handler of its own.

        Raises:
            DefinitionError: the action or an option cannot work.
        """
        return self._handler("query", action, **options)

    def command(self, action: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Declare the handler of a command; `"*"` takes the rest. Raises as `query` does.

        `cancel_task` and `cancel_trace` are the droplet's own.
        """
        return self._handler("command", action, **options)

    def event(self, action: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Declare the handler of an event; `"*"` takes the rest. Raises as `query` does."""
        return self._handler("event", action, **options)

    def status(self, action: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Declare the handler of a status message; `"*"` takes the rest. Raises as `query` does."""
        return self._handler("status", action, **options)

    def task(self, name: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
        """Declare the handler of a task that the Orchestrator assigns. Raises as `query` does.

        Without `timeout_seconds` only the task's own deadline ends it.
        """
        return self._handler("task", name, **options)

    def chat(self, function: F) -> F:
        """Declare the one chat handler (`POST /handle-chat`): `@chat`, without brackets."""
        return self._noted(function, HandlerSpec(kind="chat", action=CATCH_ALL))

    def every(
        self,
        *,
        seconds: float,
        first_after_seconds: float | None = None,
        jitter: float = 0.1,
        timeout_seconds: float | None = None,
    ) -> Callable[[F], F]:
        """Declare a job: run again and again while the droplet is ready; see `JobSpec`.

        Raises:
            DefinitionError: a number is out of range.
        """
        _positive("every(seconds=…)", seconds)
        _positive("timeout_seconds", timeout_seconds)
        if first_after_seconds is not None and not 0 <= first_after_seconds < math.inf:
            raise DefinitionError(f"first_after_seconds is {first_after_seconds}; give 0 or more")
        if not 0 <= jitter <= 1:
            raise DefinitionError(f"jitter is {jitter}; give a share between 0 and 1")
        spec = JobSpec(
            seconds=seconds, first_after_seconds=first_after_seconds, jitter=jitter, timeout_seconds=timeout_seconds
        )
        return lambda function: self._noted(function, spec)

    def on_start(self, function: F) -> F:
        """Declare a hook that runs before the droplet listens: `@on_start`, without brackets."""
        return self._noted(function, HookSpec(kind="start"))

    def on_ready(self, function: F) -> F:
        """Declare a hook that runs once the droplet is ready: `@on_ready`, without brackets."""
        return self._noted(function, HookSpec(kind="ready"))

    def on_stop(self, function: F) -> F:
        """Declare a hook that runs when the droplet stops: `@on_stop`, without brackets."""
        return self._noted(function, HookSpec(kind="stop"))

    def endpoint(
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
        """Declare an HTTP endpoint of the droplet's own; the function takes the `HttpRequest`.

        Raises:
            DefinitionError: the path or the access cannot work.
        """
        if not path.startswith("/"):
            raise DefinitionError(f"endpoint path {path!r} does not start with '/': write {'/' + path!r}")
        if access not in get_args(Access):
            known = ", ".join(map(repr, get_args(Access)))
            raise DefinitionError(f"endpoint {method.upper()} {path} has access {access!r}; give one of {known}")
        spec = EndpointSpec(
            method=method.upper(),
            path=path,
            access=access,
            scope=scope,
            summary=summary,
            request_model=request_model,
            response_model=response_model,
            query=tuple(query),
        )
        return lambda function: self._noted(function, spec)

    def _handler(
        self,
        kind: Kind,
        action: str,
        *,
        scope: str | None = None,
        idempotent: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Callable[[F], F]:
        if callable(action):
            name = getattr(action, "__name__", "…")
            raise DefinitionError(f"{place_of(action)}: @{kind} without an action: write @{kind}({name!r})")
        if not isinstance(action, str) or not action.strip():
            raise DefinitionError(f"@{kind}({action!r}): the action is a name, for example @{kind}('quota')")
        if kind == "command" and action in RESERVED_COMMANDS:
            raise DefinitionError(f"@command({action!r}): the droplet answers this one itself; choose another name")
        _positive(f"@{kind}({action!r}): timeout_seconds", timeout_seconds)
        spec = HandlerSpec(
            kind=kind, action=action, scope=scope, idempotent=idempotent, timeout_seconds=timeout_seconds
        )
        return lambda function: self._noted(function, spec)

    def _noted(self, function: F, spec: Spec) -> F:
        self._take(Declaration(function, spec))
        return function


On: TypeAlias = Handlers
"""What `droplet.on` is: handlers that go straight into the droplet's table."""

_NOTE: Final = "__udc_declared__"


def _note(declaration: Declaration) -> None:
    function = declaration.function
    if not hasattr(function, "__dict__"):
        raise DefinitionError(f"{place_of(function)}: {function!r} cannot be decorated; wrap it in a function")
    # A new tuple, not a list grown in place: functools.wraps shares the attribute between two functions.
    setattr(function, _NOTE, (*declared_on(function), declaration.spec))


def declared_on(function: object) -> tuple[Spec, ...]:
    """What the function was declared to be by the decorators of this module; the innermost first."""
    inner = inside(function)
    own: tuple[Spec, ...] = getattr(inner, "__dict__", {}).get(_NOTE, ())
    return own if inner is function else own + tuple(s for s in vars(function).get(_NOTE, ()) if s not in own)


def inside(function: Any) -> Any:  # Any: a function, or a staticmethod or classmethod object that holds one
    """The plain function."""
    if isinstance(function, staticmethod | classmethod):
        return cast("staticmethod[..., Any]", function).__func__
    return function


def readable(function: Any) -> Any:  # Any: whatever can be called
    """The function that holds the code and annotations: inside a partial, or an object's `__call__`."""
    inner = inside(function)
    while isinstance(inner, functools.partial):
        inner = cast("Any", inner).func
    return inner if inspect.isroutine(inner) else type(inner).__call__


def place_of(function: object) -> str:
    """`file:line` of the function, for error texts."""
    code = getattr(inspect.unwrap(readable(function)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else f"{type(function).__module__}:?"


def _positive(what: str, seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise DefinitionError(f"{what} is {seconds}; give a number of seconds above 0")


_in_class = Handlers(take=_note)


query: ActionDecorator = _in_class.query
command: ActionDecorator = _in_class.command
event: ActionDecorator = _in_class.event
status: ActionDecorator = _in_class.status
task: ActionDecorator = _in_class.task
chat: MarkDecorator = _in_class.chat
every: EveryDecorator = _in_class.every
on_start: MarkDecorator = _in_class.on_start
on_ready: MarkDecorator = _in_class.on_ready
on_stop: MarkDecorator = _in_class.on_stop
endpoint: EndpointDecorator = _in_class.endpoint
